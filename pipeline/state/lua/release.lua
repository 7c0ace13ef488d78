-- Gives back the claims of payments that were set aside undecided; returns how many were held.
-- KEYS: the id bucket of each. ARGV: for each its id hash and its claim, as claim.lua writes them. A claim that another
-- record of the same id holds by now differs, and stays.

local released = 0
for place, bucket in ipairs(KEYS) do
  local id, claim = ARGV[2 * place - 1], ARGV[2 * place]
  if call('HGET', bucket, id) == claim then
    call('HDEL', bucket, id)
    released = released + 1
  end
end
return released
