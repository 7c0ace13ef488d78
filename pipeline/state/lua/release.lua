-- Gives back the claims of payments that were set aside undecided; returns how many were held.
-- KEYS: for each its id bucket, the exceptions of its partition (see claim.lua), and the offsets of its partition that
-- gave theirs back already (a set). ARGV: how long such an offset is kept in ms; then for each its id hash, its claim, as
-- claim.lua writes them, and its offset.
-- A record gives back what it claimed itself, and nothing else: a copy of a payment that was decided before holds no id,
-- although it has the same digest. So a claim of another digest or partition stays, one that is older than the record,
-- and any where the record's answer was an exception. A claim's log time may be later than the record's own. A record
-- gives back once: who holds the id after that is a copy, which may be decided by now.

local DIGEST_BYTES, TIME_AT = 16, 17
local unpack_at = struct.unpack

-- Returns whether the record at `offset` was answered by something else than FRESH.
local function is_exception(exceptions, offset)
  local low, high = 0, call('STRLEN', exceptions) / 8
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = unpack_at('>I7', call('GETRANGE', exceptions, integer(middle * 8), integer(middle * 8 + 6)))
    if at == offset then return true end
    if at < offset then low = middle + 1 else high = middle end
  end
  return false
end

local function is_held(held, claim)
  if not held or string.sub(held, 1, DIGEST_BYTES) ~= string.sub(claim, 1, DIGEST_BYTES) then return false end
  local since, of_claim = unpack_at('>I5I2', held, TIME_AT)
  local time, of_record = unpack_at('>I5I2', claim, TIME_AT)
  return of_claim == of_record and since >= time
end

local released = 0
for place = 1, #KEYS / 3 do
  local bucket, exceptions, given = KEYS[3 * place - 2], KEYS[3 * place - 1], KEYS[3 * place]
  local id, claim, offset = ARGV[3 * place - 1], ARGV[3 * place], tonumber(ARGV[3 * place + 1])
  local is_first = call('SADD', given, integer(offset)) == 1
  call('PEXPIRE', given, ARGV[1])
  if is_first and is_held(call('HGET', bucket, id), claim) and not is_exception(exceptions, offset) then
    call('HDEL', bucket, id)
    released = released + 1
  end
end
return released
