-- Claims an evaluation: in each interval one worker gets the readings, the others nothing.
-- KEYS: 1 totals, 2 marks (zset of ms), 3 hour marks (zset of ms), 4 states (hash), 5 watch (string),
--       6 excluded (zset), 7 prefix of the stored readings of the totals; the ms of the reading follows it
-- ARGV: 1 now in ms, or '' for this server's clock; 2 interval ms; 3 error window ms; 4 window ms; 5 how long readings
--       are kept, ms; 6 how long the hourly readings are kept, ms; 7 'claim', or 'look' to read without claiming
-- Returns {now, 0} or {now, 1, states, watch, excluded, hour marks, totals, totals at the previous evaluation,
-- ms of the reading an error window ago, totals at that reading, ms of the reading a window ago, totals at that}.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local looks = ARGV[7] == 'look'
local interval, keep, keep_hours = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function text(ms)
  return string.format('%.0f', ms)
end

local before = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
-- Another server set a mark that is ahead of the clock, before a failover; it must not stop evaluations for long.
if not looks and before and now - tonumber(before) < interval and tonumber(before) - now < interval then
  return {now, 0}
end

local function totals_at(mark)
  return mark and redis.call('HGETALL', KEYS[7] .. mark) or redis.call('HGETALL', KEYS[1])
end

-- Returns the latest reading that is at least `age` old, or else the oldest there is.
local function mark_before(age)
  return redis.call('ZREVRANGEBYSCORE', KEYS[2], text(now - age), '-inf', 'LIMIT', 0, 1)[1]
    or redis.call('ZRANGE', KEYS[2], 0, 0)[1]
end

local function store(key, mark, kept)
  redis.call('ZADD', key, mark, mark)
  if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('COPY', KEYS[1], KEYS[7] .. mark)
    redis.call('PEXPIRE', KEYS[7] .. mark, text(kept))
  end
end

if not looks then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. text(now - keep))
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf')
end
before = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
local error_mark, window_mark = mark_before(tonumber(ARGV[3])), mark_before(tonumber(ARGV[4]))
local answer = {
  now, 1, redis.call('HGETALL', KEYS[4]), redis.call('GET', KEYS[5]) or '{}',
  {}, {}, redis.call('HGETALL', KEYS[1]), totals_at(before),
  tonumber(error_mark or now), totals_at(error_mark), tonumber(window_mark or now), totals_at(window_mark),
}

if looks then
  answer[5] = redis.call('ZRANGE', KEYS[6], 0, -1)
  answer[6] = redis.call('ZRANGE', KEYS[3], 0, -1)
  return answer
end

local mark = text(now)
local hour = redis.call('ZREVRANGE', KEYS[3], 0, 0)[1]
if not hour or tonumber(hour) < now - now % 3600000 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(now - keep_hours))
  store(KEYS[3], mark, keep_hours)
  redis.call('ZADD', KEYS[2], mark, mark)
else
  store(KEYS[2], mark, keep + interval)
end
answer[5] = redis.call('ZRANGE', KEYS[6], 0, -1)
answer[6] = redis.call('ZRANGE', KEYS[3], 0, -1)
return answer
