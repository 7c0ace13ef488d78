-- How the scripts call Redis: a local name is found faster than a field of a global table.

local call = redis.call

-- Redis writes a number as '%.17g', which takes as long as many a command; an integer as text is three times cheaper.
local format = string.format

local function integer(number)
  return format('%d', number)
end
