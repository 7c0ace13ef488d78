-- Takes in what became of payments of one partition, in the order of the outcomes' log. Returns the position that the
-- state holds, and 1 where it was `first`, so that outcomes were taken in.
-- KEYS: outcomes of the partition (hash: `position`, the offset below which all outcomes are taken in; `due`, the offset
-- from which on what is held is whole again after a loss; `since`, where older ones are missing, see coverage.lua;
-- `held`, where any account has some); then
-- for each account the hash of its payees (kind o: beneficiary hash → up to two payments that were made to it, each with
-- the time in 5 bytes and 2 bytes of name). What was withdrawn or set aside stands beside it (kind w, see withdrawn.lua).
-- ARGV[1]: first, last, initial, since; then for each outcome the index of its account in KEYS, its effect
-- (pipeline/state/outcomes.py), the time of its payment (or, where that isn't known, by which it is remembered; 0 for
-- none), when it was made (of one that is taken out: until when it may have been counted), its amount, its beneficiary
-- hash, its name, the offset of its record, and its order.
-- ARGV[2..5]: how many payees and how many withdrawn payments (and as many others) an account may hold, and for how long
-- in ms; among how many payees a payment is looked for.
-- Where an account has many withdrawn payments, the script stops before it takes long; the caller goes on from there.

local WITHDRAW, MAKE, ALLOW, HOLD, UNMAKE, UNSETTLE = 1, 2, 3, 4, 5, 6
local TO_ANYONE, DOUBTFUL = 16, 32  -- added to an effect; see pipeline/state/outcomes.py
local MADE, MADE_BYTES, MADE_MAX_BYTES = '>I5c2', 7, 14
local BLOCK_MS, ORIGIN_MS = 30 * 86400000, 1420070400000
local COST_MAX = 2048  -- withdrawn payments that are written anew one by one, or 16 times as many that are copied
local COPIED = 16

local sub, find, pack, unpack_at = string.sub, string.find, struct.pack, struct.unpack
local floor, max, min = math.floor, math.max, math.min
local request, payees_max, withdrawn_max, kept_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local searched_max = tonumber(ARGV[5])
local first, last, is_initial, since, at = unpack_at('>I6I6BI6', request)

local held = call('HMGET', KEYS[1], 'position', 'since')
local position, held_since = tonumber(held[1]), tonumber(held[2])
local start, reaches = follow_on(position, first, is_initial == 1)
if not start then return {reaches, 0} end
if not position or position < first then
  call('HSET', KEYS[1], 'position', integer(first))
  if first > 0 then
    held_since = max(since, held_since or 0)
    call('HSET', KEYS[1], 'since', integer(held_since))
  end
  position = first
end
if position ~= first then return {position, 0} end
if at > #request then
  if last > position then call('HSET', KEYS[1], 'position', integer(last)) end
  return {last, 1}
end
call('HSET', KEYS[1], 'held', '1')  -- a full Redis refuses this before anything is done
local whole_since = held_since and held_since - ORIGIN_MS or 0  -- what was made before may have been taken back

local KIND_AT = find(KEYS[1], '}', 1, true) + 1
local TAG = sub(KEYS[1], 1, KIND_AT - 1)
local records, is_changed, cost = {}, {}, 0  -- by index in KEYS; a record is false where the account has none

local function withdrawn_key(number)
  return TAG .. WITHDRAWN_KIND .. sub(KEYS[number], KIND_AT + 1)
end

-- Returns the string of kind w as a table, whose `withdrawn` and `others` are the payments as they stand in it.
local function parsed(text)
  local block, b1, b2, b3, b4, b5, latest, base, others, forgotten = unpack_at(WITHDRAWN_HEADER, text)
  local past = #text - others * WITHDRAWN_BYTES
  return {block = block, sums = {b1, b2, b3, b4, b5}, latest = latest, base = base, forgotten = forgotten,
    withdrawn = sub(text, WITHDRAWN_HEADER_BYTES + 1, past), others = sub(text, past + 1)}
end

