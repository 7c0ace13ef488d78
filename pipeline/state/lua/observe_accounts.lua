-- Counts one chunk of a partition's payments in the windows of their accounts; returns the features of each.
-- KEYS: progress of the partition, then the accounts (kind a). The past of each (kind p) and its beneficiaries (a hash
-- of kind r: beneficiary hash → last payment to it in the past) stand beside it, and so does what became of its payments
-- (kinds o and w; see outcomes.lua).
-- ARGV[1]: first, last, committed, initial, rebuild (2: without rows), since, and the offset below which outcomes must be
-- taken in for what they tell to be known; then for each payment the index of its account in KEYS, its offset, its index
-- in the chunk, its time, 2 · amount + is near limit, and its beneficiary hash. ARGV[2..3]: how many payments and
-- beneficiaries an account may hold. ARGV[4]: the allowance (see calls.lua). ARGV[5]: the freshness of the chunk, a byte
-- for each payment; one that is not FRESH is not counted.
-- In a row, whether the beneficiary is new stands together with 2 · the blocks that the normal month is the mean of, and
-- with 8 · (2 · amount + is near limit): a policy with other rates may ask for the row again (recounting.py).
-- An event holds the time in 4 bytes, 2 · amount + is near limit in 5, and the beneficiary hash in 5. The header holds
-- past, room and latest time; count, sum and expiry of each window; near limit, distinct and beneficiaries; first
-- block, block, and the sums of blocks, beginning with the current one; then count and sum of all payments ever, and the
-- number of peaks.
-- The peaks stand between events and header: payments of the last week that may still be its most unusual one, each less
-- unusual than the one before (pipeline/state/unusual/account_lifetime.py). A peak is its time in 5 bytes, and in 3 how many
-- percent it was of the average before it.
-- The lower 4 bytes of an event's time are kept; they span 49 days, and no window looks back further.

FORMAT = '>I5I2I5' .. 'I3I3I3I3' .. 'I7I7I7I7' .. 'I5I5I5I5' .. 'I3I3I3' .. 'I2I2' .. 'I7I7I7I7' .. 'I5I7B'
HEADER_BYTES, EVENT_FORMAT, EVENT_BYTES, PARTY_AT, PARTY_BYTES = 126, '>I4I5c5', 14, 10, 5
BESIDE_FORMAT = 'c0'  -- all of it
PAST_KIND, PARTY_KIND = 'p', 'r'
SPILL_BYTES = 11 * EVENT_BYTES  -- 15 events would save 2 % of the work, but cost 64 bytes more an account
local ROW = '<' .. string.rep('l', 22)  -- offset, features, position of the outcomes
local AMOUNT_AT, COUNT_EVER_AT = 13 * 8 + 1, 18 * 8 + 1  -- in a row
local EMPTY = string.rep('\0', HEADER_BYTES)
local WRAP = 2^32
local HOUR_MS, DAY_MS, WEEK_MS, MONTH_MS = 3600000, 86400000, 7 * 86400000, 30 * 86400000
local KNOWN_AFTER_MS = DAY_MS  -- PAYEE_KNOWN_AFTER_MS of pipeline/domain/features.py
local UNKNOWN = -2  -- of a feature; and position in a row while outcomes that were known are still to be taken in
local ORIGIN_MS = 1420070400000  -- 2015-01-01, from which stored times count
local BLOCK_MS = MONTH_MS
local PEAK, PEAK_BYTES, PEAKS_MAX = '>I5I3', 8, 16
local USUAL, UNUSUAL, DOUBTFUL_KIND = 0, 2, 4  -- as in pipeline/state/unusual/fraud_run.py
local UNUSUAL_PERCENT, SLIGHT_PERCENT_MAX, SLIGHT_MINOR_MAX = 200, 49, 999  -- likewise
local WEIGHT_TIMES_MAX, WEIGHT_FREE_MINOR = 2, 10000  -- as in pipeline/domain/features.py
local PERCENT_MAX, EVER_COUNT_MAX, EVER_SUM_MAX = 1000000, 2^39, 2^51  -- as in pipeline/domain/features.py

local request, payments_max, beneficiaries_max, freshness = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
allowance = allowance or tonumber(ARGV[4])
local first, last, committed, is_initial, is_rebuild, since, awaited, at = unpack_at('>I6I6I6BBI6I6', request)
local is_silent = is_rebuild == 2  -- nobody wants the rows

local reached, lost, pruned, is_missing = begin(KEYS[1], first, is_initial)
if not reached then return lost end
since = since_of(is_missing, since)
local position, due, outcomes_since, has_outcomes =
  unpack(call('HMGET', TAG .. 'outcomes', 'position', 'due', 'since', 'held'))
