-- How much of the log a tag holds: a string with the log time since which nothing is missing, in ms; no such string
-- where nothing is missing at all.

local SINCE = TAG .. 'since'

-- Returns that time, or NONE where all is held. `since` holds from now on where records are `missing` before it.
local function since_of(missing, since)
  local held = tonumber(call('GET', SINCE)) or NONE
  if missing and since > held then
    call('SET', SINCE, integer(since))
    return since
  end
  return held
end
