-- Counts one chunk of a partition's payments in the windows of their beneficiaries, and looks up fraud reports and
-- declared months, as far as one shard holds them. Returns the features of each payment; those that another shard holds
-- are NONE.
-- KEYS: progress of the partition in this shard; beneficiaries (see beneficiary.lua); then facts (strings that begin with
-- observed at and value; see newest.lua).
-- ARGV[1]: first, last, committed, initial, rebuild (2: without rows), since, number of beneficiaries; then for each
-- payment its offset, its index in the chunk, the index of its beneficiary, the indices among the facts of its IP address, its device and its
-- declared month (0 where this shard doesn't hold it), its time, its sender hash and its payment hash.
-- ARGV[2]: how many payments a beneficiary may hold; ARGV[3]: label delay in ms; ARGV[4]: how long a beneficiary is kept
-- after its last payment, in ms. ARGV[5]: the allowance (see calls.lua). ARGV[6]: the freshness of the chunk, a byte for
-- each payment; one that is not FRESH is not counted. ARGV[7]: what each payment is for its payer, likewise.

local request, payments_max, delay_ms, freshness = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[6]
kept_ms, allowance = ARGV[4], allowance or tonumber(ARGV[5])
local first, last, committed, is_initial, is_rebuild, since, beneficiaries, at = unpack_at('>I6I6I6BBI6I2', request)
local is_silent = is_rebuild == 2  -- nobody wants the rows
local ROW = '<' .. string.rep('l', 17)  -- offset, features, declared month
local UNKNOWN = -2
local HOUR_MS = 3600000
local LOOKED_AT_A_LEAVER = 5  -- payments looked through for a run in the time that one takes to leave
local kinds = ARGV[7]
local is_changed, is_renewed = {}, {}  -- by number of the beneficiary

local reached, lost, pruned, is_missing = begin(KEYS[1], first, is_initial)
if not reached then return lost end
since = since_of(is_missing, since)

local texts = {}
if #KEYS > 1 then texts = call('MGET', unpack(KEYS, 2)) end

-- Returns the value of a fact, or `otherwise` where nothing is known of it.
local function fact(number, otherwise)
  if number == 0 then return NONE end
  local text = texts[beneficiaries + number]
  if not text then return otherwise end
  local _, value = unpack_at('<ll', text)
  return value
end

-- The current beneficiary's run of frauds, and the index behind the payment that ended the run before.
local run, ended_behind

-- Takes a payment into the run that has become as old as the label delay.
local function check(index, flags)
  if flags == 0 then
    run, ended_behind = 0, index + 1
  elseif flags % 4 == FRAUD and run ~= RUN_UNKNOWN then
    run = run + 1
  end
end

-- Forgets a payment, the oldest of all.
local function forget(index, flags)
  if index + 1 == ended_behind then
    ended_behind = 0
  elseif ended_behind == 0 and flags % 4 == FRAUD and run > 0 and run ~= RUN_UNKNOWN then
    run = run - 1
  end
end

-- Lets the oldest payments leave a window, at least one: those that are too old at `time`, as far as the allowance goes.
-- Returns the window's new count and expiry, and how many frauds left it. It adds the senders, the oldest first, to
-- `left`, and calls `also` for each.
local function leave(count, width, time, left, also)
  local head, frauds, next_time = past + bytes / EVENT_BYTES, 0, nil
  local events, place, size = event_at(head - count)
  local weight = left and PARTY_WEIGHT or 1
  local free = count - 1
  repeat
    if left then left[#left + 1] = party_at(events, place) end
    local flags = byte(events, place + FLAGS_AT - 1)
    if also then also(head - count, flags) end
    count = count - 1
    if place + EVENT_BYTES < size then
      place = place + EVENT_BYTES
      next_time = unpack_at('>I5', events, place)
    else
      if count > 0 then
        events, place, size = event_at(head - count)
        next_time = unpack_at('>I5', events, place)
      end
    end
    frauds = frauds + flags % 2
  until count == 0 or next_time + width > time or (free - count + 1) * weight > allowance
  allowance = allowance - (free - count) * weight
  return count, count > 0 and next_time + width or NEVER, frauds
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

-- Returns both counts of a label window that is full: those of the payments that it still holds, with the frauds of all.
local function held_of(labelled, frauds, pinned)
  if labelled == 0 then return UNKNOWN, UNKNOWN end
  return labelled, min(frauds + pinned, labelled)
end

-- Returns the run, and the hours since the first payment of it or beside it, which is the event at index `from`.
local function run_told(is_full, from, time)
  if run == RUN_UNKNOWN or is_full and ended_behind == 0 then return UNKNOWN, UNKNOWN end
  if run == 0 then return 0, NONE end
  return run, floor((time - unpack_at('>I5', event_at(from))) / HOUR_MS)
end

local function observe(number, time, sender, payment, kind, offset, ip_reports, device_reports, declared)
  key, text, past_key = KEYS[number + 1], texts[number] or '', nil
  bytes = #text - HEADER_BYTES
  local latest, c1, c2, c3, c4, c5, c6, e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3, all_frauds
  local pinned, pinned_at = 0, 0
  if bytes > 0 then
    past, room, latest, c1, c2, c3, c4, c5, c6, e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3,
      all_frauds, pinned, pinned_at, run, ended_behind = unpack_at(FORMAT, text, bytes + 1)
  else  -- none, or one payment alone
    bytes, past, room, latest = #text, 0, 0, 0
    c1, is_renewed[number] = bytes / EVENT_BYTES, is_renewed[number] or bytes == 0
    c2, c4, c5, c6, senders_day, senders_week, all_frauds = c1, c1, c1, c1, c1, c1, 0
    run, ended_behind = 0, 0
    local lone = 0
    if c1 == 1 then
      latest, lone = unpack_at('>I5xxxxxxxxxxB', text)
      all_frauds = lone % 2
    end
    c3, f1 = c1, 0
    if delay_ms == 0 then
      c3, f1 = 0, all_frauds
      if c1 == 1 then check(0, lone) end
    end
    f2, f3 = f1, f1
    e1, e2, e3 = latest + DAY_MS, latest + WEEK_MS, latest + delay_ms
    e4, e5, e6 = e3 + DAY_MS, e3 + WEEK_MS, e3 + MONTH_MS
    if c3 == 0 then e3 = NEVER end
  end
  if time < latest then time = latest end
  if latest < time - time % DAY_MS then is_renewed[number] = true end
  local frauds = 0
  if pinned_at + delay_ms + MONTH_MS <= time then pinned = 0 end
  -- All that waited is looked through at once. With no allowance left for it, the payment waits, and changes nothing yet.
  local is_at_once = e3 <= time and latest + delay_ms <= time
  if is_at_once and allowance < 0 then return nil end

  -- Windows that no earlier payment is in any more are emptied without a look at them.
  if e1 <= time and latest + DAY_MS <= time then c1, e1, senders_day = 0, NEVER, 0 end
  if e2 <= time and latest + WEEK_MS <= time then
    c2, e2, senders_week = 0, NEVER, 0
    if past > 0 then call('UNLINK', of_kind(PARTY_KIND)) end
  end
  if is_at_once then
    local waiting = all_frauds - f3  -- the longest label window holds all payments that don't wait
    c3, e3, f1, f2, f3 = 0, NEVER, f1 + waiting, f2 + waiting, all_frauds
    if latest + delay_ms + MONTH_MS > time then
      local head = past + bytes / EVENT_BYTES
      run, ended_behind = look_back(head - c6, head)
      local looked_at = ended_behind > 0 and head - ended_behind or min(c6, LOOKED_AT_MAX)
      allowance = allowance - looked_at / LOOKED_AT_A_LEAVER
    end
  end
  if e4 <= time and latest + delay_ms + DAY_MS <= time then c4, e4, f1 = 0, NEVER, 0 end
  if e5 <= time and latest + delay_ms + WEEK_MS <= time then c5, e5, f2 = 0, NEVER, 0 end
  if e6 <= time and latest + delay_ms + MONTH_MS <= time then
    c6, e6, f3, all_frauds = 0, NEVER, 0, 0
    if past > 0 then call('UNLINK', of_kind(PAST_KIND)) end
    text, bytes, past, room, pages_read[key] = '', 0, 0, 0, nil
    run, ended_behind = 0, 0
  end

  -- The day goes before the week, which takes the senders along, and the delay before the label windows.
  local head = past + bytes / EVENT_BYTES
  local from_day, from_week, left_day, left_week = head - c1, head - c2, NOTHING, NOTHING
  if e1 <= time then
    left_day = {}
    c1, e1 = leave(c1, DAY_MS, time, left_day)
  end
  if e2 <= time then
    left_week = {}
    c2, e2, frauds = leave(c2, WEEK_MS, time, left_week, delay_ms == WEEK_MS and check)
  end
  -- Payments that have become as old as the label delay enter the label windows; then those too old for a window leave
  -- it.
  if e3 <= time then
    if delay_ms == WEEK_MS then  -- the payments that have left the week are the same ones
      c3, e3 = c2, e2
    else
      c3, e3, frauds = leave(c3, delay_ms, time, nil, check)
    end
    f1, f2, f3 = f1 + frauds, f2 + frauds, f3 + frauds
  end
  -- While some still wait that are old enough, the label windows stand: nothing leaves them that has not entered yet.
  if e4 <= time and e3 > time then
    c4, e4, frauds = leave(c4, delay_ms + DAY_MS, time)
    f1 = f1 - frauds
  end
  if e5 <= time and e3 > time then
    c5, e5, frauds = leave(c5, delay_ms + WEEK_MS, time)
    f2 = f2 - frauds
  end
  if e6 <= time and e3 > time then
    c6, e6, frauds = leave(c6, delay_ms + MONTH_MS, time, nil, forget)
    f3, all_frauds = f3 - frauds, all_frauds - frauds
  end
  local is_whole = e1 > time and e2 > time and e3 > time and e4 > time and e5 > time and e6 > time
  -- The oldest payment makes room for one more, and leaves every window that holds it. A payment that still waits is in
  -- no label window.
  while is_whole and c6 >= payments_max do
    local full, is_labelled = c6, c3 < c6 and 1 or 0
    if c1 == full then
      left_day = left_day == NOTHING and {} or left_day
      c1, e1 = leave(c1, DAY_MS, 0, left_day)
    end
    if c2 == full then
      left_week = left_week == NOTHING and {} or left_week
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
    c6, e6, frauds = leave(c6, delay_ms + MONTH_MS, 0, nil, forget)
    f3, all_frauds = f3 - frauds * is_labelled, all_frauds - frauds
    if frauds > 0 then pinned, pinned_at = min(pinned + frauds, payments_max), (unpack_at('>I5', event_at(head - full))) end
  end

  -- The hash is asked about all senders in the past at once.
  local days = left_day == NOTHING and 0 or max(min(#left_day, past - from_day), 0)
  local weeks = left_week == NOTHING and 0 or max(min(#left_week, past - from_week), 0)
  local day, week = head - c1, head - c2
  local is_in_day, places, place = not is_whole or is_recent(sender, day), NOTHING, nil
  if from_week < past and days + weeks == 0 then
    place = not is_in_day and last_place(sender)
  elseif from_week < past then
    local parties = {}
    for place = 1, days do parties[place] = left_day[place] end
    for place = 1, weeks do parties[days + place] = left_week[place] end
    parties[days + weeks + 1] = sender
    places = last_places(parties)
    place = places[days + weeks + 1]
  end
  if #left_day > 0 then senders_day = senders_day - count_last(left_day, from_day, places, 0) end
  if #left_week > 0 then
    senders_week = senders_week - count_last(left_week, from_week, places, days)
    if weeks > 0 then remove(left_week, from_week, places, days) end
  end
  if not is_whole then
    -- Whoever comes meanwhile counts at this time too, and lets go of the rest first.
    texts[number] = sub(text, 1, bytes) .. pack(FORMAT, past, room, time, c1, c2, c3, c4, c5, c6, e1, e2, e3, e4, e5,
      e6, senders_day, senders_week, f1, f2, f3, all_frauds, pinned, pinned_at, run, ended_behind)
    is_changed[number] = true
    return nil
  end
  if not is_in_day then
    local previous = tonumber(place or -1)
    if previous < day then senders_day = senders_day + 1 end
    if previous < week and (day <= past or not is_recent(sender, week)) then senders_week = senders_week + 1 end
  end

  if c6 == c3 then run, ended_behind = 0, 0 end  -- none is checked
  local run_length, run_hours
  if not is_silent then
    run_length, run_hours = run_told(c6 + 1 >= payments_max, ended_behind > 0 and ended_behind or head - c6, time)
  end
  if delay_ms == 0 then check(head, kind) end
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
  if head == 0 then
    texts[number] = pack(EVENT_FORMAT, time, payment, sender, kind)
  else
    texts[number] = pack(formats[bytes] or format_of(bytes), text, time, payment, sender, kind, past, room, time, c1,
      c2, c3, c4, c5, c6, e1, e2, e3, e4, e5, e6, senders_day, senders_week, f1, f2, f3, all_frauds, pinned, pinned_at,
      run, ended_behind)
  end
  is_changed[number] = true
  if is_silent then return '' end
  local l1, l2, l3 = c4 - c3, c5 - c3, c6 - c3
  -- As with accounts, a window that isn't full has pushed out nothing that would still be in it.
  if c6 >= payments_max then
    l3, f3 = held_of(l3, f3, pinned)
    if c5 >= payments_max then l2, f2 = held_of(l2, f2, pinned) end
    if c4 >= payments_max then l1, f1 = held_of(l1, f1, pinned) end
    if c2 >= payments_max then c2, senders_week = UNKNOWN, UNKNOWN end
    if c1 >= payments_max then c1, senders_day = UNKNOWN, UNKNOWN end
  end
  if pinned > 0 then all_frauds = min(all_frauds + pinned, payments_max) end
  return pack(ROW, offset, c1, c2, senders_day, senders_week, l1, f1, l2, f2, l3, f3, ip_reports, device_reports,
    all_frauds, run_length, run_hours, declared)
end

-- Writes the logs that were changed. A log's own string is the first of its keys to expire. It is renewed with the first
-- payment of each day, which costs a third of doing so every time.
local function write_logs()
  for number = 1, beneficiaries do
    local written, log = texts[number], KEYS[number + 1]
    if not is_changed[number] then
      -- nothing was counted
    elseif is_renewed[number] then
      call('SET', log, written, 'PX', kept_ms)
      if #written > HEADER_BYTES and unpack_at('>I5', written, #written - HEADER_BYTES + 1) > 0 then
        key = log
        call('PEXPIRE', of_kind(PAST_KIND), kept_ms)
        call('PEXPIRE', of_kind(PARTY_KIND), kept_ms)
      end
    else
      call('SET', log, written, 'KEEPTTL')
    end
  end
end

local function count(number, time, sender, payment, kind, offset, ip_address, device, account)
  if is_silent then return number == 0 and '' or observe(number, time, sender, payment, kind, offset) end
  local ip_reports, device_reports, declared = fact(ip_address, 0), fact(device, 0), fact(account, NONE)
  if number == 0 then
    return pack(ROW, offset, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, ip_reports, device_reports, -1, -1, -1, declared)
  end
  return observe(number, time, sender, payment, kind, offset, ip_reports, device_reports, declared)
end

local rows, answers = {OBSERVED .. pack('<ll', since, NONE)}, {}
local kept, late = nil, 0
local reply, ends = OBSERVED, last
local is_mixed = find(freshness, '[^%z]')  -- some are not FRESH
while at <= #request do
  local offset, place, number, ip_address, device, account, time, sender, payment
  offset, place, number, ip_address, device, account, time, sender, payment, at =
    unpack_at('>I6I2I2I2I2I2I5c6c4', request, at)
  local kind = byte(kinds, place + 1)
  if is_mixed and byte(freshness, place + 1) % ANEW ~= FRESH then
    -- not counted
  elseif offset >= reached then
    local row = count(number, time, sender, payment, kind, offset, ip_address, device, account)
    if not row then
      reply, ends = TOO_MUCH, offset
      break
    end
    rows[#rows + 1] = row
  else
    kept = kept or snapshots(KEYS[1], ROW, first)
    local row = kept[offset]
    if not row and is_rebuild == 0 then
      if offset < pruned then return failure(PRUNED, offset) end
      row = count(number, time, sender, payment, kind, offset, ip_address, device, account)
      if not row then
        reply, ends = TOO_MUCH, offset
        break
      end
      rows[#rows + 1] = row
      late = late + 1
    end
    answers[#answers + 1] = row
  end
end
write_logs()
return finish(KEYS[1], reached, ends, committed, pruned, reply, rows, late, answers)
