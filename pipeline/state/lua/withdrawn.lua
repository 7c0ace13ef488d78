-- The payments of one account that were withdrawn or set aside (a string of kind w; pipeline/state/outcomes.py says what
-- is kept).
-- The header holds the latest block, the sums taken out of it and of the four before, the latest time of a payment, the
-- running sum before the first withdrawn payment, how many others there are, and the latest time of a payment that isn't
-- remembered any more. Withdrawn payments follow by time: time in 5 bytes, the running sum up to and with this one in 6,
-- name in 4, order in 6; the header ends like a payment. A running sum is kept modulo 2^48: 1,024 amounts sum to less, so
-- differences are exact, and no payment needs to be read to sum a window. The others come last, by time, with their
-- amount instead of a running sum; where IN_BLOCKS is added to it, only the order of the payment is remembered.

local WITHDRAWN_HEADER, WITHDRAWN_HEADER_BYTES = '>I2I7I7I7I7I7I5I6I2I5xxx', 58
local WITHDRAWN, WITHDRAWN_BYTES = '>I5I6c4I6', 21
local IN_BLOCKS = 2^47
local BLOCKS_KEPT, BLOCK_SUM_MAX = 5, 2^51  -- a block's sum that has come to this isn't known
local SUM_WRAP = 2^48
local WITHDRAWN_KIND, MADE_KIND = 'w', 'o'
local WITHDRAWN_FIELD = 'w'  -- in an account's hash of payees, where the account has such a string

-- Returns how many of `count` payments, which begin after `start` bytes, were made at `time` or before.
local function payments_until(text, start, count, time)
  local low, high = 0, count
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = struct.unpack('>I5', text, start + middle * WITHDRAWN_BYTES + 1)
    if at <= time then low = middle + 1 else high = middle end
  end
  return low
end

-- Returns the running sum of the first `count` payments.
local function withdrawn_sum(withdrawn, count)
  return (struct.unpack('>I6', withdrawn, WITHDRAWN_HEADER_BYTES + count * WITHDRAWN_BYTES - 15))
end
