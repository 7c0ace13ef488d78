-- Takes in what became of payments of one partition, in the order of the outcomes' log. Returns the position that the
-- state holds, and how many outcomes it has taken in beyond it.
-- KEYS: outcomes of the partition (hash: `position`, the offset below which all outcomes are taken in; `applied`, how
-- many are beyond it; `due`, the offset from which on what is held is whole again after a loss; `since`, where older
-- ones are missing, see coverage.lua; `held`, where any account has some); then
-- for each account the hash of its payees (kind o: beneficiary hash → up to two payments that were made to it, each with
-- the time in 5 bytes and 2 bytes of name). Its withdrawn payments stand beside it (kind w, see withdrawn.lua).
-- ARGV[1]: first, last, initial, since, how many outcomes the range has, and how many of them come before; then for each
-- outcome the index of its account in KEYS, its effect (pipeline/state/outcomes.py), the time of its payment, when
-- it was made (of a withdrawn one: until when it may have been counted), its amount, its beneficiary hash and its name.
-- ARGV[2..5]: how many payees and how many withdrawn payments an account may hold, and for how long in ms; among how
-- many payees a payment is looked for.
-- Where an account has many withdrawn payments, the script stops before it takes long; the caller goes on from there.

local WITHDRAW, MAKE, ALLOW, HOLD, UNMAKE = 1, 2, 3, 4, 5
local TO_ANYONE = 16  -- added to an effect where it isn't known who was paid
local MADE, MADE_BYTES, MADE_MAX_BYTES = '>I5c2', 7, 14
local BLOCK_MS, ORIGIN_MS, BLOCK_SUM_MAX = 30 * 86400000, 1420070400000, 2^51
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
local texts, is_changed, cost = {}, {}, 0  -- by index in KEYS; a text is false where the account has none

local function withdrawn_key(number)
  return TAG .. WITHDRAWN_KIND .. sub(KEYS[number], KIND_AT + 1)
end

-- Returns the account's withdrawn payments; `is_flagged` says whether it has any in Redis.
local function withdrawn_of(number, is_flagged)
  local text = texts[number]
  if text == nil then
    text = is_flagged and call('GET', withdrawn_key(number)) or false
    texts[number] = text
  end
  if text then cost = cost + #text / WITHDRAWN_BYTES / COPIED end
  return text
end

-- Returns the withdrawn payments after the first `count`, as texts whose running sums are changed by `change`.
local function resummed(text, count, change)
  local rest = {}
  for number = count + 1, withdrawn_count(text) do
    local time, sum, name = unpack_at(WITHDRAWN, text, WITHDRAWN_HEADER_BYTES + (number - 1) * WITHDRAWN_BYTES + 1)
    rest[#rest + 1] = pack(WITHDRAWN, time, (sum + change) % SUM_WRAP, name)
  end
  cost = cost + #rest
  return table.concat(rest)
end

-- Returns the number of the payment with this name, from 1; nil where there is none.
local function number_of(text, name)
  local place = find(text, name, WITHDRAWN_HEADER_BYTES + 1, true)
  while place do
    local number = (place + 3 - WITHDRAWN_HEADER_BYTES) / WITHDRAWN_BYTES
    if number == floor(number) then return number end
    place = find(text, name, place + 1, true)
  end
end

-- Returns the text with another header: `amount` is added to the blocks from that of `time` to that of `until_time`, the
-- latest time is `latest`, and the first `gone` payments are forgotten.
local function with_header(text, time, until_time, amount, latest, gone)
  local block, b1, b2, b3, b4 = unpack_at(WITHDRAWN_HEADER, text)
  local newest = floor((until_time + ORIGIN_MS) / BLOCK_MS)
  local oldest = max(floor((time + ORIGIN_MS) / BLOCK_MS), newest - 3)
  if newest > block then
    for _ = 1, min(newest - block, 4) do b1, b2, b3, b4 = 0, b1, b2, b3 end
    block = newest
  end
  local sums = {b1, b2, b3, b4}
  for back = block - newest + 1, min(block - oldest + 1, 4) do
    sums[back] = min(max(sums[back] + amount, 0), BLOCK_SUM_MAX)
  end
  local header = pack(WITHDRAWN_HEADER, block, sums[1], sums[2], sums[3], sums[4], latest, withdrawn_sum(text, gone))
  return header .. sub(text, WITHDRAWN_HEADER_BYTES + gone * WITHDRAWN_BYTES + 1)
end

local function withdraw(number, is_flagged, time, until_time, amount, name)
  local text = withdrawn_of(number, is_flagged) or pack(WITHDRAWN_HEADER, 0, 0, 0, 0, 0, 0, 0)
  if number_of(text, name) then return end
  local count = withdrawn_until(text, time)
  local kept = sub(text, 1, WITHDRAWN_HEADER_BYTES + count * WITHDRAWN_BYTES)
  local entered = pack(WITHDRAWN, time, (withdrawn_sum(text, count) + amount) % SUM_WRAP, name)
  local latest = max(time, unpack_at('>I5', text, WITHDRAWN_HEADER_BYTES - WITHDRAWN_BYTES + 1))
  text = kept .. entered .. resummed(text, count, amount)
  local gone = max(withdrawn_until(text, latest - kept_ms), withdrawn_count(text) - withdrawn_max)
  texts[number], is_changed[number] = with_header(text, time, until_time, amount, latest, gone), true
  if not is_flagged then call('HSET', KEYS[number], WITHDRAWN_FIELD, '1') end
end

local function allow(number, is_flagged, name)
  local text = withdrawn_of(number, is_flagged)
  local place = text and number_of(text, name)
  if not place then return end
  local time = unpack_at('>I5', text, WITHDRAWN_HEADER_BYTES + (place - 1) * WITHDRAWN_BYTES + 1)
  local amount = (withdrawn_sum(text, place) - withdrawn_sum(text, place - 1)) % SUM_WRAP
  local latest = unpack_at('>I5', text, WITHDRAWN_HEADER_BYTES - WITHDRAWN_BYTES + 1)
  local kept = sub(text, 1, WITHDRAWN_HEADER_BYTES + (place - 1) * WITHDRAWN_BYTES)
  text = kept .. resummed(text, place, -amount)
  texts[number], is_changed[number] = with_header(text, time, time, -amount, latest, 0), true
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
  local is_to_anyone = effect >= TO_ANYONE
  effect = effect % TO_ANYONE
  if effect == WITHDRAW or effect == HOLD or effect == UNMAKE then
    if is_to_anyone then unmake_any(number, flag, short) else unmake(number, payee, payments, short) end
  end
  if effect == WITHDRAW then withdraw(number, flag, time, made_at, amount, name) end
  if effect == MAKE or effect == ALLOW or effect == HOLD then allow(number, flag, name) end
  if effect == MAKE then make(number, payee, payments, flag, made_at, short) end
  applied = applied + 1
end
for number in pairs(is_changed) do call('SET', withdrawn_key(number), texts[number]) end
return move_on()
