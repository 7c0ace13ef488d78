-- Keeps the newest statement of a fact about an entity, and the last withdrawal. pipeline/state/facts.py says by which
-- rules.
-- A fact is '<ll' (observed at in ms, -1 for nothing; value), which observe_shared reads, then the places in the log of
-- the record that stated it and of the last that withdrew what was stated before it (log time in ms, offset; 0 for none).
-- KEYS: the fact. ARGV: observed at in ms ('' for a withdrawal), value (of a withdrawal: that of a fact that is absent),
-- log time, offset, and by how many ms a statement may be ahead of its record.

local FORMAT = '<ll>I6I6I6I6'
local observed_at, value = tonumber(ARGV[1]), tonumber(ARGV[2])
local time, offset, ahead_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local held_at, held, held_time, held_offset, gone_time, gone_offset = -1, value, 0, 0, 0, 0
local text = redis.call('GET', KEYS[1])
if text then held_at, held, held_time, held_offset, gone_time, gone_offset = struct.unpack(FORMAT, text) end

local function is_before(one_time, one_offset, other_time, other_offset)
  return one_time < other_time or one_time == other_time and one_offset < other_offset
end

if not is_before(gone_time, gone_offset, time, offset) then return 0 end
if observed_at then
  local is_older = observed_at < held_at or observed_at == held_at and is_before(time, offset, held_time, held_offset)
  if is_older and held_at <= held_time + ahead_ms then return 0 end
  held_at, held, held_time, held_offset = observed_at, value, time, offset
else
  gone_time, gone_offset = time, offset
  if not is_before(time, offset, held_time, held_offset) then held_at, held, held_time, held_offset = -1, value, 0, 0 end
end
redis.call('SET', KEYS[1], struct.pack(FORMAT, held_at, held, held_time, held_offset, gone_time, gone_offset))
return 1
