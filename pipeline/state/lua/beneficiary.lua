-- A beneficiary: a log of payments to it (kind b; its past: kind q). The senders to it in a week (hash: sender hash →
-- last payment in the past, kind s) stand beside it.
-- An event is time 5, payment hash 4, sender hash 6, is fraud 1 bytes. Header: past, room, latest time; count and
-- expiry of day, week, label delay, then of the delay and the day, week and month of the label windows; senders in a
-- day and a week; frauds in the label windows.

FORMAT = '>I5I2I5' .. 'I3I3I3I3I3I3' .. 'I5I5I5I5I5I5' .. 'I3I3' .. 'I3I3I3'
HEADER_BYTES, EVENT_FORMAT, EVENT_BYTES, PARTY_AT, PARTY_BYTES = 75, '>I5c4c6B', 16, 10, 6
PAST_KIND, PARTY_KIND = 'q', 's'
SPILL_BYTES = 15 * EVENT_BYTES
local PAYMENT_AT, FRAUD_AT = 6, 16  -- from 1; a payment hash and a sender hash together name a payment
local DAY_MS, WEEK_MS, MONTH_MS = 86400000, 7 * 86400000, 30 * 86400000
