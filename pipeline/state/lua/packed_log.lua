-- A log of events of one length, in two strings. The recent events stand before the header, so that one MGET reads all
-- logs of a chunk and one MSET writes them. The earlier events, the log's past, stand in pages in a second string,
-- which is a ring. A page is written once the recent events are so many that one page can go, and read when an event in
-- it leaves a window. So a payment costs the same however many events a log holds.
-- A hash holds the last payment in the past to or from each party: party hash → index. For recent payments the events
-- themselves tell.
-- An event's name is its index among all that there ever were, from 0.
-- Lua hashes each byte of every string that it makes, at 2 ns a byte, and a step takes 10 ns. Hence the locals, and few
-- strings.

local PAGE_EVENTS = 4
local READ_PAGES = 2  -- pages read at once: the one that leaves a window, and the next one in it
local PAGES_KEPT = 64  -- half as many texts; to look through all that leave after a long silence would take seconds
local ROOM_KEPT = 16  -- pages of room that are not worth giving back
local STRING_BYTES = 6  -- bytes that Redis adds to a string
local NEVER = 2^40 - 1
local UNMAPPED = '\0\0\0\0\0'  -- a party that isn't mapped; it stands for another one each time
local NOTHING = {}
local PARTY_WEIGHT = 6  -- a payment that leaves costs this many times more where its party must be looked up

-- The layout of what is counted. Every header begins with `past` and `room`. An event's party begins at PARTY_AT,
-- counted from 1. A log whose recent events take SPILL_BYTES sends a page to the past before it takes one more event.
local FORMAT, HEADER_BYTES, EVENT_FORMAT, EVENT_BYTES, SPILL_BYTES, PARTY_AT, PARTY_BYTES, PAST_KIND, PARTY_KIND
local BESIDE_FORMAT = ''  -- of what stands between the recent events and the header

-- How long the keys of a log are kept after they were last written, in ms as text; nil: for ever.
local kept_ms

-- The current log: its key; its string, and how many bytes of it are events; the number of events in the past, and of
-- pages of room there; the key of its past, once it was needed.
local key, text, bytes, past, room, past_key

local sub, find, byte = string.sub, string.find, string.byte
local floor, max, min = math.floor, math.max, math.min
local unpack_at, pack = struct.unpack, struct.pack

-- Returns the key of another kind for the same id. Kinds stand before ids, so that no id can make one key look like
-- another.
local KIND_AT = find(KEYS[1], '}', 1, true) + 1
local TAG = sub(KEYS[1], 1, KIND_AT - 1)

local function of_kind(kind)
  return TAG .. kind .. sub(key, KIND_AT + 1)
end

local pages_read = {}  -- key → a list that alternates the index of a page's first event and the page's text

