-- Keeps the newest statement of a fact about an entity, and the last withdrawal. pipeline/state/context/facts.py says by
-- which rules. Returns 1, or a negative number (see context.lua) and has done nothing.
-- A fact is '<ll' (observed at in ms, -1 for nothing; value), which observe_shared reads, then the places in the log of
-- the record that stated it and of the last that withdrew what was stated before it (log time in ms, 0 for none;
-- partition, incarnation of the topic, offset).
-- KEYS: the fact, context positions. ARGV: observed at in ms ('' for a withdrawal), value (of a withdrawal: that of a
-- fact that is absent), log time, partition, offset, by how many ms a statement may be ahead of its record, move.

local FORMAT = '<ll>I6I2I2I6I6I2I2I6'
local incarnation, behind = move_context(KEYS[2], ARGV[7])
if not incarnation then return behind end
local observed_at, value = tonumber(ARGV[1]), tonumber(ARGV[2])
local place = {tonumber(ARGV[3]), tonumber(ARGV[4]), incarnation, tonumber(ARGV[5])}
local ahead_ms = tonumber(ARGV[6])
local held_at, held, stated, gone = -1, value, {0, 0, 0, 0}, {0, 0, 0, 0}
local text = redis.call('GET', KEYS[1])
if text then
  held_at, held, stated[1], stated[2], stated[3], stated[4], gone[1], gone[2], gone[3], gone[4] =
    struct.unpack(FORMAT, text)
end

local function is_before(one, other)
  if one[1] == 0 or other[1] == 0 then return one[1] == 0 and other[1] > 0 end
  if one[2] ~= other[2] then return one[1] < other[1] or one[1] == other[1] and one[2] < other[2] end
  return one[3] < other[3] or one[3] == other[3] and one[4] < other[4]
end

if not is_before(gone, place) then return 1 end
if observed_at then
  local is_older = observed_at < held_at or observed_at == held_at and is_before(place, stated)
  if is_older and held_at <= stated[1] + ahead_ms then return 1 end
  held_at, held, stated = observed_at, value, place
else
  gone = place
  if not is_before(place, stated) then held_at, held, stated = -1, value, {0, 0, 0, 0} end
end
redis.call('SET', KEYS[1], struct.pack(FORMAT, held_at, held, stated[1], stated[2], stated[3], stated[4], gone[1],
  gone[2], gone[3], gone[4]))
return 1
