-- Adds one batch's counts to the running totals, once.
-- KEYS: 1 totals (hash: counter|scope), 2 reached (hash: partition -> end offset), 3 segments (set)
-- ARGV: number of spans, then partition, start and end offset of each;
--       segments_max, scope_bytes_max, name of the scope for the other segments;
--       then scope, number of counters, and the counter and increment of each, repeated.
-- Returns 1 where it counted the batch, 0 where any span of the batch had been counted before.
-- A batch is committed as a whole, so its spans were counted together or not at all.
local spans, at = tonumber(ARGV[1]), 2
for span = 0, spans - 1 do
  local reached = redis.call('HGET', KEYS[2], ARGV[2 + 3 * span])
  if reached and tonumber(ARGV[3 + 3 * span]) < tonumber(reached) then
    return 0
  end
end
for _ = 1, spans do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2])
  at = at + 3
end
local segments_max, scope_bytes_max, rest = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
local tracked = redis.call('SCARD', KEYS[3])
at = at + 3
while at <= #ARGV do
  local scope, counters = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  if string.sub(scope, 1, 8) == 'segment:' and redis.call('SISMEMBER', KEYS[3], scope) == 0 then
    if tracked < segments_max and #scope <= scope_bytes_max then
      redis.call('SADD', KEYS[3], scope)
      tracked = tracked + 1
    else
      scope = rest
    end
  end
  for _ = 1, counters do
    -- HINCRBY adds 64-bit integers, and the increment stays a string, so no double is involved.
    redis.call('HINCRBY', KEYS[1], ARGV[at] .. '|' .. scope, ARGV[at + 1])
    at = at + 2
  end
end
return 1
