-- Counts one chunk of a partition's payments in the windows of their accounts; answers with the features of each.
-- KEYS: progress of the partition, then the accounts (kind a); the beneficiaries of each (hash: beneficiary hash → place
-- of the last payment to it since the first ever) stand beside it (kind r).
-- ARGV[1]: first, last, committed, initial, rebuild; then for each payment its account's place among KEYS, offset,
-- time, 2 · amount + is near limit, beneficiary hash. ARGV[2..3]: payments and beneficiaries an account may hold.
-- An event is time 4, 2 · amount + is near limit 5, beneficiary hash 5 bytes. Header: see FORMAT.
-- Of an event's time and a window's expiry the lower 4 bytes are kept: 49 days, and no window looks back further.

local FORMAT = '>I3I3I5I6' .. 'I3I3I3I3' .. 'I7I7I7I7' .. 'I4I4I4I4' .. 'I3I3I3' .. 'I2I2' .. 'I7I7I7I7'
local HEADER_BYTES, EVENT_BYTES = 114, 14
local WRAP = 2^32
-- An account is its header's fields as a list, in the order of FORMAT: one table where named fields would need six.
local STORED, ROOM, LATEST, BASE = 1, 2, 3, 4
local TAILS, SUMS, EXPIRIES = 4, 8, 12  -- plus the window
local NEAR, DISTINCT, BENEFICIARIES, FIRST_BLOCK, BLOCK = 17, 18, 19, 20, 21
local BLOCKS = 21  -- plus 1 for the current block, 2 to 4 for those before it
local FIELDS = 25
local HOUR_MS, DAY_MS = 3600000, 86400000
local WIDTHS_MS = {HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS}
local DAY = 2  -- the window that counts beneficiaries and amounts near the limit
local ORIGIN_MS = 1420070400000  -- 2015-01-01, from which stored times count
local BLOCK_MS = 30 * DAY_MS
local BLOCK_SUM_MAX = 2^51  -- three still sum exactly
local UNMAPPED = '\0\0\0\0\0'

local floor, max, min = math.floor, math.max, math.min
local unpack_at, pack = struct.unpack, struct.pack
local request, payments_max, beneficiaries_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first, last, committed, is_initial, is_rebuild, at = unpack_at('>I6I6I6BB', request)

local reached, reaches = follow_on(tonumber(redis.call('HGET', KEYS[1], 'reached')), first, is_initial == 1)
if not reached then return failure(LOST, reaches) end

local function open_account(key)
  local log = open_log(key, HEADER_BYTES, EVENT_BYTES)
  if log.text == '' then
    return {0, 0, UNKNOWN, 0, 0, 0, 0, 0, 0, 0, 0, 0, NEVER, NEVER, NEVER, NEVER, 0, 0, 0, 0, 0, 0, 0, 0, 0}, log
  end
  local a = {unpack_at(FORMAT, log.text)}
  local latest = a[LATEST]
  for at = EXPIRIES + 1, EXPIRIES + 4 do a[at] = latest + (a[at] - latest) % WRAP end
  return a, log
end

local function close_account(a, log)
  local drop, room = plan(log, a[TAILS + 4])
  a[STORED], a[ROOM], a[BASE] = log.stored + #log.added - drop, room, a[BASE] + drop
  for at = 1, 4 do
    a[TAILS + at] = a[TAILS + at] - drop
    a[EXPIRIES + at] = a[EXPIRIES + at] % WRAP
  end
  write_log(log, drop, room, pack(FORMAT, unpack(a, 1, FIELDS)))
end

