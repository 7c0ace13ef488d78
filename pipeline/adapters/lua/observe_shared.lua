-- Counts one chunk of a partition's payments in the windows of their beneficiaries, and looks up fraud reports and
-- declared months, for what one shard holds; answers with the features of each payment, UNKNOWN for what is elsewhere.
-- KEYS: progress of the partition in this shard; beneficiaries (each has its senders, hash: sender hash → place of its
-- last payment, in the key that ends in ':s'); then facts (strings: observed at, value; see newest.lua).
-- ARGV[1]: first, last, committed, initial, rebuild, number of beneficiaries; then for each payment offset, place
-- among the beneficiaries, places among the facts of its IP address, device and declared month (0: not in this shard),
-- time, sender hash, payment hash.
-- ARGV[2]: payments a beneficiary may hold; ARGV[3]: label delay in ms.
-- An event is time 5, sender hash 6, payment hash 4, is fraud 1 bytes. Header: see beneficiary.lua.

local floor, max, min = math.floor, math.max, math.min
local unpack_at, pack = struct.unpack, struct.pack
local request, payments_max, delay_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first, last, committed, is_initial, is_rebuild, beneficiaries, at = unpack_at('>I6I6I6BBI2', request)
local WIDTHS_MS = {DAY_MS, 7 * DAY_MS, delay_ms, delay_ms + DAY_MS, delay_ms + 7 * DAY_MS, delay_ms + 30 * DAY_MS}

local reached, reaches = follow_on(tonumber(redis.call('HGET', KEYS[1], 'reached')), first, is_initial == 1)
if not reached then return failure(LOST, reaches) end

local facts = {}
if #KEYS > beneficiaries + 1 then facts = redis.call('MGET', unpack(KEYS, beneficiaries + 2)) end

-- The value of a fact; `otherwise` where nothing is known of it.
local function fact(number, otherwise)
  if number == 0 then return UNKNOWN end
  local text = facts[number]
  if not text then return otherwise end
  local _, value = unpack_at('<ll', text)
  return value
end

-- Moves the tail of a window on by one event; the event's text, and where in it.
local function pass(b, window)
  local log, index = b.log, b.tails[window]
  local text, place = event_at(log, window, index)
  local following = index + 1
  b.tails[window] = following
  if following == log.stored + #log.added then
    b.expiries[window] = NEVER
  else
    local next_text, next_place = event_at(log, window, following)
    b.expiries[window] = unpack_at('>I5', next_text, next_place) + WIDTHS_MS[window]
  end
  return text, place
end

-- Removes those whose last payment left the day or the week, and enters `sender`.
local function count_senders(b, left_day, from_day, left_week, from_week, sender, head)
  local days, weeks = #left_day, #left_week
  local parties = left_day
  for number = 1, weeks do parties[days + number] = left_week[number] end
  parties[days + weeks + 1] = sender
  local places = last_places(b.senders_key, parties)
  for number = 1, days do
    if tonumber(places[number]) == b.base + from_day + number - 1 then b.senders_day = b.senders_day - 1 end
  end
  for number = 1, weeks do
    if tonumber(places[days + number]) == b.base + from_week + number - 1 then
      b.senders_week = b.senders_week - 1
      if parties[days + number] ~= sender then redis.call('HDEL', b.senders_key, parties[days + number]) end
    end
  end
  local previous = tonumber(places[days + weeks + 1]) or -1
  if previous < b.base + b.tails[1] then b.senders_day = b.senders_day + 1 end
  if previous < b.base + b.tails[2] then b.senders_week = b.senders_week + 1 end
  redis.call('HSET', b.senders_key, sender, b.base + head)
end

-- Payments that grew as old as the label delay enter the label windows, then those older than a window leave it.
local function move_labels(b, time)
  local tails, expiries, frauds = b.tails, b.expiries, b.frauds
  while expiries[3] <= time do
    local text, place = pass(b, 3)
    local fraud = string.byte(text, place + 15)
    for number = 1, 3 do frauds[number] = frauds[number] + fraud end
  end
  for number = 1, 3 do
    while expiries[number + 3] <= time do
      local text, place = pass(b, number + 3)
      frauds[number] = frauds[number] - string.byte(text, place + 15)
    end
  end
