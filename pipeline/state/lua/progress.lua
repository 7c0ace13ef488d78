-- The progress of a partition under one hash tag: how far it was observed, and the answers about payments that are not
-- committed yet.
-- It is a hash: `reached` (exclusive end of the latest call), `pruned` (the highest committed offset that was told;
-- snapshots below it may be gone), `late` (of accounts: between which offsets answers tell too little), `replaced` (of
-- accounts: an offset at which another record was counted; the state is of another log), and for each call
-- that counted anything its end offset → its reply: OBSERVED, two times since when the tag is whole (see coverage.lua),
-- then rows of little-endian int64, the offset first in each.

local NONE = -1  -- known to be absent, as in pipeline/domain/features.py
-- The first byte of a reply. LOST and PRUNED carry an int64; the others the rows of all payments that were counted.
-- TOO_MUCH stopped before one whose windows have too much to let go of at once; the same request goes on from there.
-- REPLACED says that another record stood at an offset when it was counted; nothing is told under the tag from then on.
local OBSERVED, LOST, PRUNED, TOO_MUCH, REPLACED = '\0', '\1', '\2', '\3', '\4'
local FRESH, ANEW = 0, 3  -- the freshness of an id that is new, and of one that is although its offset was read before

-- What each payment of a chunk is for its payer, a byte each: observe_accounts.lua tells observe_shared.lua, where both run
-- in one call.
local kinds_told

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

-- Returns the offset where a chunk's windows may go on, or nil and a reply where they can't; then `pruned`, and whether
-- records before `first` are missing for good.
local function begin(key, first, is_initial)
  local held = call('HMGET', key, 'reached', 'pruned', 'replaced')
  if held[3] then return nil, failure(REPLACED, tonumber(held[3])) end
  local before = tonumber(held[1])
  local reached, reaches = follow_on(before, first, is_initial == 1)
  if not reached then return nil, failure(LOST, reaches) end
  call('HSET', key, 'reached', integer(reached))  -- a full Redis refuses this before anything is done
  return reached, nil, tonumber(held[2]) or 0, first > (before or 0)
end

local HEAD_BYTES = #OBSERVED + struct.size('<ll')  -- of a reply, before its rows

-- Returns the rows that are kept of offsets from `first` on, by offset, and maybe more; `row` is their format. A call's
-- rows lie before its end; those that counted late may lie before the end of the call before, too.
local function snapshots(key, row, first)
  local rows, row_bytes = {}, struct.size(row)
  for _, field in ipairs(call('HKEYS', key)) do
    local past = tonumber(field)
    if past and past > first then
      local text = call('HGET', key, field)
      for at = HEAD_BYTES + 1, #text, row_bytes do
        rows[struct.unpack('<l', text, at)] = string.sub(text, at, at + row_bytes - 1)
      end
    end
  end
  return rows
end

-- Records what was observed. `fresh` is a reply of the rows counted now. Payments that are counted late stand in a range
-- that was observed before, and may have a reply already.
local function move_on(key, reached, last, committed, pruned, fresh)
  local reaches = integer(math.max(reached, last))
  if #fresh > HEAD_BYTES and last > committed then  -- what is committed is asked for no more, as in a rebuild
    if last <= reached then
      local held = call('HGET', key, integer(last))
      if held then fresh = held .. string.sub(fresh, HEAD_BYTES + 1) end
    end
    call('HSET', key, 'reached', reaches, integer(last), fresh)
  else
    call('HSET', key, 'reached', reaches)
  end
  if committed <= pruned then return end
  for _, field in ipairs(call('HKEYS', key)) do
    local ends = tonumber(field)
    if ends and ends <= committed then call('HDEL', key, field) end
  end
  call('HSET', key, 'pruned', integer(committed))
end

-- Records what was observed, and returns the reply. `rows` is a reply's head and the rows counted now; the first `late`
-- of them stand among `answers`, the rows that go before the others.
local function finish(key, reached, last, committed, pruned, kind, rows, late, answers)
  local fresh = table.concat(rows)
  move_on(key, reached, last, committed, pruned, fresh)
  if kind == OBSERVED and #answers == 0 then return fresh end
  return kind .. string.sub(rows[1], #OBSERVED + 1) .. table.concat(answers) .. table.concat(rows, '', late + 2)
end
