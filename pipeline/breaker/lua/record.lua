-- Adds one batch's counts to the running totals, once.
-- KEYS: 1 totals (hash: counter|scope), 2 reached (hash: partition -> end offset),
--       3 tracked (zset: segment -> ms until which it keeps its place), 4 states (hash: scope -> record)
-- ARGV: 1 now in ms, or '' for this server's clock; 2 number of spans, then partition, start and end offset of each;
--       segments_max, scope_bytes_max, name of the scope for the other segments, ms of a place that a payment earns,
--       most ms that a place is earned ahead, number of counters, and the names of all;
--       then scope, payments, number of counters, and the counter and increment of each, repeated.
-- Returns 1 where it counted the batch, 0 where any span of the batch had been counted before.
-- A batch is committed as a whole, so its spans were counted together or not at all.
local now, spans, at = tonumber(ARGV[1]), tonumber(ARGV[2]), 3
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
for span = 0, spans - 1 do
  local reached = redis.call('HGET', KEYS[2], ARGV[3 + 3 * span])
  if reached and tonumber(ARGV[4 + 3 * span]) < tonumber(reached) then
    return 0
  end
end
for _ = 1, spans do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2])
  at = at + 3
end
local segments_max, scope_bytes_max, rest = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
local earned, earned_max, names_at, names = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), at + 6, tonumber(ARGV[at + 5])
local tracked = redis.call('ZCARD', KEYS[3])
at = names_at + names

-- A segment that isn't closed is watched until it is: nobody else would let it leave that state.
local function is_held(scope)
  local record = redis.call('HGET', KEYS[4], scope)
  return record and not string.find(record, '"state": "CLOSED"', 1, true)
end

-- Frees a place whose time is over; false where there is none. A held segment's place is renewed instead, so that it
-- isn't looked at again; each is renewed at most once a call.
local function free_place()
  for _ = 1, segments_max do
    local oldest = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 1)[1]
    if not oldest then
      return false
    end
    if not is_held(oldest) then
      redis.call('ZREM', KEYS[3], oldest)
      local fields = {}
      for name = 1, names do
        fields[name] = ARGV[names_at + name - 1] .. '|' .. oldest
      end
      redis.call('HDEL', KEYS[1], unpack(fields))
      tracked = tracked - 1
      return true
    end
    redis.call('ZADD', KEYS[3], string.format('%.0f', now + earned_max), oldest)
  end
  return false
end

local has_free_place = true
local function is_tracked(scope, payments)
  local until_ms = tonumber(redis.call('ZSCORE', KEYS[3], scope))
  if until_ms and until_ms - now > earned_max / 2 then
    return true -- a busy segment's place is renewed now and then, not with every batch
  end
  if not until_ms then
    if #scope > scope_bytes_max then
      return false
    end
    if tracked >= segments_max and not is_held(scope) then
      has_free_place = has_free_place and free_place()
      if not has_free_place then
        return false
      end
    end
    tracked = tracked + 1
  end
  local kept = math.min(math.max(until_ms or now, now) + payments * earned, now + earned_max)
  redis.call('ZADD', KEYS[3], string.format('%.0f', kept), scope)
  return true
end

while at <= #ARGV do
  local scope, payments, counters = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  if string.sub(scope, 1, 8) == 'segment:' and scope ~= rest and not is_tracked(scope, payments) then
    scope = rest
  end
  for _ = 1, counters do
    -- HINCRBY adds 64-bit integers, and the increment stays a string, so no double is involved.
    redis.call('HINCRBY', KEYS[1], ARGV[at] .. '|' .. scope, ARGV[at + 1])
    at = at + 2
  end
end
return 1
