-- Claims the transaction ids of one chunk of a partition for one shard; returns the freshness of each.
-- KEYS: progress (hash: partition → reached, watermark), exceptions (string: offset, freshness), then the id buckets
-- (hashes: id hash of 9 bytes → claim: payment digest of 16 bytes, log time of 5, partition of 2), which Redis keeps
-- flat while they are small. A watermark is the latest log time of its partition so far. So is the log time of a claim,
-- but for a watermark ahead of this server's clock.
-- ARGV[1]: partition, first, last, initial; then for each event the index of its bucket in KEYS, its id hash, its claim
-- with the record's own log time, and its offset.
-- ARGV[2], ARGV[3]: how long an id is kept in ms; how many exceptions are kept.
-- An exception is an offset of 7 bytes and a freshness of 1 byte; exceptions stand in order of offset.
-- A record that was FRESH holds its id, as of its own time or later. One that is read again and holds none is told for the
-- first time: it couldn't be read then, as by an older release, or it is another record, whose offset was given out anew.
-- It is ANEW where its id is free and would not have been deleted by now, so that it was never claimed. Who holds an id as
-- of a later time than its own may be a copy of this one, which is read after it: the claim goes back to this one's time,
-- and the copy is a duplicate then.

local DUPLICATE, CONFLICT = 1, 2
local DIGEST, TIME_AT, PARTITION_AT = 16, 17, 22  -- of a claim: bytes of its digest, and where the rest begins
local ORIGIN_MS = 1420070400000  -- 2015-01-01, from which log times count
local BROKERS_APART_MS = 3600000  -- how far the clocks of brokers that are in order differ at most
local KEPT = 'n'  -- field of a bucket that holds how many ids its last purge left
local CURSOR = 'u'  -- field of a bucket that holds where its purge goes on, while one is under way
local LOOK_SHARE = 16  -- one new id in 16, by its hash, checks whether its bucket grew by a fifth since that purge
local PURGED_FROM = 16  -- a bucket of fewer fields is not worth a purge
local SCANNED = 512  -- ids that a purge looks at in one step; ids that somebody made for one bucket could be any number
local PURGES = 8  -- steps of purges in one call; the normal number is 3, and one that is left out comes later

local byte, unpack_at = string.byte, struct.unpack
local request, kept_ms, exceptions_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local partition, first, last, is_initial, at = unpack_at('>I2I6I6B', request)
local watermarks = {}
local reached

local function read_progress(number)
  local text = call('HGET', KEYS[1], integer(number))
  if not text then return nil, 0 end
  return unpack_at('>I7I7', text)
end

local function watermark_of(number)
  local watermark = watermarks[number]
  if not watermark then
    local _
    _, watermark = read_progress(number)
    watermarks[number] = watermark
  end
  return watermark
end

reached, watermarks[partition] = read_progress(partition)
local reaches
reached, reaches = follow_on(reached, first, is_initial == 1)
if not reached then return failure(LOST, reaches) end

local function keep_progress(offset)
  call('HSET', KEYS[1], integer(partition), struct.pack('>I7I7', offset, watermarks[partition]))
end

-- A server that is full, or forbids this, refuses it before an id is claimed: an id that was claimed by a call that
-- failed after that would look like a duplicate of itself.
keep_progress(reached)

-- Returns the part of a partition's time that this server's clock has come to, too. One record may be stamped by a broker
-- whose clock is days ahead, and the watermark stays there; no id may be deleted because of it.
local clock_ms
local function on_both_clocks(log_ms)
  if not clock_ms then
    local seconds, microseconds = unpack(call('TIME'))
    clock_ms = tonumber(seconds) * 1000 + math.floor(tonumber(microseconds) / 1000) - ORIGIN_MS
  end
  return math.min(log_ms, clock_ms)
end

-- Returns whether nobody can ask for a claim any more.
local function is_past(claim)
  local time_ms, number = unpack_at('>I5I2', claim, TIME_AT)
  return time_ms < on_both_clocks(watermarks[number] or watermark_of(number)) - kept_ms - BROKERS_APART_MS
end

-- Deletes what is past among some hundred ids. Redis keeps ids that it holds flat in one step.
local function purge(bucket, cursor)
  local following, claims = unpack(call('HSCAN', bucket, cursor, 'COUNT', integer(SCANNED)))
  local gone = {}
  for place = 1, #claims, 2 do
    local id = claims[place]
    if #id > 1 and is_past(claims[place + 1]) then gone[#gone + 1] = id end
  end
  delete_fields(bucket, gone)
  if following == '0' then
    if cursor ~= '0' then call('HDEL', bucket, CURSOR) end
    call('HSET', bucket, KEPT, integer(call('HLEN', bucket)))
  else
    call('HSET', bucket, CURSOR, following)
  end
