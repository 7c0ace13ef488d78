-- Observes chunks in one call, where one server holds everything: it claims their ids, then counts what is FRESH.
-- `claim`, `observe_accounts` and `observe_shared` are the scripts of these names, as functions of KEYS and ARGV.
-- KEYS: ready; then for each chunk the keys of the three scripts.
-- ARGV[1]: 1 where the state must be ready; then for each chunk how many keys each of the three scripts has.
-- ARGV[2..10]: the limits of the three scripts: two, three and four; then for each chunk the requests to the three.
-- Returns the replies of the three scripts for each chunk; one that isn't OBSERVED is the last of them. Returns no
-- replies where the state isn't ready.

local shape = ARGV[1]
local must_be_ready, at = struct.unpack('B', shape)
if must_be_ready == 1 and call('EXISTS', KEYS[1]) == 0 then return {} end

local key, argument = 1, 10
local replies = {}

local function run(script, keys_count, limit_at, limits, freshness, kinds)
  local keys = {unpack(KEYS, key + 1, key + keys_count)}
  key, argument = key + keys_count, argument + 1
  local arguments = {ARGV[argument], unpack(ARGV, limit_at, limit_at + limits - 1)}
  arguments[#arguments + 1] = freshness
  arguments[#arguments + 1] = kinds
  local reply = script(keys, arguments)
  replies[#replies + 1] = reply
  return string.sub(reply, 1, 1) == OBSERVED and reply  -- a copy would cost 2 ns a byte, and 300 bytes a payment
end

-- Returns nothing where the chunk's windows follow on, else the reply that says where they end. Behind a call that
-- stopped early they don't, and its ids would be claimed in vain.
local function gap_of(progress, windows)
  local first, _, _, is_initial = struct.unpack('>I6I6I6B', windows)
  local reached, reaches = follow_on(tonumber(call('HGET', progress, 'reached') or nil), first, is_initial == 1)
  return not reached and failure(LOST, reaches)
end

while at <= #shape do
  local of_claim, of_accounts, of_shared
  of_claim, of_accounts, of_shared, at = struct.unpack('>I2I2I2', shape, at)
  local accounts_at, shared_at = key + of_claim + 1, key + of_claim + of_accounts + 1
  local gap = gap_of(KEYS[accounts_at], ARGV[argument + 2]) or gap_of(KEYS[shared_at], ARGV[argument + 3])
  if gap then
    replies[#replies + 1] = gap
    break
  end
  local freshness = run(claim, of_claim, 2, 2)
  if not freshness then break end
  freshness = string.sub(freshness, #OBSERVED + 1)
  if not run(observe_accounts, of_accounts, 4, 3, freshness) then break end
  if not run(observe_shared, of_shared, 7, 4, freshness, kinds_told) then break end
end
return replies
