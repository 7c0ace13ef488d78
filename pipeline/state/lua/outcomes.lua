-- Takes in what became of payments of one partition, in the order of the outcomes' log. Returns the position that the
-- state holds, and how many outcomes it has taken in beyond it.
-- KEYS: outcomes of the partition (hash: `position`, the offset below which all outcomes are taken in; `applied`, how
-- many are beyond it; `due`, the offset from which on what is held is whole again after a loss; `since`, where older
-- ones are missing, see coverage.lua; `held`, where any account has some); then
-- for each account the hash of its payees (kind o: beneficiary hash → up to two payments that were made to it, each with
-- the time in 5 bytes and 2 bytes of name). What was withdrawn or set aside stands beside it (kind w, see withdrawn.lua).
-- ARGV[1]: first, last, initial, since, how many outcomes the range has, and how many of them come before; then for each
-- outcome the index of its account in KEYS, its effect (pipeline/state/outcomes.py), the time of its payment, when
-- it was made (of one that is taken out: until when it may have been counted), its amount, its beneficiary hash and its
-- name.
-- ARGV[2..5]: how many payees and how many withdrawn payments (and as many set aside) an account may hold, and for how
-- long in ms; among how many payees a payment is looked for.
-- Where an account has many withdrawn payments, the script stops before it takes long; the caller goes on from there.

local WITHDRAW, MAKE, ALLOW, HOLD, UNSETTLE = 1, 2, 3, 4, 6
local TO_ANYONE, DOUBTFUL = 16, 32  -- added to an effect; see pipeline/state/outcomes.py
local MADE, MADE_BYTES, MADE_MAX_BYTES = '>I5c2', 7, 14
local BLOCK_MS, ORIGIN_MS = 30 * 86400000, 1420070400000
local COST_MAX = 2048  -- withdrawn payments that are written anew one by one, or 16 times as many that are copied
local COPIED = 16

local sub, find, pack, unpack_at = string.sub, string.find, struct.pack, struct.unpack
local floor, max, min = math.floor, math.max, math.min
local request, payees_max, withdrawn_max, kept_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local searched_max = tonumber(ARGV[5])
local first, last, is_initial, since, total, before, at = unpack_at('>I6I6BI6I4I4', request)

local held = call('HMGET', KEYS[1], 'position', 'applied', 'since')
local position, applied = tonumber(held[1]), tonumber(held[2]) or 0
local start, reaches = follow_on(position, first, is_initial == 1)
if not start then return {reaches, applied} end
if not position or position < first then
  if first > 0 then since = max(since, tonumber(held[3]) or 0) end
  call('HSET', KEYS[1], 'position', integer(first), 'applied', '0')
  if first > 0 then call('HSET', KEYS[1], 'since', integer(since)) end
  position, applied = first, 0
end
local function move_on()
  if applied >= total then position, applied = last, applied - total end
  call('HSET', KEYS[1], 'position', integer(position), 'applied', integer(applied))
  return {position, applied}
end

if position ~= first then return {position, applied} end
if applied >= total then return move_on() end
if applied ~= before then return {position, applied} end
call('HSET', KEYS[1], 'held', '1')  -- a full Redis refuses this before anything is done

local KIND_AT = find(KEYS[1], '}', 1, true) + 1
local TAG = sub(KEYS[1], 1, KIND_AT - 1)
local records, is_changed, cost = {}, {}, 0  -- by index in KEYS; a record is false where the account has none

local function withdrawn_key(number)
  return TAG .. WITHDRAWN_KIND .. sub(KEYS[number], KIND_AT + 1)
end

-- Returns the string of kind w as a table, whose `withdrawn` and `aside` are the payments as they stand in it.
local function parsed(text)
  local block, b1, b2, b3, b4, b5, latest, base, aside = unpack_at(WITHDRAWN_HEADER, text)
  local past = #text - aside * WITHDRAWN_BYTES
  return {block = block, sums = {b1, b2, b3, b4, b5}, latest = latest, base = base,
    withdrawn = sub(text, WITHDRAWN_HEADER_BYTES + 1, past), aside = sub(text, past + 1)}
end

