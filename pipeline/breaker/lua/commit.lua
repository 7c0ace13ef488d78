-- Writes what an evaluation or a person decided, provided the store is still as it was read (compare-and-set).
-- KEYS: 1 states (hash: scope -> record, and 'revision'), 2 watch (string), 3 excluded (zset), 4 transitions (stream)
-- ARGV: 1 revision as read, 2 new revision, 3 watch or '' to leave it as it is, 4 excluded hours before this ms are
--       dropped, 5 transitions kept; then the number of excluded members, and the score and member of each;
--       then scope, record and transition, repeated.
-- Returns 1 where it wrote, 0 where somebody else wrote first.
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], ARGV[3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[4])
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'transition', ARGV[at + 2])
  at = at + 3
end
return 1
