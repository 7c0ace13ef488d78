-- A beneficiary: a log of payments to it, and where each window over it begins.
-- Tails and expiries: day, week, label delay, then the delay and the day, week and month of the label windows.

local FORMAT = '>I3I5I6' .. 'I3I3I3I3I3I3' .. 'I5I5I5I5I5I5' .. 'I3I3' .. 'I3I3I3'
local HEADER_BYTES = 77
local DAY_MS = 86400000

local function open_beneficiary(key)
  local b = {log = open_log(key, HEADER_BYTES), senders_key = key .. ':s'}
  if b.log.text == '' then
    b.latest, b.base, b.senders_day, b.senders_week = 0, 0, 0, 0
    b.tails, b.frauds = {0, 0, 0, 0, 0, 0}, {0, 0, 0}
    b.expiries = {NEVER, NEVER, NEVER, NEVER, NEVER, NEVER}
    return b
  end
  local t, e, f = {}, {}, {}
  local _
  _, b.latest, b.base, t[1], t[2], t[3], t[4], t[5], t[6], e[1], e[2], e[3], e[4], e[5], e[6],
    b.senders_day, b.senders_week, f[1], f[2], f[3] = struct.unpack(FORMAT, b.log.text)
  b.tails, b.expiries, b.frauds = t, e, f
  return b
end

local function beneficiary_header(b, stored, drop)
  local t, e, f = b.tails, b.expiries, b.frauds
  return struct.pack(FORMAT, stored - drop, b.latest, b.base + drop,
    t[1] - drop, t[2] - drop, t[3] - drop, t[4] - drop, t[5] - drop, t[6] - drop,
    e[1], e[2], e[3], e[4], e[5], e[6], b.senders_day, b.senders_week, f[1], f[2], f[3])
end

local function close_beneficiary(b)
  local log = b.log
  local drop = dropped(log, b.tails[6])
  write_log(log, drop, beneficiary_header(b, log.stored + #log.added, drop))
end