local function text_of(record)
  local sums = record.sums
  return pack(WITHDRAWN_HEADER, record.block, sums[1], sums[2], sums[3], sums[4], sums[5], record.latest, record.base,
    #record.aside / WITHDRAWN_BYTES) .. record.withdrawn .. record.aside
end

-- Returns what was taken out of the account's counts; false where nothing was. `is_flagged` says whether Redis has any.
local function record_of(number, is_flagged)
  local record = records[number]
  if record == nil then
    local text = is_flagged and call('GET', withdrawn_key(number))
    record = text and parsed(text) or false
    records[number] = record
  end
  if record then cost = cost + (#record.withdrawn + #record.aside) / WITHDRAWN_BYTES / COPIED end
  return record
end

-- Returns the same where it is about to change; an account that has none is given one.
local function changing(number, is_flagged)
  local record = record_of(number, is_flagged)
  if not record then
    record = {block = 0, sums = {0, 0, 0, 0, 0}, latest = 0, base = 0, withdrawn = '', aside = ''}
    records[number] = record
    call('HSET', KEYS[number], WITHDRAWN_FIELD, '1')
  end
  is_changed[number] = true
  return record
end

-- Returns the running sum of the first `count` withdrawn payments.
local function sum_of(record, count)
  if count == 0 then return record.base end
  return (unpack_at('>I6', record.withdrawn, (count - 1) * WITHDRAWN_BYTES + 6))
end

-- Returns the withdrawn payments after the first `count`, with their running sums changed by `change`.
local function resummed(record, count, change)
  local rest, withdrawn = {}, record.withdrawn
  for at = count * WITHDRAWN_BYTES + 1, #withdrawn, WITHDRAWN_BYTES do
    local time, sum, name = unpack_at(WITHDRAWN, withdrawn, at)
    rest[#rest + 1] = pack(WITHDRAWN, time, (sum + change) % SUM_WRAP, name)
  end
  cost = cost + #rest
  return table.concat(rest)
end

-- Returns the number of the payment with this name, from 1; nil where there is none.
local function number_of(payments, name)
  local place = find(payments, name, 1, true)
  while place do
    local number = (place + 3) / WITHDRAWN_BYTES
    if number == floor(number) then return number end
    place = find(payments, name, place + 1, true)
  end
end

-- Takes a payment out of those that were withdrawn; returns its time and amount, nil where there is none.
local function take_withdrawn(record, name)
  local number = number_of(record.withdrawn, name)
  if not number then return end
  local before = (number - 1) * WITHDRAWN_BYTES
  local time = unpack_at('>I5', record.withdrawn, before + 1)
  local amount = (sum_of(record, number) - sum_of(record, number - 1)) % SUM_WRAP
  record.withdrawn = sub(record.withdrawn, 1, before) .. resummed(record, number, -amount)
  return time, amount
end

-- Takes a payment out of those that were set aside; returns its time and amount, nil where there is none.
local function take_aside(record, name)
  local number = number_of(record.aside, name)
  if not number then return end
  local before = (number - 1) * WITHDRAWN_BYTES
  local time, amount = unpack_at('>I5I6', record.aside, before + 1)
  record.aside = sub(record.aside, 1, before) .. sub(record.aside, before + WITHDRAWN_BYTES + 1)
  return time, amount
end

-- Returns how many of the payments are forgotten, the oldest first: those that are too old and those that are too many.
local function gone_of(payments, latest)
  local count = #payments / WITHDRAWN_BYTES
  return max(payments_until(payments, 0, count, latest - kept_ms), count - withdrawn_max)
end

local function keep_withdrawn(record, time, amount, name)
  local count = payments_until(record.withdrawn, 0, #record.withdrawn / WITHDRAWN_BYTES, time)
  record.withdrawn = sub(record.withdrawn, 1, count * WITHDRAWN_BYTES)
    .. pack(WITHDRAWN, time, (sum_of(record, count) + amount) % SUM_WRAP, name) .. resummed(record, count, amount)
  local gone = gone_of(record.withdrawn, record.latest)
  record.base, record.withdrawn = sum_of(record, gone), sub(record.withdrawn, gone * WITHDRAWN_BYTES + 1)
end

local function keep_aside(record, time, amount, name)
  local before = payments_until(record.aside, 0, #record.aside / WITHDRAWN_BYTES, time) * WITHDRAWN_BYTES
  local aside = sub(record.aside, 1, before) .. pack(WITHDRAWN, time, amount, name) .. sub(record.aside, before + 1)
  record.aside = sub(aside, gone_of(aside, record.latest) * WITHDRAWN_BYTES + 1)
end

-- Adds to the sums of the blocks from that of `time` to that of `until_time`.
local function add_to_blocks(record, time, until_time, amount)
  local newest, sums = floor((until_time + ORIGIN_MS) / BLOCK_MS), record.sums
  local oldest = max(floor((time + ORIGIN_MS) / BLOCK_MS), newest - BLOCKS_KEPT + 1)
  for _ = 1, min(newest - record.block, BLOCKS_KEPT) do
    table.insert(sums, 1, 0)
    table.remove(sums)
  end
  record.block = max(record.block, newest)
  for back = record.block - newest + 1, min(record.block - oldest + 1, BLOCKS_KEPT) do
    if sums[back] < BLOCK_SUM_MAX then sums[back] = min(max(sums[back] + amount, 0), BLOCK_SUM_MAX) end
  end
end

-- Enters a payment among those that `keep` keeps, from the others, where `take` finds it: then the blocks are without it.
local function take_out(record, kept, take, keep, time, until_time, amount, name)
  if number_of(kept, name) then return end
  local held_time, held_amount = take(record, name)
  if not held_time then
    record.latest = max(record.latest, time)
    add_to_blocks(record, time, until_time, amount)
  end
  keep(record, held_time or time, held_amount or amount, name)
end

local function put_back(number, is_flagged, name)
  local record = record_of(number, is_flagged)
  if not record then return end
  local time, amount = take_withdrawn(record, name)
  if not time then time, amount = take_aside(record, name) end
  if not time then return end
  add_to_blocks(record, time, time, -amount)
  is_changed[number] = true
end

-- Makes a withdrawn payment volume again; the month stays without it.
local function unsettle(number, is_flagged, name)
  local record = record_of(number, is_flagged)
  local time, amount
  if record then time, amount = take_withdrawn(record, name) end
  if not time then return end
  keep_aside(record, time, amount, name)
  is_changed[number] = true
end

-- Returns where the payment of this name begins among those made to a payee.
local function place_of(payments, name)
  for place = 1, #payments, MADE_BYTES do
    if sub(payments, place + 5, place + 6) == name then return place end
  end
end

local function make(number, payee, payments, is_flagged, made_at, name)
  if payments then
    if #payments < MADE_MAX_BYTES and not place_of(payments, name) then
      call('HSET', KEYS[number], payee, payments .. pack(MADE, made_at, name))
    end
  elseif call('HLEN', KEYS[number]) - (is_flagged and 1 or 0) < payees_max then
    call('HSET', KEYS[number], payee, pack(MADE, made_at, name))
  end
end

local function unmake(number, payee, payments, name)
  local place = payments and place_of(payments, name)
  if not place then return end
  local left = sub(payments, 1, place - 1) .. sub(payments, place + MADE_BYTES)
  if #left > 0 then call('HSET', KEYS[number], payee, left) else call('HDEL', KEYS[number], payee) end
end

-- Takes back what the payment of this name has made known, whoever was paid.
local function unmake_any(number, is_flagged, name)
  local key = KEYS[number]
  if call('HLEN', key) - (is_flagged and 1 or 0) > searched_max then
    call('UNLINK', key)
    if is_flagged then call('HSET', key, WITHDRAWN_FIELD, '1') end
    return
  end
  local fields = call('HGETALL', key)
  cost = cost + #fields / 2
  for place = 1, #fields, 2 do
    if fields[place] ~= WITHDRAWN_FIELD then unmake(number, fields[place], fields[place + 1], name) end
  end
end

while at <= #request and cost < COST_MAX do
  local number, effect, time, made_at, amount, payee, name, short
  number, effect, time, made_at, amount, payee, name, short, at = unpack_at('>I2BI5I5I6c5c4c2', request, at)
  local payments, flag = unpack(call('HMGET', KEYS[number], payee, WITHDRAWN_FIELD))
  local is_doubtful, is_to_anyone = effect >= DOUBTFUL, effect % DOUBTFUL >= TO_ANYONE
  effect = effect % TO_ANYONE
  if effect == MAKE or effect == ALLOW then
    put_back(number, flag, name)
  elseif is_to_anyone then
    unmake_any(number, flag, short)
  else
    unmake(number, payee, payments, short)
  end
  if effect == MAKE then
    make(number, payee, payments, flag, made_at, short)
  elseif effect == WITHDRAW then
    local record = changing(number, flag)
    take_out(record, record.withdrawn, take_aside, keep_withdrawn, time, made_at, amount, name)
  elseif effect == HOLD then
    local record = changing(number, flag)
    take_out(record, record.aside, take_withdrawn, keep_aside, time, made_at, amount, name)
  elseif effect == UNSETTLE then
    unsettle(number, flag, name)
  end
  if is_doubtful then add_to_blocks(changing(number, flag), -ORIGIN_MS, made_at, BLOCK_SUM_MAX) end
  applied = applied + 1
end
for number in pairs(is_changed) do call('SET', withdrawn_key(number), text_of(records[number])) end
return move_on()
