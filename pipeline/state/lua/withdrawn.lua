-- The withdrawn payments of one account (a string of kind w; pipeline/state/outcomes.py says what is kept).
-- The header holds the latest block, the sums withdrawn in it and in the three before, the latest time of a payment, and
-- the running sum before the first payment. Payments follow by time: time in 5 bytes, the running sum up to and with
-- this one in 6, name in 4; the header ends like a payment. A running sum is kept modulo 2^48: 1,024 amounts sum to less,
-- so differences are exact, and no payment needs to be read to sum a window.

local WITHDRAWN_HEADER, WITHDRAWN_HEADER_BYTES = '>I2I7I7I7I7I5I6xxxx', 45
local WITHDRAWN, WITHDRAWN_BYTES = '>I5I6c4', 15
local SUM_WRAP = 2^48
local WITHDRAWN_KIND, MADE_KIND = 'w', 'o'
local WITHDRAWN_FIELD = 'w'  -- in an account's hash of payees, where the account has withdrawn payments

local function withdrawn_count(withdrawn)
  return (#withdrawn - WITHDRAWN_HEADER_BYTES) / WITHDRAWN_BYTES
end

-- Returns how many payments were made at `time` or before.
local function withdrawn_until(withdrawn, time)
  local low, high = 0, withdrawn_count(withdrawn)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = struct.unpack('>I5', withdrawn, WITHDRAWN_HEADER_BYTES + middle * WITHDRAWN_BYTES + 1)
    if at <= time then low = middle + 1 else high = middle end
  end
  return low
end

-- Returns the running sum of the first `count` payments.
local function withdrawn_sum(withdrawn, count)
  return (struct.unpack('>I6', withdrawn, WITHDRAWN_HEADER_BYTES + count * WITHDRAWN_BYTES - 9))
end
