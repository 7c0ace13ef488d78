-- The progress of a partition under one hash tag: how far it was observed, and the answers about payments that are not
-- committed yet.
-- It is a hash: `reached` (exclusive end of the latest call), `pruned` (snapshots below it may be gone), and for each
-- call that answered anything its end offset → its reply: OBSERVED, then rows of little-endian int64, the offset
-- first in each.

local UNKNOWN = -1
-- The first byte of a reply. LOST and PRUNED carry an int64; the others the rows of all payments that were counted.
-- TOO_MUCH stopped before one whose windows have too much to let go of at once; the same request goes on from there.
local OBSERVED, LOST, PRUNED, TOO_MUCH = '\0', '\1', '\2', '\3'
local FRESH = 0  -- the freshness of an id that is new

local function failure(kind, offset)
  return kind .. struct.pack('<l', offset)
end

-- Returns the offset where the caller may go on, or nil and `reached`: state that ends before `first` has lost
-- something.
local function follow_on(reached, first, is_initial)
  if not reached then
    if is_initial or first == 0 then return first end
    return nil, -1
  end
  if reached < first then
    if is_initial then return first end
    return nil, reached
  end
  return reached
end

-- Returns the offset where a chunk's windows may go on, or nil and a reply where they can't.
local function begin(key, first, is_initial)
  local reached, reaches = follow_on(tonumber(call('HGET', key, 'reached')), first, is_initial == 1)
  if not reached then return nil, failure(LOST, reaches) end
  call('HSET', key, 'reached', integer(reached))  -- a full Redis refuses this before anything is done
  return reached
end

-- Returns the rows that are kept of offsets from `first` to `last` (exclusive), by offset, and maybe more; `row` is
-- their format. A call's rows lie between the end of the call before and its own.
local function snapshots(key, row, first, last)
  local ends = {}
  for _, field in ipairs(call('HKEYS', key)) do
    local past = tonumber(field)
    if past and past > first then ends[#ends + 1] = past end
  end
  table.sort(ends)
  local rows, row_bytes = {}, struct.size(row)
  for _, past in ipairs(ends) do
    local text = call('HGET', key, integer(past))
    for at = #OBSERVED + 1, #text, row_bytes do
      rows[struct.unpack('<l', text, at)] = string.sub(text, at, at + row_bytes - 1)
    end
    if past >= last then break end
  end
  return rows
end

local function is_pruned(key, offset)
  return offset < tonumber(call('HGET', key, 'pruned') or 0)
end

local function move_on(key, reached, last, committed, reply)
  if last > reached and reply ~= OBSERVED then
    call('HSET', key, 'reached', integer(last), integer(last), reply)
  else
    call('HSET', key, 'reached', integer(math.max(reached, last)))
  end
  local pruned
  for _, field in ipairs(call('HKEYS', key)) do
    local ends = tonumber(field)
    if ends and ends <= committed then
      call('HDEL', key, field)
      pruned = math.max(pruned or 0, ends)
    end
  end
  if pruned and not is_pruned(key, pruned - 1) then call('HSET', key, 'pruned', integer(pruned)) end
end

-- Returns the reply. `fresh` is OBSERVED and the rows counted now, as one string, which is both stored and sent.
local function reply_of(kind, fresh, answers)
  if kind == OBSERVED and #answers == 0 then return fresh end
  return kind .. table.concat(answers) .. string.sub(fresh, #OBSERVED + 1)
end
