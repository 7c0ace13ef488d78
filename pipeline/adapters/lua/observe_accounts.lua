-- Counts one chunk of a partition's payments in the windows of their accounts; answers with the features of each.
-- KEYS: progress of the partition, then the accounts; each has its beneficiaries (hash: beneficiary hash → place of the
-- last payment to it since the first ever) in the key that ends in ':b'.
-- ARGV[1]: first, last, committed, initial, rebuild; then for each payment its account's place among KEYS, offset,
-- time, 2 · amount + is near limit, beneficiary hash. ARGV[2..3]: payments and beneficiaries an account may hold.
-- An event is time 5, 2 · amount + is near limit 5, beneficiary hash 6 bytes. Header: see FORMAT.

local FORMAT = '>I3I5I6' .. 'I3I3I3I3' .. 'I7I7I7I7' .. 'I5I5I5I5' .. 'I3I3I3' .. 'I2I2' .. 'I7I7I7I7'
local HEADER_BYTES = 115
local HOUR_MS, DAY_MS = 3600000, 86400000
local WIDTHS_MS = {HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS}
local DAY = 2  -- the window that counts beneficiaries and amounts near the limit
local ORIGIN_MS = 1420070400000  -- 2015-01-01, from which stored times count
local BLOCK_MS = 30 * DAY_MS
local BLOCK_SUM_MAX = 2^51  -- three still sum exactly
local UNMAPPED = '\0\0\0\0\0\0'

local floor, max, min = math.floor, math.max, math.min
local unpack_at, pack = struct.unpack, struct.pack
local request, payments_max, beneficiaries_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first, last, committed, is_initial, is_rebuild, at = unpack_at('>I6I6I6BB', request)

local reached, reaches = follow_on(tonumber(redis.call('HGET', KEYS[1], 'reached')), first, is_initial == 1)
if not reached then return failure(LOST, reaches) end

local function open_account(key)
  local a = {log = open_log(key, HEADER_BYTES), beneficiaries_key = key .. ':b'}
  if a.log.text == '' then
    a.latest, a.base, a.near, a.distinct, a.beneficiaries = UNKNOWN, 0, 0, 0, 0
    a.tails, a.sums, a.expiries, a.blocks = {0, 0, 0, 0}, {0, 0, 0, 0}, {NEVER, NEVER, NEVER, NEVER}, {0, 0, 0, 0}
    a.first_block, a.block = 0, 0
    return a
  end
  local t, s, e, b = {}, {}, {}, {}
  local _
  _, a.latest, a.base, t[1], t[2], t[3], t[4], s[1], s[2], s[3], s[4], e[1], e[2], e[3], e[4],
    a.near, a.distinct, a.beneficiaries, a.first_block, a.block, b[1], b[2], b[3], b[4] =
    unpack_at(FORMAT, a.log.text)
  a.tails, a.sums, a.expiries, a.blocks = t, s, e, b
  return a
end

local function close_account(a)
  local t, s, e, b, log = a.tails, a.sums, a.expiries, a.blocks, a.log
  local drop = dropped(log, t[4])
  write_log(log, drop, pack(FORMAT, log.stored + #log.added - drop, a.latest, a.base + drop,
    t[1] - drop, t[2] - drop, t[3] - drop, t[4] - drop, s[1], s[2], s[3], s[4], e[1], e[2], e[3], e[4],
    a.near, a.distinct, a.beneficiaries, a.first_block, a.block, b[1], b[2], b[3], b[4]))
end

