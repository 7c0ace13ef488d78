-- Marks a payment as fraud or not; 1 where a window of the beneficiary holds it, else 0. The same again changes nothing.
-- KEYS: the beneficiary. ARGV: event time, sender and transaction hash, '1' or '0'.

local SCAN_EVENTS = 4096

local time, party, fraud = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local b, log = open_beneficiary(KEYS[1])

local function time_of(index)
  local from = HEADER_BYTES + index * EVENT_BYTES
  return (struct.unpack('>I5', redis.call('GETRANGE', KEYS[1], from, from + 4)))
end

-- The first payment at or after `time`: a late one was counted at the beneficiary's latest time, so later in the log.
local function search()
  local low, high = b[TAILS + 6], log.stored
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time_of(middle) < time then low = middle + 1 else high = middle end
  end
  return low
end

local function find(from)
  for first = from, log.stored - 1, SCAN_EVENTS do
    local start = HEADER_BYTES + first * EVENT_BYTES
    local text = redis.call('GETRANGE', KEYS[1], start, start + SCAN_EVENTS * EVENT_BYTES - 1)
    local at = string.find(text, party, 6, true)
    while at do
      if at % EVENT_BYTES == 6 then return first + (at - 6) / EVENT_BYTES, string.byte(text, at + 10) end
      at = string.find(text, party, at + 1, true)
    end
  end
end

local index, marked = find(search())
if not index then return 0 end
if marked ~= fraud then
  for number = 1, 3 do
    if index >= b[TAILS + 3 + number] and index < b[TAILS + 3] then
      b[FRAUDS + number] = b[FRAUDS + number] + fraud - marked
    end
  end
  redis.call('SETRANGE', KEYS[1], HEADER_BYTES + index * EVENT_BYTES + 15, string.char(fraud))
  redis.call('SETRANGE', KEYS[1], 0, beneficiary_header(b))
end
return 1
