-- Marks a payment as fraud or as none. Returns 1 where a window of the beneficiary holds it, else 0. The same label a
-- second time changes nothing, and neither does one that it is no fraud where a label that was made later says that it
-- is. A fraud that may have been pushed out of a log that is full is pinned, and returns 1; it counts until all that was
-- pushed out would have left, once more each time that it is told.
-- KEYS: the beneficiary. ARGV: event time, payment hash with sender hash, '1' or '0', when the label was made, how many
-- payments a beneficiary may hold, how long the longest label window with the delay is in ms, and how long a beneficiary
-- is kept in ms. When the newest label of fraud was made stands beside the log (a hash of kind f: payment hash with
-- sender hash → time in ms), for as long as one that was made before it may come.

local SCAN_EVENTS = 4096

local STATED_KIND = 'f'

local time, payment, fraud, labelled_at = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local payments_max, kept_for_ms, stated_kept_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
key, text = KEYS[1], call('GET', KEYS[1])
if not text then return 0 end

-- Returns whether a label that was made later says that the payment is fraud, and remembers when this one was made.
local function is_overtaken()
  local stated_key = of_kind(STATED_KIND)
  local stated = tonumber(call('HGET', stated_key, payment) or 0)  -- 0: none says so
  if fraud == 0 then
    if labelled_at < stated then return true end
    if stated > 0 then call('HDEL', stated_key, payment) end
  else
    if labelled_at > stated then call('HSET', stated_key, payment, integer(labelled_at)) end
    call('PEXPIRE', stated_key, stated_kept_ms)
  end
  return false
end

if #text == EVENT_BYTES then  -- one payment alone
  if sub(text, PAYMENT_AT, FLAGS_AT - 1) ~= payment then return 0 end
  if is_overtaken() then return 1 end
  local flags = byte(text, FLAGS_AT)
  call('SETRANGE', key, integer(FLAGS_AT - 1), string.char(flags - flags % 2 + fraud))
  return 1
end
bytes = #text - HEADER_BYTES
local header = {unpack_at(FORMAT, text, bytes + 1)}
past, room = header[1], header[2]
-- The header holds a window's values at these indices plus its number, 1 to 6 and 1 to 3; then the frauds of all.
local LATEST, COUNTS, FRAUDS, ALL_FRAUDS, PINNED, PINNED_AT = 3, 3, 17, 21, 22, 23
local RUN, ENDED_BEHIND = 24, 25
local head = past + bytes / EVENT_BYTES
local labelled = head - header[COUNTS + 3]  -- events before this index are as old as the label delay

local function time_of(index)
  return (unpack_at('>I5', event_at(index)))
end

-- Returns the index of the first payment at or after `time`. A late payment was counted at the beneficiary's latest
-- time, so it stands later in the log.
local function search()
  local low, high = head - header[COUNTS + 6], head
  while low < high do
    local middle = floor((low + high) / 2)
    if time_of(middle) < time then low = middle + 1 else high = middle end
  end
  return low
end

-- Returns the position of an event in the string of the past, counted from 0.
local function past_place(index)
  return index % (room * PAGE_EVENTS) * EVENT_BYTES
end

-- Returns the events from `index` on, as far as one string holds them.
local function events_from(index)
  if index >= past then return sub(text, (index - past) * EVENT_BYTES + 1, bytes) end
  local from = past_place(index)
  local size = min(SCAN_EVENTS, past - index) * EVENT_BYTES
  return call('GETRANGE', of_kind(PAST_KIND), integer(from), integer(from + size - 1))
end

local function find_payment(index)
  while index < head do
    local events = events_from(index)
    local at = find(events, payment, PAYMENT_AT, true)
    while at do
      local place = at - PAYMENT_AT
      if place % EVENT_BYTES == 0 then return index + place / EVENT_BYTES, byte(events, place + FLAGS_AT) end
      at = find(events, payment, at + 1, true)
    end
    index = index + max(#events / EVENT_BYTES, 1)
  end
end

local function mark(index, flags)
  if index < past then
    call('SETRANGE', of_kind(PAST_KIND), integer(past_place(index) + FLAGS_AT - 1), string.char(flags))
  else
    local at = (index - past) * EVENT_BYTES + FLAGS_AT
    call('SETRANGE', key, integer(at - 1), string.char(flags))
    text = sub(text, 1, at - 1) .. string.char(flags) .. sub(text, at + 1)
  end
end

-- Counts a fraud among those that were pushed out, where it may be one of them.
local function pin()
  local held = header[COUNTS + 6]
  if fraud == 0 or held < payments_max then return 0 end
  local oldest = time_of(head - held)
  if time > oldest or time <= header[LATEST] - kept_for_ms then return 0 end
  header[PINNED], header[PINNED_AT] = min(header[PINNED] + 1, payments_max), oldest
  call('SETRANGE', key, integer(bytes), pack(FORMAT, unpack(header)))
  return 1
end

local index, flags = find_payment(search())
if not index then return pin() end
if is_overtaken() then return 1 end
local marked = flags % 2
if marked ~= fraud then
  mark(index, flags + fraud - marked)
  header[ALL_FRAUDS] = header[ALL_FRAUDS] + fraud - marked
  for window = 1, 3 do
    if index < labelled and index >= head - header[COUNTS + 3 + window] then
      header[FRAUDS + window] = header[FRAUDS + window] + fraud - marked
    end
  end
  -- A run doesn't reach back behind the payment that ended the one before.
  local oldest = head - header[COUNTS + 6]
  local kind = flags - marked
  if kind ~= UNUSUAL and index < labelled and index >= oldest and index + 1 >= header[ENDED_BEHIND] then
    header[RUN], header[ENDED_BEHIND] = look_back(oldest, labelled)
  end
  call('SETRANGE', key, integer(bytes), pack(FORMAT, unpack(header)))
end
return 1
