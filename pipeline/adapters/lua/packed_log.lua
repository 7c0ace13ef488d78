-- A log of 16-byte events behind a header, in one string a key: small ones are read and written whole (SET keeps no
-- spare bytes), large ones by ranges, so that a call costs the same however many events a key holds.
-- An event is named by its index among those stored, from 0. The header's first 3 bytes are their number.

local EVENT_BYTES = 16
local SMALL_BYTES = 2048
local PAGE_EVENTS = 16
local NEVER = 2^40 - 1

local function open_log(key, header_bytes)
  local text = redis.call('GETRANGE', key, 0, SMALL_BYTES - 1)
  local log = {key = key, text = text, from = header_bytes, stored = 0, is_whole = true, added = {}, pages = {}}
  if text ~= '' then
    log.stored = struct.unpack('>I3', text)
    log.is_whole = header_bytes + log.stored * EVENT_BYTES == #text
  end
  return log
end

local function fetch(log, window, index)
  local from = log.from + index * EVENT_BYTES
  local text = redis.call('GETRANGE', log.key, from, from + PAGE_EVENTS * EVENT_BYTES - 1)
  log.pages[window] = {first = index, past = index + PAGE_EVENTS, text = text}
  return text, 1
end

-- The text that holds an event, and where in it. `window` names the page that is kept for the next call.
local function event_at(log, window, index)
  if index >= log.stored then return log.added[index - log.stored + 1], 1 end
  if log.is_whole then return log.text, log.from + index * EVENT_BYTES + 1 end
  local page = log.pages[window]
  if page and index >= page.first and index < page.past then
    return page.text, (index - page.first) * EVENT_BYTES + 1
  end
  return fetch(log, window, index)
end

-- How many of the oldest events writing will drop, when those before `live` are in no window.
-- A large log is written anew once half of it is dead: each event is then moved at most twice.
local function dropped(log, live)
  if log.is_whole then return math.min(live, log.stored) end
  if live * 2 > log.stored then return math.min(live, log.stored) end
  return 0
end

local function write_log(log, drop, header)
  local added = table.concat(log.added)
  local from = log.from + drop * EVENT_BYTES
  if log.is_whole then
    redis.call('SET', log.key, header .. string.sub(log.text, from + 1) .. added)
  elseif drop > 0 then
    redis.call('SET', log.key, header .. redis.call('GETRANGE', log.key, from, -1) .. added)
  else
    redis.call('SETRANGE', log.key, 0, header)
    redis.call('SETRANGE', log.key, log.from + log.stored * EVENT_BYTES, added)
  end
end

-- Last payment to each party, as indexes since the first one ever, for a list of party hashes.
local SLICE = 512  -- Lua passes at most some thousand arguments

local function last_places(key, parties)
  local count = #parties
  if count <= SLICE then return redis.call('HMGET', key, unpack(parties)) end
  local places = {}
  for from = 1, count, SLICE do
    local slice = redis.call('HMGET', key, unpack(parties, from, math.min(from + SLICE - 1, count)))
    for place = 1, #slice do places[from + place - 1] = slice[place] end
  end
  return places
end