position, outcomes_since = tonumber(position) or NONE, tonumber(outcomes_since) or NONE
if max(position, 0) < max(tonumber(due) or 0, awaited) then position, has_outcomes = UNKNOWN, nil end

local texts = {}
if #KEYS > 1 then texts = call('MGET', unpack(KEYS, 2)) end

-- Lets the oldest events leave a window, at least one: those that are too old at `time`, and those that are too many,
-- as far as the allowance goes. Returns the window's new count, sum and expiry, and how many of the events that left
-- are near a limit. It adds their beneficiaries, the oldest first, to `left`.
local function leave(count, sum, width, time, latest, left)
  local head, near = past + bytes / EVENT_BYTES, 0
  local weight = left and PARTY_WEIGHT or 1
  local free = count - 1
  local events, place, size = event_at(head - count)
  repeat
    local amount, next_time
    if left then left[#left + 1] = party_at(events, place) end
    count = count - 1
    if place + EVENT_BYTES < size then
      amount, next_time = unpack_at('>I5xxxxxI4', events, place + 4)
      place = place + EVENT_BYTES
    else
      amount = unpack_at('>I5', events, place + 4)
      if count > 0 then
        events, place, size = event_at(head - count)
        next_time = unpack_at('>I4', events, place)
      end
    end
    local is_near = amount % 2
    sum, near = sum - (amount - is_near) / 2, near + is_near
    if count == 0 then
      allowance = allowance - free * weight
      return 0, sum, time + width, near
    end
    local expiry = latest - (latest - next_time) % WRAP + width
    if expiry > time and count < payments_max or (free - count + 1) * weight > allowance then
      allowance = allowance - (free - count) * weight
      return count, sum, expiry, near
    end
  until false
end

-- Returns the current account's payments to a beneficiary that were made, and its withdrawn payments; nil or false where
-- it has none.
local withdrawn_texts = {}

local function outcomes_of(number, beneficiary)
  local made, flag = unpack(call('HMGET', of_kind(MADE_KIND), beneficiary, WITHDRAWN_FIELD))
  if not flag then return made end
  local withdrawn = withdrawn_texts[number]
  if not withdrawn then
    withdrawn = call('GET', of_kind(WITHDRAWN_KIND))
    withdrawn_texts[number] = withdrawn
  end
  return made, withdrawn
end

-- Returns 1 where none of these payments was made long enough before `time`.
local function unpaid(made, time)
  for place = 1, made and #made or 0, 7 do
    if unpack_at('>I5', made, place) <= time - KNOWN_AFTER_MS then return 0 end
  end
  return 1
end

-- Returns the count and sum of a window without those of the withdrawn payments that lie in it, which the current payment
-- never is. Both are UNKNOWN where more was withdrawn than ever counted: an outcome that says so is wrong.
local function volume(withdrawn, entries, count, sum, width, time, minor)
  local from = payments_until(withdrawn, WITHDRAWN_HEADER_BYTES, entries, time - width)
  local to = payments_until(withdrawn, WITHDRAWN_HEADER_BYTES, entries, time)
  local taken = (withdrawn_sum(withdrawn, to) - withdrawn_sum(withdrawn, from)) % SUM_WRAP
  if to - from > count - 1 or taken > sum - minor then return UNKNOWN, UNKNOWN end
  return count - to + from, sum - taken
end

-- Returns what was taken out of the block at `place` of the sums; BLOCK_SUM_MAX where that isn't kept any more.
local function taken_of(sums, place)
  if place > BLOCKS_KEPT then return BLOCK_SUM_MAX end
  return sums[place] or 0
end

-- Returns the sums of the three blocks before `block` without what was withdrawn or set aside, of how many of them, from
-- the first on, that is known, and how many withdrawn payments there are.
local function block_volumes(withdrawn, block, b2, b3, b4)
  local latest, t1, t2, t3, t4, t5, _, _, others = unpack_at(WITHDRAWN_HEADER, withdrawn)
  local sums, place = {t1, t2, t3, t4, t5}, latest - block + 2  -- of the block before
  t2, t3, t4 = taken_of(sums, place), taken_of(sums, place + 1), taken_of(sums, place + 2)
  local known = t2 >= BLOCK_SUM_MAX and 0 or t3 >= BLOCK_SUM_MAX and 1 or t4 >= BLOCK_SUM_MAX and 2 or 3
  local entries = (#withdrawn - WITHDRAWN_HEADER_BYTES) / WITHDRAWN_BYTES - others
  return max(b2 - t2, 0), max(b3 - t3, 0), max(b4 - t4, 0), known, entries
end

-- Returns the row of a payment of which nothing is known.
local function unknown_row(offset)
  local row = pack('<l', offset)
  return row .. string.rep(pack('<l', UNKNOWN), 21)
end

-- Returns the mean, rounded half up. 2 · total would exceed 2^53, so the remainder decides about the half.
local function mean_of(total, count)
  local mean = floor(total / count)
  if 2 * (total - mean * count) >= count then mean = mean + 1 end
  return mean
end

-- Returns the average of `count` payments; NONE where there are none.
local function average_of(sum, count)
  return count > 0 and mean_of(sum, count) or NONE
end

-- Returns how many percent an amount is of the average of the payments before it.
local function percent_of(minor, average)
  if average > 0 then
    local percent = floor((200 * minor + average) / (2 * average))
    return percent < PERCENT_MAX and percent or PERCENT_MAX
  end
  return average ~= NONE and minor > 0 and PERCENT_MAX or NONE
end

-- Returns what a payment is for its payer. It isn't known where the partition lacks earlier payments: its average does,
-- too.
local function kind_of(percent, minor)
  if since ~= NONE then return DOUBTFUL_KIND end
  if percent > UNUSUAL_PERCENT then return UNUSUAL end
  if minor <= SLIGHT_MINOR_MAX or percent ~= NONE and percent <= SLIGHT_PERCENT_MAX then return DOUBTFUL_KIND end
  return USUAL
end

-- Returns what an amount adds to the sum of the payments before it, of which this is the average.
local function weight_of(minor, average)
  local bound = WEIGHT_TIMES_MAX * average
  if bound < WEIGHT_FREE_MINOR then bound = WEIGHT_FREE_MINOR end
  return (average == NONE or minor < bound) and minor or bound
end

-- Returns what a payment was for its payer that was counted before.
local function kind_told(row)
  local count, sum = unpack_at('<ll', row, COUNT_EVER_AT)
  if count == UNKNOWN then return DOUBTFUL_KIND end
  local minor = floor(unpack_at('<l', row, AMOUNT_AT) / 16)
  return kind_of(percent_of(minor, average_of(sum - minor, count - 1)), minor)
end

local kind = DOUBTFUL_KIND  -- of the current payment

-- Returns the peaks, count and sum with one more payment, as far as it weighs; then what its row tells of them: count and
-- sum with all of it, and the greatest percentage of those before it.
local function live_on(peaks, count, sum, time, minor)
  local average, told = average_of(sum, count), sum + minor
  count = count + 1
  if count >= EVER_COUNT_MAX or told >= EVER_SUM_MAX then
    kind = DOUBTFUL_KIND
    return '', min(count, EVER_COUNT_MAX), EVER_SUM_MAX, UNKNOWN, UNKNOWN, UNKNOWN
  end
  local percent, weighed = percent_of(minor, average), sum + weight_of(minor, average)
  kind = kind_of(percent, minor)
  local from, to, greatest = 1, #peaks, 0
  while from <= to and unpack_at('>I5', peaks, from) <= time - WEEK_MS do from = from + PEAK_BYTES end
  if from <= to then greatest = unpack_at('>I3', peaks, from + 5) end
  if percent ~= NONE then
    while from <= to and unpack_at('>I3', peaks, to - 2) <= percent do to = to - PEAK_BYTES end
    if to - from + 1 == PEAKS_MAX * PEAK_BYTES then  -- the last one stays for longer, in place of both
      percent, to = unpack_at('>I3', peaks, to - 2), to - PEAK_BYTES
    end
    peaks = sub(peaks, from, to) .. pack(PEAK, time, percent)
  elseif from > 1 then
    peaks = sub(peaks, from)
  end
  return peaks, count, weighed, count, told, greatest
end

-- Answers that were given without a payment that counted late, before theirs in the log, tell too little. They lie behind
-- `late_after`, and before `late_until`.
local late_after, late_until = unpack_at('>I6I6', call('HGET', KEYS[1], 'late') or string.rep('\0', 12))
local is_late_told = false

local function count_late(offset)
  if late_until <= committed then late_after = offset end
  late_after, late_until, is_late_told = min(late_after, offset), max(late_until, reached), true
end

local function observe(number, offset, time, amount, beneficiary)
  key, text, past_key = KEYS[number], texts[number - 1] or EMPTY, nil
  local past_events, past_room, latest, c1, c2, c3, c4, s1, s2, s3, s4, e1, e2, e3, e4, near, distinct, beneficiaries,
    first_block, block, b1, b2, b3, b4, count_ever, sum_ever, peaks_count =
    unpack_at(FORMAT, text, #text - HEADER_BYTES + 1)
  past, room = past_events, past_room
  bytes = #text - HEADER_BYTES - peaks_count * PEAK_BYTES
  local peaks = sub(text, bytes + 1, #text - HEADER_BYTES)
  local head, since_last = past + bytes / EVENT_BYTES, NONE
  if time < latest then time = latest end
  local now, left, from = floor((time + ORIGIN_MS) / BLOCK_MS), NOTHING, head - c2
  if head == 0 then
    text, e1, e2, e3, e4 = '', time + HOUR_MS, time + DAY_MS, time + WEEK_MS, time + MONTH_MS
    first_block, block = now, now
  else
    since_last = time - latest
    -- A window that no earlier payment is in any more is emptied without a look at them.
    if latest + MONTH_MS <= time then
      c4, s4, e4 = 0, 0, time + MONTH_MS
    elseif e4 <= time or c4 >= payments_max then
      c4, s4, e4 = leave(c4, s4, MONTH_MS, time, latest)
    end
    if latest + WEEK_MS <= time then
      c3, s3, e3 = 0, 0, time + WEEK_MS
    elseif e3 <= time or c3 >= payments_max then
      c3, s3, e3 = leave(c3, s3, WEEK_MS, time, latest)
    end
    if latest + DAY_MS <= time then
      c2, s2, e2, near, distinct = 0, 0, time + DAY_MS, 0, 0
    elseif e2 <= time or c2 >= payments_max then
      local left_near
      left = {}
      c2, s2, e2, left_near = leave(c2, s2, DAY_MS, time, latest, left)
      near = near - left_near
    end
    if latest + HOUR_MS <= time then
      c1, s1, e1 = 0, 0, time + HOUR_MS
    elseif e1 <= time or c1 >= payments_max then
      c1, s1, e1 = leave(c1, s1, HOUR_MS, time, latest)
    end
  end

  -- A payment that left the day takes its beneficiary along where it is the last one to it. For recent payments the
  -- events tell that. All other questions go to the hash at once, including whether this payment's beneficiary is new.
  local is_whole = e1 > time and e2 > time and e3 > time and e4 > time
  local is_known = not is_whole or is_recent(beneficiary, 0)
  local is_asked, place = past > 0 and not is_known, nil
  if left ~= NOTHING then
    local parties, indexes, places = {}, {}, NOTHING
    for number = 1, #left do
      local party, index = left[number], from + number - 1
      if party == UNMAPPED or index >= past and not is_recent(party, index + 1) then
        distinct = distinct - 1
      elseif index < past and not is_recent(party, past) then
        parties[#parties + 1], indexes[#indexes + 1] = party, index
      end
    end
    if is_asked then parties[#parties + 1] = beneficiary end
    if #parties > 0 then places = last_places(parties) end
    for number = 1, #indexes do
      if tonumber(places[number]) == indexes[number] then distinct = distinct - 1 end
    end
    place = places[#indexes + 1]
  elseif is_asked then
    place = last_place(beneficiary)
  end
  if not is_whole then
    -- The latest time stays, since the same payment comes again: until it is counted, none behind it is.
    texts[number - 1] = sub(text, 1, bytes) .. peaks .. pack(FORMAT, past, room, latest, c1, c2, c3, c4, s1, s2, s3, s4,
      e1, e2, e3, e4, near, distinct, beneficiaries, first_block, block, b1, b2, b3, b4, count_ever, sum_ever,
      #peaks / PEAK_BYTES)
    return nil
  end

  local is_new, paid = 0, beneficiary
  place = tonumber(place)
  if not (is_known and is_recent(beneficiary, head - c2)) then
    if not place or place < head - c2 then distinct = distinct + 1 end
    if not (is_known or place) then
      is_new = 1
      if beneficiaries < beneficiaries_max then beneficiaries = beneficiaries + 1 else beneficiary = UNMAPPED end
    end
  end

  local is_near = amount % 2
  local minor = (amount - is_near) / 2
  near = near + is_near
  c1, c2, c3, c4 = c1 + 1, c2 + 1, c3 + 1, c4 + 1
  s1, s2, s3, s4 = s1 + minor, s2 + minor, s3 + minor, s4 + minor
  if now > block then
    for _ = 1, min(now - block, 4) do b1, b2, b3, b4 = 0, b1, b2, b3 end
  end
  b1 = b1 + minor
  if b1 > BLOCK_SUM_MAX then b1 = BLOCK_SUM_MAX end

  local v2, v3, v4, known, volume_day, volume_count, volume_month, is_unpaid = b2, b3, b4, 3, s2, c4, s4, 1
  if has_outcomes then
    local made, withdrawn = outcomes_of(number, paid)
    is_unpaid = unpaid(made, time)
    if withdrawn then
      local entries, _
      v2, v3, v4, known, entries = block_volumes(withdrawn, now, b2, b3, b4)
      _, volume_day = volume(withdrawn, entries, c2, s2, DAY_MS, time, minor)
      volume_count, volume_month = volume(withdrawn, entries, c4, s4, MONTH_MS, time, minor)
    end
  end
  local month, complete = NONE, now - first_block
  if complete > 3 then complete = 3 end
  if complete == 1 then month = v2 end
  if complete == 2 then month = mean_of(v2 + v3, 2) end
  if complete == 3 then month = mean_of(v2 + v3 + v4, 3) end
  if complete > known then month = UNKNOWN end

  local told_count, told_sum, greatest
  peaks, count_ever, sum_ever, told_count, told_sum, greatest = live_on(peaks, count_ever, sum_ever, time, minor)
  if bytes >= SPILL_BYTES then spill(head + 1 - c4, 0) end
  texts[number - 1] = pack(formats[bytes] or format_of(bytes), text, time % WRAP, amount, beneficiary, peaks,
    past, room, time, c1, c2, c3, c4, s1, s2, s3, s4, e1, e2, e3, e4, near, distinct, beneficiaries, first_block, now,
    b1, b2, b3, b4, count_ever, sum_ever, #peaks / PEAK_BYTES)
  if is_silent then return '' end
  -- A window that is full may have pushed out what would still be in it. One that isn't has not: what was pushed out is
  -- older than all that is left, of which some has left by its age. Longer windows are full where shorter ones are.
  if c4 >= payments_max then
    c4, s4, volume_count, volume_month = UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    if c3 >= payments_max then c3, s3 = UNKNOWN, UNKNOWN end
    if c2 >= payments_max then c2, s2, volume_day, distinct, near = UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN end
    if c1 >= payments_max then c1, s1 = UNKNOWN, UNKNOWN end
  end
  return pack(ROW, offset, c1, s1, c2, s2, c3, s3, c4, s4, since_last, distinct, near, month,
    is_new + 2 * complete + 8 * amount, volume_day, volume_count, volume_month, is_unpaid, told_count, told_sum, greatest,
    position)
end

local rows, answers = {OBSERVED .. pack('<ll', since, outcomes_since)}, {}
local kept, late = nil, 0
local reply, ends = OBSERVED, last
local kinds = {}
local is_mixed = find(freshness, '[^%z]')  -- some are not FRESH
for place = 1, #freshness do kinds[place] = DOUBTFUL_KIND end
while at <= #request do
  local number, offset, place, time, amount, beneficiary
  number, offset, place, time, amount, beneficiary, at = unpack_at('>I2I6I2I5I5c5', request, at)
  local told = is_mixed and byte(freshness, place + 1) or FRESH
  if told % ANEW ~= FRESH then
    -- not counted
  elseif offset >= reached then
    local row = observe(number, offset, time, amount, beneficiary)
    if not row then
      reply, ends = TOO_MUCH, offset
      break
    end
    rows[#rows + 1], kinds[place + 1] = row, kind
  else
    kept = kept or snapshots(KEYS[1], ROW, first)
    local row = kept[offset]
    if row and told == ANEW then
      call('HSET', KEYS[1], 'replaced', integer(offset))
      return failure(REPLACED, offset)
    end
    if row then kinds[place + 1] = kind_told(row) end
    if row and offset > late_after and offset < late_until then
      row = unknown_row(offset)
    elseif not row and is_rebuild == 0 then
      if offset < pruned then return failure(PRUNED, offset) end
      row = observe(number, offset, time, amount, beneficiary)  -- didn't count when it was first observed
      if not row then
        reply, ends = TOO_MUCH, offset
        break
      end
      rows[#rows + 1], kinds[place + 1] = row, kind
      late = late + 1
      count_late(offset)
    end
    answers[#answers + 1] = row
  end
end
if #rows > 1 or reply == TOO_MUCH then
  local written = {}
  for place = 1, #KEYS - 1 do
    if texts[place] then
      written[#written + 1] = KEYS[place + 1]
      written[#written + 1] = texts[place]
    end
  end
  call('MSET', unpack(written))
end
kinds_told = string.char(unpack(kinds))
if is_late_told then call('HSET', KEYS[1], 'late', pack('>I6I6', late_after, late_until)) end
return finish(KEYS[1], reached, ends, committed, pruned, reply, rows, late, answers)