-- The oldest event of a window leaves it; where it leaves the day, its place is noted in `left`.
local function leave(a, window, left)
  local log, index = a.log, a.tails[window]
  local text, place = event_at(log, window, index)
  local _, amount, beneficiary = unpack_at('>I5I5c6', text, place)
  a.sums[window] = a.sums[window] - floor(amount / 2)
  if window == DAY then
    a.near = a.near - amount % 2
    left[#left + 1] = beneficiary
  end
  index = index + 1
  a.tails[window] = index
  if index == log.stored + #log.added then
    a.expiries[window] = NEVER
  else
    text, place = event_at(log, window, index)
    a.expiries[window] = unpack_at('>I5', text, place) + WIDTHS_MS[window]
  end
end

-- `left` left the day's window, its first at index `from`; and `beneficiary` is paid now. Whether it is new.
local function count_beneficiaries(a, left, from, beneficiary, head)
  left[#left + 1] = beneficiary
  local places = last_places(a.beneficiaries_key, left)
  for number = 1, #left - 1 do
    if left[number] == UNMAPPED or tonumber(places[number]) == a.base + from + number - 1 then
      a.distinct = a.distinct - 1
    end
  end
  local previous = tonumber(places[#left])
  if not previous or previous < a.base + a.tails[DAY] then a.distinct = a.distinct + 1 end
  if not previous then
    if a.beneficiaries >= beneficiaries_max then return 1, UNMAPPED end
    a.beneficiaries = a.beneficiaries + 1
  end
  redis.call('HSET', a.beneficiaries_key, beneficiary, a.base + head)
  return previous and 0 or 1, beneficiary
end

local function normal_month(a, block, amount)
  local sums = a.blocks
  if a.first_block == 0 then
    a.first_block, a.block = block, block
  end
  for _ = 1, min(block - a.block, 4) do
    sums[1], sums[2], sums[3], sums[4] = 0, sums[1], sums[2], sums[3]
  end
  a.block = block
  sums[1] = min(sums[1] + amount, BLOCK_SUM_MAX)
  local complete = min(3, block - a.first_block)
  if complete == 0 then return UNKNOWN end
  local total = 0
  for number = 2, complete + 1 do total = total + sums[number] end
  local mean = floor(total / complete)  -- 2 · total would pass 2^53, so the half is looked for in the remainder
  if 2 * (total - mean * complete) >= complete then mean = mean + 1 end
  return mean
end

local function observe(a, offset, time, amount, beneficiary)
  local log, tails, sums = a.log, a.tails, a.sums
  local since_last = UNKNOWN
  if a.latest ~= UNKNOWN then
    time = max(time, a.latest)
    since_last = time - a.latest
  end
  a.latest = time
  local left, from, head = {}, tails[DAY], log.stored + #log.added
  for window = 1, 4 do
    while a.expiries[window] <= time or head - tails[window] >= payments_max do leave(a, window, left) end
  end
  local is_new
  is_new, beneficiary = count_beneficiaries(a, left, from, beneficiary, head)
  log.added[#log.added + 1] = pack('>I5I5c6', time, amount, beneficiary)
  local minor = floor(amount / 2)
  a.near = a.near + amount % 2
  for window = 1, 4 do
    if tails[window] == head then a.expiries[window] = time + WIDTHS_MS[window] end
    sums[window] = sums[window] + minor
  end
  head = head + 1
  local month = normal_month(a, floor((time + ORIGIN_MS) / BLOCK_MS), minor)
  return pack('<llllllllllllll', offset, head - tails[1], sums[1], head - tails[2], sums[2], head - tails[3], sums[3],
    head - tails[4], sums[4], since_last, a.distinct, a.near, month, is_new)
end

local accounts, touched, rows, answers = {}, {}, {}, {}
local kept
while at <= #request do
  local number, offset, time, amount, beneficiary
  number, offset, time, amount, beneficiary, at = unpack_at('>I2I6I5I5c6', request, at)
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
      a = open_account(KEYS[number])
      accounts[number] = a
      touched[#touched + 1] = a
    end
    rows[#rows + 1] = observe(a, offset, time, amount, beneficiary)
  end
end
for _, a in ipairs(touched) do close_account(a) end
rows = table.concat(rows)
move_on(KEYS[1], reached, last, committed, rows)
return OBSERVED .. table.concat(answers) .. rows
