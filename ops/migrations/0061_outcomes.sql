-- What the executor tells of a payment beside the money, so that the worker can take in what became of it.

-- amount_gbp_minor: as the worker's state counted it; -1 where it never did, or the execution is older than this column.
-- payment_logged_at: time of the payment's record on transactions.v1; NULL where the execution is older.
ALTER TABLE ledger.execution
    ADD COLUMN amount_gbp_minor bigint NOT NULL DEFAULT -1 CHECK (amount_gbp_minor >= -1),
    ADD COLUMN payment_logged_at timestamptz;
