-- How far the context topics were taken in under one tag. It is a hash: topic:partition → the offset below which all is
-- taken in, the topic's incarnation, and the latest log time below that offset. Whoever changes what context says under
-- the tag moves the position in the same call; a tag that lost the one has lost the other.
-- A move is the offset that the record's reader was at, the offset behind the record, its log time, and how it moves;
-- then the field. A record that doesn't move the position is handed in ahead of its turn, or beside the reading.

local CONTEXT, MOVE = '>I6I2I6', '>I6I6I6B'
local STAY, GO_ON, BEGIN, BEGIN_ANEW = 0, 1, 2, 3  -- BEGIN: nothing before the reader's offset can be had any more

-- Returns the topic's incarnation, and whether the record was never read before; or nil, and a negative number that says
-- where the position is, where records are missing before the reader's offset.
local function move_context(key, move)
  local first, last, time, how, at = struct.unpack(MOVE, move)
  local field = string.sub(move, at)
  local position, incarnation, latest = 0, 0, 0
  local text = redis.call('HGET', key, field)
  if text then position, incarnation, latest = struct.unpack(CONTEXT, text) end
  if how == STAY then return incarnation, false end
  if how == BEGIN_ANEW then
    -- The log ends before the position, which is `last`; somebody else may have seen so, too.
    if position == last then incarnation, position, latest = incarnation + 1, first, 0 end
    last = first
  elseif last <= position and time > latest then
    -- Whatever was read below the position is not later than `latest`: this offset was given out anew.
    incarnation, position, latest = incarnation + 1, 0, 0
  end
  if how == BEGIN and position < first then position = first end
  local is_behind, is_new = position < first, last > position
  if not is_behind then position, latest = math.max(position, last), math.max(latest, time) end
  local moved = struct.pack(CONTEXT, position, incarnation, latest)
  if moved ~= text and (text or not is_behind) then redis.call('HSET', key, field, moved) end
  if is_behind then return nil, -1 - position end
  return incarnation, is_new
end
