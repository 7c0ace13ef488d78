-- A rollback plan may name the feeds that its decisions should have been made by.

-- By kind of feed its hash in hexadecimal, a blank, and its version; empty where each decision's own feeds were good.
ALTER TABLE control.rollback_plan ADD COLUMN good_feeds jsonb NOT NULL DEFAULT '{}';
GRANT INSERT (good_feeds) ON control.rollback_plan TO fraud_rollback;
