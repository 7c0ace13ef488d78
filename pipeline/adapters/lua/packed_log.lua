-- A log of events of one length behind a header, in one string a key. It is read and written by ranges, so a call costs
-- the same however many events a key holds. The string is as long as its room: SETRANGE past the end would double it.
-- An event is named by its index among those stored, from 0. Every header begins with stored and room, 3 bytes each.

local HEAD_EVENTS = 8  -- read together with the header: all that many keys ever hold
local PAGE_EVENTS = 8
local ROOM_SHARE, ROOM_EVENTS = 16, 4  -- spare room: a 16th of the events, at least 4
local NEVER = 2^40 - 1

-- Redis writes a number as '%.17g', which takes as long as many a command; an integer as text is three times cheaper.
local function integer(number)
  return string.format('%d', number)
end

local function open_log(key, header_bytes, event_bytes)
  local text = redis.call('GETRANGE', key, '0', integer(header_bytes + HEAD_EVENTS * event_bytes - 1))
  local stored, room = 0, 0
  if text ~= '' then stored, room = struct.unpack('>I3I3', text) end
  -- Named all at once, since a table that grows is built again and again.
  return {key = key, text = text, from = header_bytes, bytes = event_bytes, stored = stored, room = room, added = {},
    pages = false}
end

-- The text that holds an event, and where in it.
local function event_at(log, index)
  if index < HEAD_EVENTS and index < log.stored then return log.text, log.from + index * log.bytes + 1 end
  if index >= log.stored then return log.added[index - log.stored + 1], 1 end
  local pages = log.pages
  if pages then
    for number = #pages, 1, -1 do
      local page = pages[number]
      local place = index - page.first
      if place >= 0 and place < PAGE_EVENTS then return page.text, place * log.bytes + 1 end
    end
  else
    pages = {}
    log.pages = pages
  end
  local from = log.from + index * log.bytes
  local text = redis.call('GETRANGE', log.key, integer(from), integer(from + PAGE_EVENTS * log.bytes - 1))
  pages[#pages + 1] = {first = index, text = text}
  return text, 1
end

-- How many of the oldest events to drop, when those before `live` are in no window, and the room to have from now on.
-- Only a log that is full is moved: an event is moved by at most a 16th of the events that come while it is stored.
local function plan(log, live)
  local total = log.stored + #log.added
  if total <= log.room then return 0, log.room end
  local drop = math.min(live, log.stored)
  local left = total - drop
  return drop, left + math.max(math.floor(left / ROOM_SHARE), ROOM_EVENTS)
end

local function write_log(log, drop, room, header)
  local added = #log.added == 1 and log.added[1] or table.concat(log.added)
  local past = log.from + log.stored * log.bytes
  if log.stored + #log.added <= log.room then
    redis.call('SETRANGE', log.key, '0', header)
    redis.call('SETRANGE', log.key, integer(past), added)
    return
  end
  local from = log.from + drop * log.bytes
  local kept
  if log.stored <= HEAD_EVENTS then
    kept = string.sub(log.text, from + 1, past)
  else
    kept = redis.call('GETRANGE', log.key, integer(from), integer(past - 1))
  end
  local spare = room - (log.stored + #log.added - drop)
  redis.call('SET', log.key, header .. kept .. added .. string.rep('\0', spare * log.bytes))
end

-- The key of another kind for the same id. Kinds stand before ids, so that no id can make one key look like another.
local KIND_AT = string.find(KEYS[1], '}', 1, true) + 1

local function of_kind(kind, key)
  return string.sub(key, 1, KIND_AT - 1) .. kind .. string.sub(key, KIND_AT + 1)
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
