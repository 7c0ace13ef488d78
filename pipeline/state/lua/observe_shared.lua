-- Counts one chunk of a partition's payments in the windows of their beneficiaries, and looks up fraud reports and
-- declared months, as far as one shard holds them. Returns the features of each payment; those that another shard holds
-- are UNKNOWN.
-- KEYS: progress of the partition in this shard; beneficiaries (see beneficiary.lua); then facts (strings that begin with
-- observed at and value; see newest.lua).
-- ARGV[1]: first, last, committed, initial, rebuild, since, number of beneficiaries; then for each payment its offset, its
-- index in the chunk, the index of its beneficiary, the indices among the facts of its IP address, its device and its
-- declared month (0 where this shard doesn't hold it), its time, its sender hash and its payment hash.
-- ARGV[2]: how many payments a beneficiary may hold; ARGV[3]: label delay in ms. ARGV[4]: the freshness of the chunk, a
-- byte for each payment; one that is not FRESH is not counted.

local request, payments_max, delay_ms, freshness = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local first, last, committed, is_initial, is_rebuild, since, beneficiaries, at = unpack_at('>I6I6I6BBI6I2', request)
local ROW = '<' .. string.rep('l', 14)  -- offset, features, declared month
local EMPTY = string.rep('\0', HEADER_BYTES)

local reached, lost, pruned, is_missing = begin(KEYS[1], first, is_initial)
if not reached then return lost end
since = since_of(is_missing, since)

local texts = {}
if #KEYS > 1 then texts = call('MGET', unpack(KEYS, 2)) end

-- Returns the value of a fact, or `otherwise` where nothing is known of it.
local function fact(number, otherwise)
  if number == 0 then return UNKNOWN end
  local text = texts[beneficiaries + number]
  if not text then return otherwise end
  local _, value = unpack_at('<ll', text)
  return value
end

-- Lets the oldest payments leave a window, at least one: those that are too old at `time`. Returns the window's new
-- count and expiry, and how many frauds left it. It adds the senders, the oldest first, to `left`.
local function leave(count, width, time, left)
  local head, frauds, next_time = past + bytes / EVENT_BYTES, 0, nil
  local events, place, size = event_at(head - count)
  repeat
    local fraud
    if left then left[#left + 1] = party_at(events, place) end
    count = count - 1
    if place + EVENT_BYTES < size then
      fraud, next_time = unpack_at('>BI5', events, place + FRAUD_AT - 1)
      place = place + EVENT_BYTES
    else
      fraud = byte(events, place + FRAUD_AT - 1)
      if count > 0 then
        events, place, size = event_at(head - count)
        next_time = unpack_at('>I5', events, place)
      end
    end
    frauds = frauds + fraud
    if count == 0 then return 0, NEVER, frauds end
  until next_time + width > time
  return count, next_time + width, frauds
end

-- Counts how many payments of `senders`, from index `from` on, are the sender's last. In the past, `places` tells that,
-- from number `skip` on.
local function count_last(senders, from, places, skip)
  local count = 0
  for number = 1, #senders do
    local sender, index = senders[number], from + number - 1
    local is_last = index >= past or tonumber(places[skip + number]) == index
    if is_last and not is_recent(sender, index + 1) then count = count + 1 end
  end
  return count
end

-- Removes senders from the hash: those whose payment that left the week, from index `from` on, was their last in the
-- past.
local function remove(senders, from, places, skip)
  local removed = {}
  for number = 1, min(#senders, past - from) do
    if tonumber(places[skip + number]) == from + number - 1 then removed[#removed + 1] = senders[number] end
  end
  if #removed > 0 then delete_fields(of_kind(PARTY_KIND), removed) end
end

local function observe(number, time, sender, payment, offset, ip_reports, device_reports, declared)
  key, text, past_key = KEYS[number + 1], texts[number] or EMPTY, nil
  bytes = #text - HEADER_BYTES
  local latest, c1, c2, c3, c4, c5, c6, e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3
  past, room, latest, c1, c2, c3, c4, c5, c6, e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3 =
    unpack_at(FORMAT, text, bytes + 1)
  if time < latest then time = latest end
  local head, frauds = past + bytes / EVENT_BYTES, 0
  if head == 0 then text, e1, e2, e3, e4, e5, e6 = '', NEVER, NEVER, NEVER, NEVER, NEVER, NEVER end

  local from_day, from_week, left_day, left_week = head - c1, head - c2, NONE, NONE
  if e2 <= time then
    left_week = {}
    c2, e2, frauds = leave(c2, WEEK_MS, time, left_week)
  end
  if latest + DAY_MS <= time then
    c1, e1, senders_day = 0, NEVER, 0
  elseif e1 <= time then
    left_day = {}
    c1, e1 = leave(c1, DAY_MS, time, left_day)
  end
  -- Payments that have become as old as the label delay enter the label windows; then those too old for a window leave
  -- it.
  if e3 <= time then
    if delay_ms == WEEK_MS then  -- the payments that have left the week are the same ones
      c3, e3 = c2, e2
    else
      c3, e3, frauds = leave(c3, delay_ms, time)
    end
    f1, f2, f3 = f1 + frauds, f2 + frauds, f3 + frauds
  end
  if e4 <= time then
    c4, e4, frauds = leave(c4, delay_ms + DAY_MS, time)
    f1 = f1 - frauds
  end
  if e5 <= time then
    c5, e5, frauds = leave(c5, delay_ms + WEEK_MS, time)
    f2 = f2 - frauds
  end
  if e6 <= time then
    c6, e6, frauds = leave(c6, delay_ms + MONTH_MS, time)
    f3 = f3 - frauds
  end
  -- The oldest payment makes room for one more, and leaves every window that holds it. A payment that still waits is in
  -- no label window.
  while c6 >= payments_max do
    local full, is_labelled = c6, c3 < c6 and 1 or 0
    if c1 == full then
      left_day = left_day == NONE and {} or left_day
      c1, e1 = leave(c1, DAY_MS, 0, left_day)
    end
    if c2 == full then
      left_week = left_week == NONE and {} or left_week
      c2, e2 = leave(c2, WEEK_MS, 0, left_week)
    end
    if c3 == full then c3, e3 = leave(c3, delay_ms, 0) end
    if c4 == full then
      c4, e4, frauds = leave(c4, delay_ms + DAY_MS, 0)
      f1 = f1 - frauds * is_labelled
    end
    if c5 == full then
      c5, e5, frauds = leave(c5, delay_ms + WEEK_MS, 0)
      f2 = f2 - frauds * is_labelled
    end
    c6, e6, frauds = leave(c6, delay_ms + MONTH_MS, 0)
    f3 = f3 - frauds * is_labelled
  end

  -- The hash is asked about all senders in the past at once.
  local days, weeks = max(min(#left_day, past - from_day), 0), max(min(#left_week, past - from_week), 0)
  local day, week = head - c1, head - c2
  local is_in_day, places = is_recent(sender, day), NONE
  if from_week < past and not (is_in_day and days + weeks == 0) then
    local parties = {unpack(left_day, 1, days)}
    for place = 1, weeks do parties[days + place] = left_week[place] end
    parties[days + weeks + 1] = sender
    places = last_places(parties)
  end
  if #left_day > 0 then senders_day = senders_day - count_last(left_day, from_day, places, 0) end
  if #left_week > 0 then
    senders_week = senders_week - count_last(left_week, from_week, places, days)
    if weeks > 0 then remove(left_week, from_week, places, days) end
  end
  if not is_in_day then
    local previous = tonumber(places[days + weeks + 1]) or -1
    if previous < day then senders_day = senders_day + 1 end
    if previous < week and not is_recent(sender, week) then senders_week = senders_week + 1 end
  end

  if c1 == 0 then e1 = time + DAY_MS end
  if c2 == 0 then e2 = time + WEEK_MS end
  if c4 == 0 then e4 = time + delay_ms + DAY_MS end
  if c5 == 0 then e5 = time + delay_ms + WEEK_MS end
  if c6 == 0 then e6 = time + delay_ms + MONTH_MS end
  if delay_ms > 0 then
    if c3 == 0 then e3 = time + delay_ms end
    c3 = c3 + 1
  end
  c1, c2, c4, c5, c6 = c1 + 1, c2 + 1, c4 + 1, c5 + 1, c6 + 1
  if bytes >= SPILL_BYTES then spill(head + 1 - c6, head + 1 - c2) end
  texts[number] = pack(format_of(bytes), text, time, payment, sender, 0, past, room, time, c1, c2, c3, c4, c5, c6,
    e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3)
  return pack(ROW, offset, c1, c2, senders_day, senders_week, c4 - c3, f1, c5 - c3, f2, c6 - c3, f3, ip_reports,
    device_reports, declared)
end

local function count(number, time, sender, payment, offset, ip_address, device, account)
  local ip_reports, device_reports, declared = fact(ip_address, 0), fact(device, 0), fact(account, UNKNOWN)
  if number == 0 then
    return pack(ROW, offset, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, ip_reports, device_reports, declared)
  end
  return observe(number, time, sender, payment, offset, ip_reports, device_reports, declared)
end

local rows, answers = {OBSERVED .. pack('<ll', since, UNKNOWN)}, {}
local kept, late = nil, 0
while at <= #request do
  local offset, place, number, ip_address, device, account, time, sender, payment
  offset, place, number, ip_address, device, account, time, sender, payment, at =
    unpack_at('>I6I2I2I2I2I2I5c6c4', request, at)
  if byte(freshness, place + 1) ~= FRESH then
    -- not counted
  elseif offset >= reached then
    rows[#rows + 1] = count(number, time, sender, payment, offset, ip_address, device, account)
  else
    kept = kept or snapshots(KEYS[1], ROW)
    local row = kept[offset]
    if not row and is_rebuild == 0 then
      if offset < pruned then return failure(PRUNED, offset) end
      row = count(number, time, sender, payment, offset, ip_address, device, account)
      rows[#rows + 1] = row
      late = late + 1
    end
    answers[#answers + 1] = row
  end
end
if #rows > 1 then write_logs(texts, beneficiaries) end
local fresh = table.concat(rows)
move_on(KEYS[1], reached, last, committed, pruned, fresh)
return reply_of(rows, late, fresh, answers)
