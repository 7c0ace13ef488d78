-- Gives back the claims of payments that were set aside undecided; returns how many were held.
-- KEYS: the id bucket of each. ARGV: for each its id hash and its claim, as claim.lua writes them. A claim that another
-- payment of the same id holds by now has another digest, and stays. Its log time may be later than the record's own.

local DIGEST_BYTES = 16
local released = 0
for place, bucket in ipairs(KEYS) do
  local id, claim = ARGV[2 * place - 1], ARGV[2 * place]
  local held = call('HGET', bucket, id)
  if held and string.sub(held, 1, DIGEST_BYTES) == string.sub(claim, 1, DIGEST_BYTES) then
    call('HDEL', bucket, id)
    released = released + 1
  end
end
return released
