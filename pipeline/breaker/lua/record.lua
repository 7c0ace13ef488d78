-- Adds one batch's counts to the running totals, once.
-- KEYS: 1 totals (hash: counter|scope, and position|partition), 2 reached (hash: partition -> end offset)
-- ARGV: 1 number of spans, then partition, start and end offset of each;
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
  -- A reading of the totals copies the positions too, so that every window knows which records it is about.
  redis.call('HSET', KEYS[1], 'position|' .. ARGV[at], ARGV[at + 2])
  at = at + 3
end
while at <= #ARGV do
  local scope, counters = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, counters do
    -- HINCRBY adds 64-bit integers, and the increment stays a string, so no double is involved.
    redis.call('HINCRBY', KEYS[1], ARGV[at] .. '|' .. scope, ARGV[at + 1])
    at = at + 2
  end
end
return 1