end

-- Purges a bucket that has grown enough, after an id was added to it.
local purges = 0
local function look(bucket, id)
  if byte(id, 9) % LOOK_SHARE == 0 and purges < PURGES then
    local kept, cursor = unpack(call('HMGET', bucket, KEPT, CURSOR))
    if cursor or call('HLEN', bucket) > math.max((tonumber(kept) or 0) * 1.2, PURGED_FROM) then
      purges = purges + 1
      purge(bucket, cursor or '0')
    end
  end
end

-- Returns the place among the exceptions of the first one from `offset` on.
local function exception_place(offset)
  local low, high = 0, call('STRLEN', KEYS[2]) / 8
  while low < high do
    local middle = math.floor((low + high) / 2)
    if unpack_at('>I7', call('GETRANGE', KEYS[2], integer(middle * 8), integer(middle * 8 + 6))) < offset then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local exceptions
local function exception_at(offset)
  if not exceptions then
    exceptions = {}
    local from, to = exception_place(first) * 8, exception_place(last) * 8
    local text = to > from and call('GETRANGE', KEYS[2], integer(from), integer(to - 1)) or ''
    for place = 1, #text, 8 do
      local where, freshness = unpack_at('>I7B', text, place)
      exceptions[where] = freshness
    end
  end
  return exceptions[offset]
end

-- Where the log's time ran backwards, a claim is as of the watermark: it would be deleted too early.
local function as_of(claim, since_ms)
  return string.sub(claim, 1, DIGEST) .. struct.pack('>I5', since_ms) .. string.sub(claim, PARTITION_AT)
end

local function freshness_of(bucket, id, claim, time_ms)
  local watermark = watermarks[partition]
  if time_ms >= watermark then
    watermarks[partition] = time_ms
  else
    local since_ms = on_both_clocks(watermark)
    if since_ms > time_ms then claim = as_of(claim, since_ms) end
  end
  if call('HSETNX', bucket, id, claim) == 1 then
    look(bucket, id)
    return FRESH
  end
  local held = call('HGET', bucket, id)
  -- Only the two records' own times tell: a copy by whose time the id is free is late, so its decision has another id.
  if (unpack_at('>I5', held, TIME_AT)) >= time_ms - kept_ms then
    return string.sub(held, 1, DIGEST) == string.sub(claim, 1, DIGEST) and DUPLICATE or CONFLICT
  end
  call('HSET', bucket, id, claim)
  return FRESH
end

local function freshness_again(bucket, id, claim, offset)
  local freshness = exception_at(offset)
  if freshness then return freshness end
  local time_ms, held = unpack_at('>I5', claim, TIME_AT), call('HGET', bucket, id)
  if held then
    local since_ms, number = unpack_at('>I5I2', held, TIME_AT)
    local is_past_it = since_ms - kept_ms > time_ms
    if since_ms < time_ms or number ~= partition and not is_past_it then
      return freshness_of(bucket, id, claim, time_ms)
    end
    if since_ms > time_ms and not is_past_it and not is_past(claim) then call('HSET', bucket, id, claim) end
    return FRESH
  end
  call('HSET', bucket, id, claim)
  look(bucket, id)
  return is_past(claim) and FRESH or ANEW
end

local answered = {}
local raised = {}
while at <= #request do
  local number, id, claim, offset
  number, id, claim, offset, at = unpack_at('>I2c9c23I6', request, at)
  local bucket = KEYS[number]
  local freshness
  if offset < reached then
    freshness = freshness_again(bucket, id, claim, offset)
  else
    freshness = freshness_of(bucket, id, claim, (unpack_at('>I5', claim, TIME_AT)))
    if freshness ~= FRESH then raised[#raised + 1] = struct.pack('>I7B', offset, freshness) end
  end
  answered[#answered + 1] = freshness
end

if #raised > 0 then
  local length = call('APPEND', KEYS[2], table.concat(raised))
  if length > 2 * exceptions_max * 8 then
    call('SET', KEYS[2], call('GETRANGE', KEYS[2], integer(length - exceptions_max * 8), '-1'))
  end
end
keep_progress(math.max(reached, last))
return OBSERVED .. string.char(unpack(answered))
