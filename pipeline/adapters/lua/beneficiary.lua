-- A beneficiary: a log of payments to it, and where each window over it begins.
-- Tails and expiries: day, week, label delay, then the delay and the day, week and month of the label windows.

local FORMAT = '>I3I3I5I6' .. 'I3I3I3I3I3I3' .. 'I5I5I5I5I5I5' .. 'I3I3' .. 'I3I3I3'
local HEADER_BYTES, EVENT_BYTES = 80, 16
local DAY_MS = 86400000
-- A beneficiary is its header's fields as a list, in the order of FORMAT.
local STORED, ROOM, LATEST, BASE = 1, 2, 3, 4
local TAILS, EXPIRIES = 4, 10  -- plus the window, 1 to 6
local SENDERS_DAY, SENDERS_WEEK = 17, 18
local FRAUDS = 18  -- plus the label window, 1 to 3
local FIELDS = 21

local function open_beneficiary(key)
  local log = open_log(key, HEADER_BYTES, EVENT_BYTES)
  if log.text == '' then
    return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NEVER, NEVER, NEVER, NEVER, NEVER, NEVER, 0, 0, 0, 0, 0}, log
  end
  return {struct.unpack(FORMAT, log.text)}, log
end

local function beneficiary_header(b)
  return struct.pack(FORMAT, unpack(b, 1, FIELDS))
end

local function close_beneficiary(b, log)
  local drop, room = plan(log, b[TAILS + 6])
  b[STORED], b[ROOM], b[BASE] = log.stored + #log.added - drop, room, b[BASE] + drop
  for window = TAILS + 1, TAILS + 6 do b[window] = b[window] - drop end
  write_log(log, drop, room, beneficiary_header(b))
end