local function text_of(record)
  local sums = record.sums
  return pack(WITHDRAWN_HEADER, record.block, sums[1], sums[2], sums[3], sums[4], sums[5], record.latest, record.base,
    #record.others / WITHDRAWN_BYTES, record.forgotten) .. record.withdrawn .. record.others
end

-- Returns what was taken out of the account's counts; false where nothing was. `is_flagged` says whether Redis has any.
local function record_of(number, is_flagged)
  local record = records[number]
  if record == nil then
    local text = is_flagged and call('GET', withdrawn_key(number))
    record = text and parsed(text) or false
    records[number] = record
  end
  if record then cost = cost + (#record.withdrawn + #record.others) / WITHDRAWN_BYTES / COPIED end
  return record
end

-- Returns the same where it is about to change; an account that has none is given one.
local function changing(number, is_flagged)
  local record = record_of(number, is_flagged)
  if not record then
    record = {block = 0, sums = {0, 0, 0, 0, 0}, latest = 0, base = 0, forgotten = 0, withdrawn = '', others = ''}
    records[number] = record
    call('HSET', KEYS[number], WITHDRAWN_FIELD, '1')
  end
  is_changed[number] = true
  return record
end

-- Returns the running sum of the first `count` withdrawn payments.
local function sum_of(record, count)
  if count == 0 then return record.base end
  return (unpack_at('>I6', record.withdrawn, (count - 1) * WITHDRAWN_BYTES + 6))
end

-- Returns the withdrawn payments after the first `count`, with their running sums changed by `change`.
local function resummed(record, count, change)
  local rest, withdrawn = {}, record.withdrawn
  for at = count * WITHDRAWN_BYTES + 1, #withdrawn, WITHDRAWN_BYTES do
    local time, sum, name, order = unpack_at(WITHDRAWN, withdrawn, at)
    rest[#rest + 1] = pack(WITHDRAWN, time, (sum + change) % SUM_WRAP, name, order)
  end
  cost = cost + #rest
  return table.concat(rest)
end

-- Returns the number of the payment with this name, from 1; nil where there is none.
local function number_of(payments, name)
  local place = find(payments, name, 1, true)
  while place do
    local number = (place + 9) / WITHDRAWN_BYTES
    if number == floor(number) then return number end
    place = find(payments, name, place + 1, true)
  end
end

-- Returns what is remembered of a payment: its number, whether it is withdrawn, its time, amount and order, and whether
-- the blocks are with it; nil where nothing is.
local function remembered(record, name)
  if not record then return end
  local number = number_of(record.withdrawn, name)
  if number then
    local time, _, _, order = unpack_at(WITHDRAWN, record.withdrawn, (number - 1) * WITHDRAWN_BYTES + 1)
    return {number = number, is_withdrawn = true, time = time, order = order,
      amount = (sum_of(record, number) - sum_of(record, number - 1)) % SUM_WRAP}
  end
  number = number_of(record.others, name)
  if not number then return end
  local time, amount, _, order = unpack_at(WITHDRAWN, record.others, (number - 1) * WITHDRAWN_BYTES + 1)
  return {number = number, time = time, order = order, amount = amount % IN_BLOCKS, is_in_blocks = amount >= IN_BLOCKS}
end

local function take(record, held)
  local before = (held.number - 1) * WITHDRAWN_BYTES
  if held.is_withdrawn then
    record.withdrawn = sub(record.withdrawn, 1, before) .. resummed(record, held.number, -held.amount)
  else
    record.others = sub(record.others, 1, before) .. sub(record.others, before + WITHDRAWN_BYTES + 1)
  end
end

-- Returns how many of the payments are forgotten, the oldest first: those that are too old and those that are too many.
local function gone_of(record, payments)
  local count = #payments / WITHDRAWN_BYTES
  local gone = max(payments_until(payments, 0, count, record.latest - kept_ms), count - withdrawn_max)
  if gone <= 0 then return 0 end
  record.forgotten = max(record.forgotten, (unpack_at('>I5', payments, (gone - 1) * WITHDRAWN_BYTES + 1)))
  return gone
end

local function keep_withdrawn(record, time, amount, name, order)
  record.latest = max(record.latest, time)
  local count = payments_until(record.withdrawn, 0, #record.withdrawn / WITHDRAWN_BYTES, time)
  record.withdrawn = sub(record.withdrawn, 1, count * WITHDRAWN_BYTES)
    .. pack(WITHDRAWN, time, (sum_of(record, count) + amount) % SUM_WRAP, name, order) .. resummed(record, count, amount)
  local gone = gone_of(record, record.withdrawn)
  record.base, record.withdrawn = sum_of(record, gone), sub(record.withdrawn, gone * WITHDRAWN_BYTES + 1)
end

local function keep_other(record, time, amount, name, order)
  record.latest = max(record.latest, time)
  local before = payments_until(record.others, 0, #record.others / WITHDRAWN_BYTES, time) * WITHDRAWN_BYTES
  local others = sub(record.others, 1, before) .. pack(WITHDRAWN, time, amount, name, order)
    .. sub(record.others, before + 1)
  record.others = sub(others, gone_of(record, others) * WITHDRAWN_BYTES + 1)
end

-- Adds to the sums of the blocks from that of `time` to that of `until_time`.
local function add_to_blocks(record, time, until_time, amount)
  local newest, sums = floor((until_time + ORIGIN_MS) / BLOCK_MS), record.sums
  local oldest = max(floor((time + ORIGIN_MS) / BLOCK_MS), newest - BLOCKS_KEPT + 1)
  for _ = 1, min(newest - record.block, BLOCKS_KEPT) do
    table.insert(sums, 1, 0)
    table.remove(sums)
  end
  record.block = max(record.block, newest)
  for back = record.block - newest + 1, min(record.block - oldest + 1, BLOCKS_KEPT) do
    if sums[back] < BLOCK_SUM_MAX then sums[back] = min(max(sums[back] + amount, 0), BLOCK_SUM_MAX) end
  end
end

-- Enters a payment among those that `keep` keeps; the blocks may be without it already. One of which a later outcome may
-- be forgotten leaves the blocks only.
local function take_out(record, held, keep, is_forgotten, time, until_time, amount, name, order)
  if held and not held.is_in_blocks then
    time, amount = held.time, held.amount
  else
    add_to_blocks(record, time, until_time, amount)
  end
  if is_forgotten then return end
  if held then take(record, held) end
  keep(record, time, amount, name, order)
end

-- Remembers an outcome that takes nothing out; where it isn't settled, a withdrawn payment is volume again.
local function remember(record, held, is_settled, time, name, order)
  if not held then
    keep_other(record, time, IN_BLOCKS, name, order)
    return
  end
  take(record, held)
  if held.is_withdrawn and is_settled then
    keep_withdrawn(record, held.time, held.amount, name, order)
  else
    keep_other(record, held.time, held.amount + (held.is_in_blocks and IN_BLOCKS or 0), name, order)
  end
end

local function put_back(record, held, name, order)
  if not held.is_in_blocks then add_to_blocks(record, held.time, held.time, -held.amount) end
  take(record, held)
  keep_other(record, held.time, held.amount + IN_BLOCKS, name, order)
end

-- Returns where the payment of this name begins among those made to a payee.
local function place_of(payments, name)
  for place = 1, #payments, MADE_BYTES do
    if sub(payments, place + 5, place + 6) == name then return place end
  end
end

local function make(number, payee, payments, is_flagged, made_at, name)
  if payments then
    if #payments < MADE_MAX_BYTES and not place_of(payments, name) then
      call('HSET', KEYS[number], payee, payments .. pack(MADE, made_at, name))
    end
  elseif call('HLEN', KEYS[number]) - (is_flagged and 1 or 0) < payees_max then
    call('HSET', KEYS[number], payee, pack(MADE, made_at, name))
  end
end

local function unmake(number, payee, payments, name)
  local place = payments and place_of(payments, name)
  if not place then return end
  local left = sub(payments, 1, place - 1) .. sub(payments, place + MADE_BYTES)
  if #left > 0 then call('HSET', KEYS[number], payee, left) else call('HDEL', KEYS[number], payee) end
end

-- Takes back what the payment of this name has made known, whoever was paid.
local function unmake_any(number, is_flagged, name)
  local key = KEYS[number]
  if call('HLEN', key) - (is_flagged and 1 or 0) > searched_max then
    call('UNLINK', key)
    if is_flagged then call('HSET', key, WITHDRAWN_FIELD, '1') end
    return
  end
  local fields = call('HGETALL', key)
  cost = cost + #fields / 2
  for place = 1, #fields, 2 do
    if fields[place] ~= WITHDRAWN_FIELD then unmake(number, fields[place], fields[place + 1], name) end
  end
end

local function apply(number, effect, time, made_at, amount, payee, name, short, order)
  local payments, flag = unpack(call('HMGET', KEYS[number], payee, WITHDRAWN_FIELD))
  local is_doubtful, is_to_anyone = effect >= DOUBTFUL, effect % DOUBTFUL >= TO_ANYONE
  effect = effect % TO_ANYONE
  local record = record_of(number, flag)
  local held = remembered(record, name)
  if held and order <= held.order then return end
  local is_forgotten = record and not held and record.forgotten > 0 and time <= record.forgotten
  if effect == MAKE or effect == ALLOW then
    if held then put_back(changing(number, flag), held, name, order) end
    if effect == MAKE and not is_forgotten and made_at >= whole_since then
      make(number, payee, payments, flag, made_at, short)
    end
    return
  end
  if is_to_anyone then unmake_any(number, flag, short) else unmake(number, payee, payments, short) end
  if effect == WITHDRAW then
    take_out(changing(number, flag), held, keep_withdrawn, is_forgotten, time, made_at, amount, name, order)
  elseif effect == HOLD then
    take_out(changing(number, flag), held, keep_other, is_forgotten, time, made_at, amount, name, order)
  elseif held or time > 0 then
    remember(changing(number, flag), held, effect == UNMAKE, time, name, order)
  end
  if is_doubtful then add_to_blocks(changing(number, flag), -ORIGIN_MS, made_at, BLOCK_SUM_MAX) end
end

while at <= #request and cost < COST_MAX do
  local number, effect, time, made_at, amount, payee, name, short, offset, order
  number, effect, time, made_at, amount, payee, name, short, offset, order, at =
    unpack_at('>I2BI5I5I6c5c4c2I6I6', request, at)
  apply(number, effect, time, made_at, amount, payee, name, short, order)
  position = offset + 1
end
if at > #request then position = last end
for number in pairs(is_changed) do call('SET', withdrawn_key(number), text_of(records[number])) end
call('HSET', KEYS[1], 'position', integer(position))
return {position, 1}
