-- Counts one chunk of a partition's payments in the windows of their beneficiaries, and looks up fraud reports and
-- declared months, for what one shard holds; answers with the features of each payment, UNKNOWN for what is elsewhere.
-- KEYS: progress of the partition in this shard; beneficiaries (kind b; the senders to each, hash: sender hash → place
-- of the last payment, stand beside it, kind s); then facts (strings: observed at, value; see newest.lua).
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
local function pass(b, log, window)
  local index = b[TAILS + window]
  local text, place = event_at(log, index)
  index = index + 1
  b[TAILS + window] = index
  if index == log.stored + #log.added then
    b[EXPIRIES + window] = NEVER
  else
    local next_text, next_place = event_at(log, index)
    b[EXPIRIES + window] = unpack_at('>I5', next_text, next_place) + WIDTHS_MS[window]
  end
  return text, place
end

-- Removes those whose last payment left the day or the week, and enters `sender`. The lists hold senders in the order
-- of their payments, the first at index `from_day` and `from_week`.
local function count_senders(b, key, left_day, from_day, left_week, from_week, sender, head)
  local days, weeks, base = #left_day, #left_week, b[BASE]
  local previous
  if days + weeks == 0 then
    previous = tonumber(redis.call('HGET', key, sender)) or -1
  else
    local parties = left_day
    for number = 1, weeks do parties[days + number] = left_week[number] end
    parties[days + weeks + 1] = sender
    local places = last_places(key, parties)
    for number = 1, days do
      if tonumber(places[number]) == base + from_day + number - 1 then b[SENDERS_DAY] = b[SENDERS_DAY] - 1 end
    end
    for number = 1, weeks do
      local party = parties[days + number]
      if tonumber(places[days + number]) == base + from_week + number - 1 then
        b[SENDERS_WEEK] = b[SENDERS_WEEK] - 1
        if party ~= sender then redis.call('HDEL', key, party) end
      end
    end
    previous = tonumber(places[days + weeks + 1]) or -1
  end
  if previous < base + b[TAILS + 1] then b[SENDERS_DAY] = b[SENDERS_DAY] + 1 end
  if previous < base + b[TAILS + 2] then b[SENDERS_WEEK] = b[SENDERS_WEEK] + 1 end
  redis.call('HSET', key, sender, integer(base + head))
end

-- Payments that grew as old as the label delay enter the label windows, then those older than a window leave it.
local function move_labels(b, log, time)
  while b[EXPIRIES + 3] <= time do
    local text, place = pass(b, log, 3)
    local fraud = string.byte(text, place + 15)
    for number = 1, 3 do b[FRAUDS + number] = b[FRAUDS + number] + fraud end
  end
  for number = 1, 3 do
    while b[EXPIRIES + 3 + number] <= time do
      local text, place = pass(b, log, 3 + number)
      b[FRAUDS + number] = b[FRAUDS + number] - string.byte(text, place + 15)
    end
  end
end

-- Makes room for one more: the oldest payment leaves every window that holds it.
local function push_out(b, log, left_day, left_week)
  local oldest = b[TAILS + 6]
  local text, place = event_at(log, oldest)
  local fraud, sender = string.byte(text, place + 15), string.sub(text, place + 5, place + 10)
  local is_waiting = b[TAILS + 3] == oldest
  for window = 1, 6 do
    if b[TAILS + window] == oldest then
      pass(b, log, window)
      if window == 1 then left_day[#left_day + 1] = sender end
      if window == 2 then left_week[#left_week + 1] = sender end
      if window > 3 and not is_waiting then b[FRAUDS + window - 3] = b[FRAUDS + window - 3] - fraud end
    end
  end
end

local function observe(b, log, time, sender, payment)
  time = max(time, b[LATEST])
  b[LATEST] = time
  local left_day, left_week, from_day, from_week = {}, {}, b[TAILS + 1], b[TAILS + 2]
  local added = log.added
  local head = log.stored + #added
  while b[EXPIRIES + 2] <= time do
    local text, place = pass(b, log, 2)
    left_week[#left_week + 1] = string.sub(text, place + 5, place + 10)
  end
  while b[EXPIRIES + 1] <= time do
    local text, place = pass(b, log, 1)
    left_day[#left_day + 1] = string.sub(text, place + 5, place + 10)
  end
  move_labels(b, log, time)
  while head - b[TAILS + 6] >= payments_max do push_out(b, log, left_day, left_week) end
  count_senders(b, of_kind('s', log.key), left_day, from_day, left_week, from_week, sender, head)
  added[#added + 1] = pack('>I5c6c4B', time, sender, payment, 0)
  for window = 1, 6 do
    if b[TAILS + window] == head then b[EXPIRIES + window] = time + WIDTHS_MS[window] end
  end
  if delay_ms == 0 then move_labels(b, log, time) end
  head = head + 1
  local entered = b[TAILS + 3]
  return head - b[TAILS + 1], head - b[TAILS + 2], b[SENDERS_DAY], b[SENDERS_WEEK], entered - b[TAILS + 4],
    b[FRAUDS + 1], entered - b[TAILS + 5], b[FRAUDS + 2], entered - b[TAILS + 6], b[FRAUDS + 3]
end

local opened, logs, touched, rows, answers = {}, {}, {}, {}, {}
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
      b, logs[number] = open_beneficiary(KEYS[number + 1])
      opened[number] = b
      touched[#touched + 1] = number
    end
    rows[#rows + 1] = row_of(offset, ip_address, device, account, observe(b, logs[number], time, sender, payment))
  end
end
for _, number in ipairs(touched) do close_beneficiary(opened[number], logs[number]) end
rows = table.concat(rows)
move_on(KEYS[1], reached, last, committed, rows)
return OBSERVED .. table.concat(answers) .. rows