end

-- Makes room for one more: the oldest payment leaves every window that holds it.
local function push_out(b, left_day, left_week)
  local oldest = b.tails[6]
  local text, place = event_at(b.log, 6, oldest)
  local fraud, sender = string.byte(text, place + 15), string.sub(text, place + 5, place + 10)
  local is_waiting = b.tails[3] == oldest
  for window = 1, 6 do
    if b.tails[window] == oldest then
      pass(b, window)
      if window == 1 then left_day[#left_day + 1] = sender end
      if window == 2 then left_week[#left_week + 1] = sender end
      if window > 3 and not is_waiting then b.frauds[window - 3] = b.frauds[window - 3] - fraud end
    end
  end
end

local function observe(b, time, sender, payment)
  local log, tails = b.log, b.tails
  time = max(time, b.latest)
  b.latest = time
  local left_day, left_week, from_day, from_week = {}, {}, tails[1], tails[2]
  local head = log.stored + #log.added
  while b.expiries[1] <= time do
    local text, place = pass(b, 1)
    left_day[#left_day + 1] = string.sub(text, place + 5, place + 10)
  end
  while b.expiries[2] <= time do
    local text, place = pass(b, 2)
    left_week[#left_week + 1] = string.sub(text, place + 5, place + 10)
  end
  move_labels(b, time)
  while head - tails[6] >= payments_max do push_out(b, left_day, left_week) end
  count_senders(b, left_day, from_day, left_week, from_week, sender, head)
  log.added[#log.added + 1] = pack('>I5c6c4B', time, sender, payment, 0)
  for window = 1, 6 do
    if tails[window] == head then b.expiries[window] = time + WIDTHS_MS[window] end
  end
  move_labels(b, time)  -- without a delay the payment enters at once
  head = head + 1
  local f = b.frauds
  return head - tails[1], head - tails[2], b.senders_day, b.senders_week,
    tails[3] - tails[4], f[1], tails[3] - tails[5], f[2], tails[3] - tails[6], f[3]
end

local opened, touched, rows, answers = {}, {}, {}, {}
local kept
local ROW = '<l' .. string.rep('l', 13)

local function row_of(offset, ip_address, device, account, ...)
  local reports, device_reports, declared = fact(ip_address, 0), fact(device, 0), fact(account, UNKNOWN)
  if select('#', ...) == 0 then
    return pack(ROW, offset, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, reports, device_reports, declared)
  end
  local c1, c2, s1, s2, l1, f1, l2, f2, l3, f3 = ...
  return pack(ROW, offset, c1, c2, s1, s2, l1, f1, l2, f2, l3, f3, reports, device_reports, declared)
end

while at <= #request do
  local offset, number, ip_address, device, account, time, sender, payment
  offset, number, ip_address, device, account, time, sender, payment, at =
    unpack_at('>I6I2I2I2I2I5c6c4', request, at)
  if offset < reached then
    kept = kept or snapshots(KEYS[1])
    if kept[offset] then
      answers[#answers + 1] = kept[offset]
    elseif is_rebuild == 0 and is_pruned(KEYS[1], offset) then
      return failure(PRUNED, offset)
    end
  elseif number == 0 then
    rows[#rows + 1] = row_of(offset, ip_address, device, account)
  else
    local b = opened[number]
    if not b then
      b = open_beneficiary(KEYS[number + 1])
      opened[number] = b
      touched[#touched + 1] = b
    end
    rows[#rows + 1] = row_of(offset, ip_address, device, account, observe(b, time, sender, payment))
  end
end
for _, b in ipairs(touched) do close_beneficiary(b) end
rows = table.concat(rows)
move_on(KEYS[1], reached, last, committed, rows)
return OBSERVED .. table.concat(answers) .. rows
