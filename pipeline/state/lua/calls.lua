-- The scripts' calls to Redis. They go by a local name, because Lua finds it faster than a field of a global table.

local call = redis.call

-- Redis writes a number as '%.17g', which takes as long as a whole command may; an integer as text costs a third.
local format = string.format

local function integer(number)
  return format('%d', number)
end

local SLICE = 512  -- Lua passes some thousand arguments at most, so whatever grows with traffic is passed in slices

-- How many payments more may leave windows in this call, beside one for each window of each payment that enters. With
-- none left, a payment whose windows aren't up to its time yet waits for the next call.
local allowance

local function delete_fields(hash, fields)
  for first = 1, #fields, SLICE do
    call('HDEL', hash, unpack(fields, first, math.min(first + SLICE - 1, #fields)))
  end
end
