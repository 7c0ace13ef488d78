-- A beneficiary is a log of the payments to it (kind b; its past is kind q). The senders of the last week (a hash of
-- kind s: sender hash → last payment in the past) stand beside it. All three expire some time after the last payment.
-- An event holds the time in 5 bytes, the payment hash in 4, the sender hash in 6, and whether it is fraud in 1. The
-- header holds past, room and latest time; count and expiry of the day, the week and the label delay, then of the label
-- windows (the delay with a day, a week and a month); the senders of a day and of a week; the frauds of the label
-- windows, those among all payments of the log, and those that were pushed out because the log was full, with the time
-- of the latest.
-- A log that is one payment alone has no header, which says nothing more of it. Most payees that are made up stay so.

FORMAT = '>I5I2I5' .. 'I3I3I3I3I3I3' .. 'I5I5I5I5I5I5' .. 'I3I3' .. 'I3I3I3' .. 'I3' .. 'I3I5'
HEADER_BYTES, EVENT_FORMAT, EVENT_BYTES, PARTY_AT, PARTY_BYTES = 86, '>I5c4c6B', 16, 10, 6
PAST_KIND, PARTY_KIND = 'q', 's'
SPILL_BYTES = 15 * EVENT_BYTES
local PAYMENT_AT, FRAUD_AT = 6, 16  -- counted from 1; a payment hash and a sender hash together name a payment
local DAY_MS, WEEK_MS, MONTH_MS = 86400000, 7 * 86400000, 30 * 86400000
