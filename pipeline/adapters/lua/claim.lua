-- Claims the transaction ids of one chunk of a partition for one shard; answers with a standing for each.
-- KEYS: progress (hash: partition → reached, watermark), exceptions (string: offset, standing), then the id buckets.
-- ARGV[1]: partition, first, last, initial; then for each event its bucket's place among KEYS and its entry.
-- ARGV[2], ARGV[3]: how long an id is kept in ms; how many exceptions are kept.
-- A bucket is the number of entries that the last purge left, then entries: id hash 10, body 6, time 5, partition 2,
-- offset 6 bytes. An exception is offset 7 and standing 1 bytes, in order of offset.

local ENTRY_BYTES, HEADER_BYTES = 29, 4
local FRESH, DUPLICATE, CONFLICT, TOO_OLD = 0, 1, 2, 3
local PURGE_GROWTH, PURGE_SLACK = 1.5, 8

local request, kept_ms, exceptions_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local partition, first, last, is_initial, at = struct.unpack('>I2I6I6B', request)
local watermarks = {}
local reached

local function read_progress(number)
  local text = redis.call('HGET', KEYS[1], number)
  if not text then return nil, 0 end
  return struct.unpack('>I7I7', text)
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

local buckets = {}
local is_changed = {}
if #KEYS > 2 then buckets = redis.call('MGET', unpack(KEYS, 3)) end
for place = 1, #buckets do
  buckets[place] = buckets[place] or string.rep('\0', HEADER_BYTES)
end

local function find(bucket, id)
  local place = string.find(bucket, id, HEADER_BYTES + 1, true)
  while place and (place - HEADER_BYTES - 1) % ENTRY_BYTES ~= 0 do
    place = string.find(bucket, id, place + 1, true)
  end
  return place
end

local function is_expired(bucket, place)
  local time_ms, number = struct.unpack('>I5I2', bucket, place + 16)
  return time_ms < watermark_of(number) - kept_ms
end

local function purge(bucket)
  local left = {''}
  for place = HEADER_BYTES + 1, #bucket, ENTRY_BYTES do
    if not is_expired(bucket, place) then
      left[#left + 1] = string.sub(bucket, place, place + ENTRY_BYTES - 1)
    end
  end
  left[1] = struct.pack('>I4', #left - 1)
  return table.concat(left)
end

local function insert(number, entry)
  local bucket = buckets[number]
  local entries = (#bucket - HEADER_BYTES) / ENTRY_BYTES
  if entries >= struct.unpack('>I4', bucket) * PURGE_GROWTH + PURGE_SLACK then bucket = purge(bucket) end
  buckets[number] = bucket .. entry
  is_changed[number] = true
end

local exceptions
local function exception_at(offset)
  if not exceptions then
    exceptions = {}
    local text = redis.call('GET', KEYS[2]) or ''
    for place = 1, #text, 8 do
      local where, standing = struct.unpack('>I7B', text, place)
      exceptions[where] = standing
    end
  end
  return exceptions[offset]
end

local function standing_again(number, entry, offset)
  local standing = exception_at(offset) or FRESH
  if standing == FRESH and not find(buckets[number], string.sub(entry, 1, 10)) then insert(number, entry) end
  return standing
end

local function standing_of(number, entry, time_ms)
  local bucket = buckets[number]
  local place = find(bucket, string.sub(entry, 1, 10))
  if place and is_expired(bucket, place) then
    buckets[number] = string.sub(bucket, 1, place - 1) .. string.sub(bucket, place + ENTRY_BYTES)
    is_changed[number] = true
    place = nil
  end
  if place then
    if string.sub(bucket, place + 21, place + 28) == string.sub(entry, 22, 29) then return FRESH end
    if string.sub(bucket, place + 10, place + 15) == string.sub(entry, 11, 16) then return DUPLICATE end
    return CONFLICT
  end
  if time_ms < watermarks[partition] - kept_ms then return TOO_OLD end
  insert(number, entry)
  return FRESH
end

local standings = {}
local raised = {}
while at <= #request do
  local number, time_ms, _, offset = struct.unpack('>I2xxxxxxxxxxxxxxxxI5I2I6', request, at)
  local entry = string.sub(request, at + 2, at + 1 + ENTRY_BYTES)
  local standing
  if offset < reached then
    standing = standing_again(number, entry, offset)
  else
    standing = standing_of(number, entry, time_ms)
    if time_ms > watermarks[partition] then watermarks[partition] = time_ms end
    if standing ~= FRESH then raised[#raised + 1] = struct.pack('>I7B', offset, standing) end
  end
  standings[#standings + 1] = string.char(standing)
  at = at + 2 + ENTRY_BYTES
end

local writes = {}
for number = 1, #buckets do
  if is_changed[number] then
    writes[#writes + 1] = KEYS[number + 2]
    writes[#writes + 1] = buckets[number]
  end
end
if #writes > 0 then redis.call('MSET', unpack(writes)) end
if #raised > 0 then
  local length = redis.call('APPEND', KEYS[2], table.concat(raised))
  if length > 2 * exceptions_max * 8 then
    redis.call('SET', KEYS[2], redis.call('GETRANGE', KEYS[2], length - exceptions_max * 8, -1))
  end
end
local progress = struct.pack('>I7I7', math.max(reached, last), watermarks[partition])
redis.call('HSET', KEYS[1], partition, progress)
return OBSERVED .. table.concat(standings)
