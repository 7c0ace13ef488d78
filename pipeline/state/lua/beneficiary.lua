-- A beneficiary is a log of the payments to it (kind b; its past is kind q). The senders of the last week (a hash of
-- kind s: sender hash → last payment in the past) stand beside it. All three expire some time after the last payment.
-- An event holds the time in 5 bytes, the payment hash in 4, the sender hash in 6, and its flags in 1: 1 for
-- fraud, and 2 where it is unusual for its payer, 4 where that isn't known (pipeline/state/unusual/fraud_run.py). The
-- header holds past, room and latest time; count and expiry of the day, the week and the label delay, then of the label
-- windows (the delay with a day, a week and a month); the senders of a day and of a week; the frauds of the label
-- windows, those among all payments of the log, and those that were pushed out because the log was full, with the time
-- of the latest; the run of frauds, and the index behind the event that ended the run before (0: none that is held).
-- A log that is one payment alone has no header, which says nothing more of it. Most payees that are made up stay so.

FORMAT = '>I5I2I5' .. 'I3I3I3I3I3I3' .. 'I5I5I5I5I5I5' .. 'I3I3' .. 'I3I3I3' .. 'I3' .. 'I3I5' .. 'I3I5'
HEADER_BYTES, EVENT_FORMAT, EVENT_BYTES, PARTY_AT, PARTY_BYTES = 94, '>I5c4c6B', 16, 10, 6
PAST_KIND, PARTY_KIND = 'q', 's'
SPILL_BYTES = 15 * EVENT_BYTES
local PAYMENT_AT, FLAGS_AT = 6, 16  -- counted from 1; a payment hash and a sender hash together name a payment
local FRAUD, UNUSUAL = 1, 2
local DAY_MS, WEEK_MS, MONTH_MS = 86400000, 7 * 86400000, 30 * 86400000
local RUN_UNKNOWN = 2^24 - 1
local LOOKED_AT_MAX, LOOKED_AT_ONCE = 4096, 512

-- Returns the run of frauds that the payments from index `from` to before `to` end with, and the index behind the payment
-- that ended the run before (0: none).
local function look_back(from, to)
  local frauds, least = 0, max(from, to - LOOKED_AT_MAX)
  while to > least do
    local events, begin = text, past
    if to <= past then
      local ring = room * PAGE_EVENTS
      local last = (to - 1) % ring + 1
      local count = min(to - least, last, LOOKED_AT_ONCE)
      begin = to - count
      events = call('GETRANGE', of_kind(PAST_KIND), integer((last - count) * EVENT_BYTES), integer(last * EVENT_BYTES - 1))
    end
    local first = max(begin, least)
    for index = to - 1, first, -1 do
      local flags = byte(events, (index - begin) * EVENT_BYTES + FLAGS_AT)
      if flags == 0 then return frauds, index + 1 end
      if flags % 4 == FRAUD then frauds = frauds + 1 end
    end
    to = first
  end
  if least > from then return RUN_UNKNOWN, 0 end
  return frauds, 0
end