local function past_event_at(index)
  local pages = pages_read[key]
  if pages and #pages < PAGES_KEPT then
    for number = #pages, 1, -2 do
      local place, size = (index - pages[number - 1]) * EVENT_BYTES, #pages[number]
      if place >= 0 and place < size then return pages[number], place + 1, size end
    end
  else
    pages = {}
    pages_read[key] = pages
  end
  local first = index - index % PAGE_EVENTS
  local from = first % (room * PAGE_EVENTS) * EVENT_BYTES
  local events = min(READ_PAGES * PAGE_EVENTS, past - first)
  past_key = past_key or of_kind(PAST_KIND)
  local page = call('GETRANGE', past_key, integer(from), integer(from + events * EVENT_BYTES - 1))
  pages[#pages + 1] = first
  pages[#pages + 1] = page
  return page, (index - first) * EVENT_BYTES + 1, #page
end

-- Returns the text that holds an event, the event's position in it, and how many bytes of it are events.
local function event_at(index)
  if index < past then return past_event_at(index) end
  return text, (index - past) * EVENT_BYTES + 1, bytes
end

-- Returns the party of the event that begins at `place`.
local function party_at(events, place)
  return sub(events, place + PARTY_AT - 1, place + PARTY_AT + PARTY_BYTES - 2)
end

-- Returns whether one of the recent events, from index `from` on, belongs to `party`.
local function is_recent(party, from)
  local at = find(text, party, from > past and (from - past) * EVENT_BYTES + 1 or 1, true)
  while at and at <= bytes do
    if (at - PARTY_AT) % EVENT_BYTES == 0 then return true end
    at = find(text, party, at + 1, true)
  end
  return false
end

-- Returns the index of the last payment in the past for a party; false where there is none.
local function last_place(party)
  return call('HGET', of_kind(PARTY_KIND), party)
end

-- Returns the same for a list of parties.
local function last_places(parties)
  local hash, count = of_kind(PARTY_KIND), #parties
  if count <= SLICE then return call('HMGET', hash, unpack(parties)) end
  local places = {}
  for from = 1, count, SLICE do
    local slice = call('HMGET', hash, unpack(parties, from, min(from + SLICE - 1, count)))
    for place = 1, #slice do places[from + place - 1] = slice[place] end
  end
  return places
end

-- Returns the room for `pages` pages: as many as fit into what the allocator takes anyway, which goes in steps of a
-- quarter of a power of two.
local function room_for(pages, page_bytes)
  local needed = pages * page_bytes + STRING_BYTES
  local _, exponent = math.frexp(needed - 1)
  local step = 2 ^ (exponent - 3)
  return floor((math.ceil(needed / step) * step - STRING_BYTES) / page_bytes)
end

-- Lays a small past out anew, with one page more, as one string: that costs fewer calls than to move its stretches.
local function lay_out_small(live, page, written)
  local size, room_before, count = #written, room, page + 1 - live
  if page > live then
    local held, from, kept = call('GET', past_key), live % room_before * size, (page - live) * size
    if from > 0 then held = sub(held, from + 1) .. sub(held, 1, from) end
    if #held > kept then held = sub(held, 1, kept) end
    written = held .. written
  end
  room = room_for(count, size)
  local from, spare = live % room * size, string.rep('\0', (room - count) * size)
  local until_end = room * size - from
  if #written > until_end then
    written = sub(written, until_end + 1) .. spare .. sub(written, 1, until_end)
  elseif from == 0 then
    written = written .. spare
  else
    written = sub(spare, 1, from) .. written .. sub(spare, from + 1)
  end
  if kept_ms then call('SET', past_key, written, 'PX', kept_ms) else call('SET', past_key, written) end
end

-- Lays a past out anew for `count` pages of `size` bytes, and keeps the pages from number `live` to before `page`. Each
-- stretch of pages that both layouts keep together is copied whole, because every further string costs its length.
local function lay_out(live, page, count, size)
  local room_before = room
  local stretches = {}
  room = room_for(count, size)
  while live < page do
    local pages = min(page - live, room_before - live % room_before, room - live % room)
    local from = live % room_before * size
    stretches[#stretches + 1] = live % room * size
    stretches[#stretches + 1] = call('GETRANGE', past_key, integer(from), integer(from + pages * size - 1))
    live = live + pages
  end
  call('UNLINK', past_key)
  call('SETRANGE', past_key, integer(room * size - 1), '\0')
  for number = 1, #stretches, 2 do call('SETRANGE', past_key, integer(stretches[number]), stretches[number + 1]) end
  if kept_ms then call('PEXPIRE', past_key, kept_ms) end
end

-- Writes the page of number `page`; the pages from number `live` on are still needed. Where there is no room for them,
-- or room for four times as many, the past is laid out anew.
local function write_page(live, page, written)
  local size, count = #written, page + 1 - live
  past_key = past_key or of_kind(PAST_KIND)
  if count > room or (room > ROOM_KEPT and room >= count * 4) then
    if max(count, room) <= ROOM_KEPT then return lay_out_small(live, page, written) end
    lay_out(live, page, count, size)
  end
  call('SETRANGE', past_key, integer(page % room * size), written)
end

-- Moves the oldest page of the recent events to the past, whose events from index `live` on are in a window. The page's
-- parties enter the hash with their indices, from index `known` on.
local function spill(live, known)
  local first, size = past, PAGE_EVENTS * EVENT_BYTES
  local page = first / PAGE_EVENTS
  if first == 0 and kept_ms then call('UNLINK', of_kind(PARTY_KIND)) end  -- of a log before, which expired first
  write_page(min(floor(live / PAGE_EVENTS), page), page, sub(text, 1, size))
  local places = {}
  for index = max(first, known), first + PAGE_EVENTS - 1 do
    local party = party_at(text, (index - first) * EVENT_BYTES + 1)
    if party ~= UNMAPPED then
      places[#places + 1] = party
      places[#places + 1] = integer(index)
    end
  end
  if #places > 0 then
    call('HSET', of_kind(PARTY_KIND), unpack(places))
    if kept_ms then call('PEXPIRE', of_kind(PARTY_KIND), kept_ms) end  -- it may have been empty, and gone
  end
  text, bytes, past = sub(text, size + 1), bytes - size, first + PAGE_EVENTS
end

-- The formats that pack a log's string: a number of bytes of the string as it was, one more event, what stands beside the
-- events, and the header.
local formats = {}

local function format_of(kept)
  local format = formats[kept]
  if not format then
    format = 'c' .. integer(kept) .. EVENT_FORMAT .. BESIDE_FORMAT .. FORMAT
    formats[kept] = format
  end
  return format
end