-- The oldest event of a window leaves it; where it leaves the day, its beneficiary is noted in `left`.
local function leave(a, log, window, left)
  local index = a[TAILS + window]
  local text, place = event_at(log, index)
  local amount, beneficiary = unpack_at('>I5c5', text, place + 4)
  a[SUMS + window] = a[SUMS + window] - floor(amount / 2)
  if window == DAY then
    a[NEAR] = a[NEAR] - amount % 2
    left[#left + 1] = beneficiary
  end
  index = index + 1
  a[TAILS + window] = index
  if index == log.stored + #log.added then
    a[EXPIRIES + window] = NEVER
  else
    text, place = event_at(log, index)
    local age = (a[LATEST] - unpack_at('>I4', text, place)) % WRAP
    a[EXPIRIES + window] = a[LATEST] - age + WIDTHS_MS[window]
  end
end

-- `left` left the day's window, its first at index `from`; and `beneficiary` is paid now. Whether it is new.
local function count_beneficiaries(a, key, left, from, beneficiary, head)
  local count, base, previous = #left, a[BASE], nil
  if count == 0 then
    previous = tonumber(redis.call('HGET', key, beneficiary))
  else
    left[count + 1] = beneficiary
    local places = last_places(key, left)
    for number = 1, count do
      if left[number] == UNMAPPED or tonumber(places[number]) == base + from + number - 1 then
        a[DISTINCT] = a[DISTINCT] - 1
      end
    end
    previous = tonumber(places[count + 1])
  end
  if not previous or previous < base + a[TAILS + DAY] then a[DISTINCT] = a[DISTINCT] + 1 end
  if not previous then
    if a[BENEFICIARIES] >= beneficiaries_max then return 1, UNMAPPED end
    a[BENEFICIARIES] = a[BENEFICIARIES] + 1
  end
  redis.call('HSET', key, beneficiary, integer(base + head))
  return previous and 0 or 1, beneficiary
end

local function normal_month(a, block, amount)
  if a[FIRST_BLOCK] == 0 then
    a[FIRST_BLOCK], a[BLOCK] = block, block
  end
  for _ = 1, min(block - a[BLOCK], 4) do
    a[BLOCKS + 1], a[BLOCKS + 2], a[BLOCKS + 3], a[BLOCKS + 4] = 0, a[BLOCKS + 1], a[BLOCKS + 2], a[BLOCKS + 3]
  end
  a[BLOCK] = block
  a[BLOCKS + 1] = min(a[BLOCKS + 1] + amount, BLOCK_SUM_MAX)
  local complete = min(3, block - a[FIRST_BLOCK])
  if complete == 0 then return UNKNOWN end
  local total = 0
  for number = 2, complete + 1 do total = total + a[BLOCKS + number] end
  local mean = floor(total / complete)  -- 2 · total would pass 2^53, so the half is looked for in the remainder
  if 2 * (total - mean * complete) >= complete then mean = mean + 1 end
  return mean
end

local function observe(a, log, offset, time, amount, beneficiary)
  local latest, since_last = a[LATEST], UNKNOWN
  if latest ~= UNKNOWN then
    time = max(time, latest)
    since_last = time - latest
  end
  local added = log.added
  local left, from, head = {}, a[TAILS + DAY], log.stored + #added
  for window = 4, 1, -1 do
    while a[EXPIRIES + window] <= time or head - a[TAILS + window] >= payments_max do leave(a, log, window, left) end
  end
  local is_new
  is_new, beneficiary = count_beneficiaries(a, of_kind('r', log.key), left, from, beneficiary, head)
  added[#added + 1] = pack('>I4I5c5', time % WRAP, amount, beneficiary)
  a[LATEST] = time
  local minor = floor(amount / 2)
  a[NEAR] = a[NEAR] + amount % 2
  for window = 1, 4 do
    if a[TAILS + window] == head then a[EXPIRIES + window] = time + WIDTHS_MS[window] end
    a[SUMS + window] = a[SUMS + window] + minor
  end
  local month = normal_month(a, floor((time + ORIGIN_MS) / BLOCK_MS), minor)
  head = head + 1
  return pack('<llllllllllllll', offset, head - a[5], a[9], head - a[6], a[10], head - a[7], a[11], head - a[8], a[12],
    since_last, a[DISTINCT], a[NEAR], month, is_new)
end

local accounts, logs, touched, rows, answers = {}, {}, {}, {}, {}
local kept
while at <= #request do
  local number, offset, time, amount, beneficiary
  number, offset, time, amount, beneficiary, at = unpack_at('>I2I6I5I5c5', request, at)
  if offset < reached then
    kept = kept or snapshots(KEYS[1])
    if kept[offset] then
      answers[#answers + 1] = kept[offset]
    elseif is_rebuild == 0 and is_pruned(KEYS[1], offset) then
      return failure(PRUNED, offset)
    end
  else
    local a = accounts[number]
    if not a then
      a, logs[number] = open_account(KEYS[number])
      accounts[number] = a
      touched[#touched + 1] = number
    end
    rows[#rows + 1] = observe(a, logs[number], offset, time, amount, beneficiary)
  end
end
for _, number in ipairs(touched) do close_account(accounts[number], logs[number]) end
rows = table.concat(rows)
move_on(KEYS[1], reached, last, committed, rows)
return OBSERVED .. table.concat(answers) .. rows
