-- Writes what an evaluation, a repair or a switch changed, provided the store is still as it was read (compare-and-set).
-- KEYS: 1 states (hash: scope -> record, 'lineage' and 'switched'), 2 watch (string), 3 excluded (zset),
--       4 transitions (stream)
-- ARGV: 1 lineage as read, 2 new lineage, 3 sequence up to which people's switches are taken over, 4 watch or '' to
--       leave it as it is, 5 excluded hours before this ms are dropped, 6 transitions kept; then the number of excluded
--       members, and the score and member of each; then scope, record and transition, repeated.
-- Returns 1 where it wrote, 0 where somebody else wrote first.
if (redis.call('HGET', KEYS[1], 'lineage') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'lineage', ARGV[2], 'switched', ARGV[3])
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[2], ARGV[4])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[5])
local at = 8
for _ = 1, tonumber(ARGV[7]) do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', 'transition', ARGV[at + 2])
  at = at + 3
end
return 1
