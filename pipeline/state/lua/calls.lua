-- How the scripts call Redis: a local name is found faster than a field of a global table.

local call = redis.call

-- Redis writes a number as '%.17g', which takes as long as many a command; an integer as text is three times cheaper.
local format = string.format

local function integer(number)
  return format('%d', number)
end

local SLICE = 512  -- Lua passes at most some thousand arguments

local function delete_fields(hash, fields)
  for first = 1, #fields, SLICE do
    call('HDEL', hash, unpack(fields, first, math.min(first + SLICE - 1, #fields)))
  end
end
