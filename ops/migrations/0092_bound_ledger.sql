-- The ledger is bound to what was decided.
--
-- With the executor's credential alone nobody makes up money. What the executor stores must agree with the audit log,
-- which another role writes: each execution with its decision, each cause with its review or reversal, each step with
-- the table of the saga, each posting with its execution and step, and an account that pays has the money. Accounts are
-- opened and funded by another role. The checks run as the owner, on whole statements where that is cheaper; a superuser
-- passes them by, and what one plants is found by reconciliation and `fraud ledger check`, which use the views below.

-- Roles

-- The treasurer opens accounts and funds them; it executes nothing. Roles belong to the whole server.
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_treasurer') THEN
        CREATE ROLE fraud_treasurer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO fraud_treasurer', current_database());
    ALTER ROLE fraud_treasurer CONNECTION LIMIT 4;
    ALTER ROLE fraud_treasurer SET statement_timeout = '60s';
    ALTER ROLE fraud_treasurer SET lock_timeout = '15s';
    ALTER ROLE fraud_treasurer SET idle_in_transaction_session_timeout = '10s';
END
$roles$;
GRANT USAGE ON SCHEMA control, ledger TO fraud_treasurer;
GRANT EXECUTE ON FUNCTION control.partition_of_month(regclass, timestamptz), control.is_month_taken(regclass, timestamptz),
    control.filing_time(regclass, timestamptz) TO fraud_treasurer;
GRANT SELECT, INSERT (account_id, currency, overdraft_limit_minor, opened_at) ON ledger.account TO fraud_treasurer;
GRANT SELECT, INSERT (execution_id, account_id, currency, amount_minor, caused_at) ON ledger.funding TO fraud_treasurer;
GRANT INSERT (posting_id, execution_id, step, attempt, source_account_id, destination_account_id, currency, amount_minor,
    event_time, caused_at) ON ledger.posting TO fraud_treasurer;
GRANT USAGE ON SEQUENCE ledger.posting_number TO fraud_treasurer;

-- The executor keeps what it needs. A posting's number comes from the sequence, because a balance sums what follows its
-- last checkpoint, and checkpoints are taken by a function. When a row was recorded is the server's to say.
REVOKE INSERT ON ledger.account, ledger.funding, ledger.balance_checkpoint, ledger.execution, ledger.cause,
    ledger.transition, ledger.posting, ledger.recovery_case FROM fraud_executor;
GRANT INSERT (execution_id, decision_id, transaction_id, account_id, beneficiary_account_id, currency, amount_minor, cause,
    aim, event_time, caused_at, logged_at, topic_partition, topic_offset, amount_gbp_minor, payment_logged_at)
    ON ledger.execution TO fraud_executor;
GRANT INSERT (execution_id, cause_id, cause, aim, ignored, after_sequence, transaction_id, account_id, event_time,
    caused_at, topic_partition, topic_offset) ON ledger.cause TO fraud_executor;
GRANT INSERT (execution_id, sequence, step, from_state, to_state, aim, cause, reason, caused_at)
    ON ledger.transition TO fraud_executor;
GRANT INSERT (posting_id, execution_id, step, attempt, source_account_id, destination_account_id, currency, amount_minor,
    event_time, caused_at, reverses) ON ledger.posting TO fraud_executor;
GRANT INSERT (execution_id, sequence, reason, missing_minor, currency) ON ledger.recovery_case TO fraud_executor;

-- Nobody lends without bound: 1,000,000.00 of a currency with two decimals (OVERDRAFT_MAX_MINOR).
ALTER TABLE ledger.account ADD CONSTRAINT overdraft_is_bounded CHECK (overdraft_limit_minor <= 100000000);

-- Nor is money made up without bound: what comes in from outside is at most 10,000,000,000,000.00 of a currency with two
-- decimals at once, and for one account in all (FUNDED_MAX_MINOR). More is a migration, by the owner.
ALTER TABLE ledger.funding ADD CONSTRAINT funding_is_bounded CHECK (amount_minor <= 1000000000000000);
CREATE INDEX funding_account ON ledger.funding (account_id, currency) INCLUDE (amount_minor);
CREATE FUNCTION ledger.bound_funding() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Whoever funds the same account waits, so that two see each other; nobody else locks these rows.
    PERFORM FROM (
        SELECT opened.account_id FROM ledger.account AS opened
        WHERE (opened.account_id, opened.currency) IN (SELECT written.account_id, written.currency FROM written)
        ORDER BY opened.account_id, opened.currency FOR NO KEY UPDATE
    ) AS locked;
    PERFORM FROM ledger.funding AS funded
    WHERE (funded.account_id, funded.currency) IN (SELECT written.account_id, written.currency FROM written)
    GROUP BY funded.account_id, funded.currency HAVING sum(funded.amount_minor) > 1000000000000000
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('funding', 'funding_is_bounded');
    END IF;
    -- Its id, which is its posting's too, is one that no payment's posting can have: a UUID of version 8, where theirs are
    -- of version 5. So nobody who funds takes an id in advance that a payment needs.
    PERFORM FROM written WHERE get_byte(uuid_send(written.execution_id), 6) >> 4 <> 8;
    IF FOUND THEN
        PERFORM ledger.refuse_row('funding', 'id_is_of_a_funding');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bound_funding AFTER INSERT ON ledger.funding
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.bound_funding();

-- Each of the two who post posts what is its own. A trigger says so, too, but only once a statement is through, and until
-- then whoever else posts under the same key waits: a treasurer's statement that never ends would hold a payment.
ALTER TABLE ledger.posting ADD CONSTRAINT posts_its_own CHECK (
    CASE current_user WHEN 'fraud_treasurer' THEN step = 'FUND' WHEN 'fraud_executor' THEN step <> 'FUND' ELSE true END);

-- The saga, as tables; a test compares them with pipeline/execute/saga.py and postings.py.

-- The aim that a record sets, by the aim before it; '' before the first. What isn't here changes no aim.
CREATE TABLE ledger.saga_hearing (
    aim text NOT NULL,
    cause text NOT NULL,
    becomes text NOT NULL,
    PRIMARY KEY (aim, cause)
);
-- Every step that can be taken, by the aim before it: the plan's, the rail's answers, and turns with their reasons.
CREATE TABLE ledger.saga_step (
    from_state text NOT NULL,
    aim text NOT NULL,
    step text NOT NULL,
    reason text NOT NULL,  -- '' where the saga isn't turned
    to_state text NOT NULL,
    becomes text NOT NULL,  -- the aim from then on
    PRIMARY KEY (from_state, aim, step, reason)
);
-- From whom to whom a step moves money, and the step that it undoes. The other steps move none.
CREATE TABLE ledger.saga_movement (
    step text PRIMARY KEY,
    source text NOT NULL,
    destination text NOT NULL,
    is_part boolean NOT NULL,  -- it moves the part that is recalled
    reverses text
);

INSERT INTO ledger.saga_hearing VALUES
    ('', 'DECIDED_ALLOW', 'SETTLE'), ('', 'DECIDED_BLOCK', 'REFUSE'), ('', 'DECIDED_ESCALATE', 'HOLD'),
    ('HOLD', 'REVERSED_TO_ALLOW', 'SETTLE'), ('HOLD', 'REVERSED_TO_BLOCK', 'REVERSE'),
    ('HOLD', 'REVERSED_TO_ESCALATE', 'HOLD'), ('HOLD', 'REVERSED_TO_NOTHING', 'RELEASE'),
    ('HOLD', 'REVIEWED_ALLOW', 'SETTLE'), ('HOLD', 'REVIEWED_BLOCK', 'REFUSE'),
    ('REFUSE', 'REVERSED_TO_ALLOW', 'SETTLE'), ('REFUSE', 'REVERSED_TO_BLOCK', 'REFUSE'),
    ('REFUSE', 'REVERSED_TO_ESCALATE', 'HOLD'), ('REFUSE', 'REVERSED_TO_NOTHING', 'RELEASE'),
    ('REVERSE', 'REVERSED_TO_ALLOW', 'SETTLE'), ('REVERSE', 'REVERSED_TO_BLOCK', 'REVERSE'),
    ('REVERSE', 'REVERSED_TO_ESCALATE', 'HOLD'), ('REVERSE', 'REVERSED_TO_NOTHING', 'RELEASE'),
    ('SETTLE', 'REVERSED_TO_ALLOW', 'SETTLE'), ('SETTLE', 'REVERSED_TO_BLOCK', 'REVERSE'),
    ('SETTLE', 'REVERSED_TO_ESCALATE', 'HOLD'), ('SETTLE', 'REVERSED_TO_NOTHING', 'RELEASE');

INSERT INTO ledger.saga_movement VALUES
    ('CREDIT', 'CLEARING', 'BENEFICIARY', false, NULL), ('DEBIT', 'RESERVE', 'CLEARING', false, NULL),
    ('GIVE_BACK', 'CLEARING', 'BENEFICIARY', false, 'RECALL'),
    ('GIVE_BACK_PART', 'CLEARING', 'BENEFICIARY', true, 'RECALL_PART'),
    ('PART_RECALLED', 'CLEARING', 'PAYER', true, NULL), ('RECALL', 'BENEFICIARY', 'CLEARING', false, 'CREDIT'),
    ('RECALL_PART', 'BENEFICIARY', 'CLEARING', true, 'CREDIT'), ('RESERVE', 'PAYER', 'RESERVE', false, NULL),
    ('REST_RECALLED', 'CLEARING', 'PAYER', true, NULL), ('UNDEBIT', 'CLEARING', 'RESERVE', false, 'DEBIT'),
    ('UNRESERVE', 'RESERVE', 'PAYER', false, 'RESERVE');

INSERT INTO ledger.saga_step VALUES
    ('CREDITED', 'HOLD', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('CREDITED', 'HOLD', 'RECALL', '', 'RECALLING', 'HOLD'),
    ('CREDITED', 'REFUSE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('CREDITED', 'REFUSE', 'RECALL', '', 'RECALLING', 'REFUSE'),
    ('CREDITED', 'REFUSE', 'RECALL_PART', '', 'PART_RECALLING', 'REFUSE'),
    ('CREDITED', 'RELEASE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('CREDITED', 'RELEASE', 'RECALL', '', 'RECALLING', 'RELEASE'),
    ('CREDITED', 'REVERSE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('CREDITED', 'REVERSE', 'RECALL', '', 'RECALLING', 'REVERSE'),
    ('CREDITED', 'REVERSE', 'RECALL_PART', '', 'PART_RECALLING', 'REVERSE'),
    ('CREDITED', 'SETTLE', 'COMPLETE', '', 'SETTLED', 'SETTLE'),
    ('DEBITED', 'HOLD', 'UNDEBIT', '', 'RESERVED', 'HOLD'),
    ('DEBITED', 'REFUSE', 'UNDEBIT', '', 'RESERVED', 'REFUSE'),
    ('DEBITED', 'RELEASE', 'UNDEBIT', '', 'RESERVED', 'RELEASE'),
    ('DEBITED', 'REVERSE', 'UNDEBIT', '', 'RESERVED', 'REVERSE'),
    ('DEBITED', 'SETTLE', 'SUBMIT', '', 'SUBMITTED', 'SETTLE'),
    ('HELD', 'REFUSE', 'UNRESERVE', '', 'UNRESERVED', 'REFUSE'),
    ('HELD', 'RELEASE', 'UNRESERVE', '', 'UNRESERVED', 'RELEASE'),
    ('HELD', 'REVERSE', 'UNRESERVE', '', 'UNRESERVED', 'REVERSE'),
    ('HELD', 'SETTLE', 'DEBIT', '', 'DEBITED', 'SETTLE'), ('IN_DOUBT', 'HOLD', 'CREDIT', '', 'CREDITED', 'HOLD'),
    ('IN_DOUBT', 'HOLD', 'REJECT', '', 'DEBITED', 'HOLD'), ('IN_DOUBT', 'REFUSE', 'CREDIT', '', 'CREDITED', 'REFUSE'),
    ('IN_DOUBT', 'REFUSE', 'REJECT', '', 'DEBITED', 'REFUSE'),
    ('IN_DOUBT', 'RELEASE', 'CREDIT', '', 'CREDITED', 'RELEASE'),
    ('IN_DOUBT', 'RELEASE', 'REJECT', '', 'DEBITED', 'RELEASE'),
    ('IN_DOUBT', 'REVERSE', 'CREDIT', '', 'CREDITED', 'REVERSE'),
    ('IN_DOUBT', 'REVERSE', 'REJECT', '', 'DEBITED', 'REVERSE'),
    ('IN_DOUBT', 'SETTLE', 'CREDIT', '', 'CREDITED', 'SETTLE'),
    ('IN_DOUBT', 'SETTLE', 'REJECT', 'RAIL_REFUSED', 'DEBITED', 'REFUSE'),
    ('NEW', 'HOLD', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'HOLD', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'HOLD', 'DENY', 'OUT_OF_ORDER', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'HOLD', 'RESERVE', '', 'RESERVED', 'HOLD'),
    ('NEW', 'REFUSE', 'DENY', 'OUT_OF_ORDER', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'REFUSE', 'REFUSE', '', 'REFUSED', 'REFUSE'), ('NEW', 'RELEASE', 'RELEASE', '', 'RELEASED', 'RELEASE'),
    ('NEW', 'REVERSE', 'REVERSE', '', 'REVERSED', 'REVERSE'),
    ('NEW', 'SETTLE', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'SETTLE', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'SETTLE', 'DENY', 'OUT_OF_ORDER', 'UNRESERVED', 'REFUSE'),
    ('NEW', 'SETTLE', 'RESERVE', '', 'RESERVED', 'SETTLE'),
    ('PART_RECALLING', 'HOLD', 'DOUBT', '', 'PART_RECALL_IN_DOUBT', 'HOLD'),
    ('PART_RECALLING', 'HOLD', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'HOLD', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'HOLD', 'REST_RECALLED', '', 'UNRESERVED', 'HOLD'),
    ('PART_RECALLING', 'REFUSE', 'DOUBT', '', 'PART_RECALL_IN_DOUBT', 'REFUSE'),
    ('PART_RECALLING', 'REFUSE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'REFUSE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'REFUSE', 'REST_RECALLED', '', 'UNRESERVED', 'REFUSE'),
    ('PART_RECALLING', 'RELEASE', 'DOUBT', '', 'PART_RECALL_IN_DOUBT', 'RELEASE'),
    ('PART_RECALLING', 'RELEASE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'RELEASE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'RELEASE', 'REST_RECALLED', '', 'UNRESERVED', 'RELEASE'),
    ('PART_RECALLING', 'REVERSE', 'DOUBT', '', 'PART_RECALL_IN_DOUBT', 'REVERSE'),
    ('PART_RECALLING', 'REVERSE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'REVERSE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'REVERSE', 'REST_RECALLED', '', 'UNRESERVED', 'REVERSE'),
    ('PART_RECALLING', 'SETTLE', 'DOUBT', '', 'PART_RECALL_IN_DOUBT', 'SETTLE'),
    ('PART_RECALLING', 'SETTLE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'SETTLE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALLING', 'SETTLE', 'REST_RECALLED', '', 'UNRESERVED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'HOLD', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'HOLD', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'HOLD', 'REST_RECALLED', '', 'UNRESERVED', 'HOLD'),
    ('PART_RECALL_IN_DOUBT', 'REFUSE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'REFUSE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'REFUSE', 'REST_RECALLED', '', 'UNRESERVED', 'REFUSE'),
    ('PART_RECALL_IN_DOUBT', 'RELEASE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'RELEASE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'RELEASE', 'REST_RECALLED', '', 'UNRESERVED', 'RELEASE'),
    ('PART_RECALL_IN_DOUBT', 'REVERSE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'REVERSE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'REVERSE', 'REST_RECALLED', '', 'UNRESERVED', 'REVERSE'),
    ('PART_RECALL_IN_DOUBT', 'SETTLE', 'GIVE_BACK_PART', 'PART_RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'SETTLE', 'PART_RECALLED', 'PARTLY_RECALLED', 'CREDITED', 'SETTLE'),
    ('PART_RECALL_IN_DOUBT', 'SETTLE', 'REST_RECALLED', '', 'UNRESERVED', 'SETTLE'),
    ('RECALLING', 'HOLD', 'DOUBT', '', 'RECALL_IN_DOUBT', 'HOLD'),
    ('RECALLING', 'HOLD', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALLING', 'HOLD', 'RECALLED', '', 'DEBITED', 'HOLD'),
    ('RECALLING', 'REFUSE', 'DOUBT', '', 'RECALL_IN_DOUBT', 'REFUSE'),
    ('RECALLING', 'REFUSE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALLING', 'REFUSE', 'RECALLED', '', 'DEBITED', 'REFUSE'),
    ('RECALLING', 'RELEASE', 'DOUBT', '', 'RECALL_IN_DOUBT', 'RELEASE'),
    ('RECALLING', 'RELEASE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALLING', 'RELEASE', 'RECALLED', '', 'DEBITED', 'RELEASE'),
    ('RECALLING', 'REVERSE', 'DOUBT', '', 'RECALL_IN_DOUBT', 'REVERSE'),
    ('RECALLING', 'REVERSE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALLING', 'REVERSE', 'RECALLED', '', 'DEBITED', 'REVERSE'),
    ('RECALLING', 'SETTLE', 'DOUBT', '', 'RECALL_IN_DOUBT', 'SETTLE'),
    ('RECALLING', 'SETTLE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALLING', 'SETTLE', 'RECALLED', '', 'DEBITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'HOLD', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'HOLD', 'RECALLED', '', 'DEBITED', 'HOLD'),
    ('RECALL_IN_DOUBT', 'REFUSE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'REFUSE', 'RECALLED', '', 'DEBITED', 'REFUSE'),
    ('RECALL_IN_DOUBT', 'RELEASE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'RELEASE', 'RECALLED', '', 'DEBITED', 'RELEASE'),
    ('RECALL_IN_DOUBT', 'REVERSE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'REVERSE', 'RECALLED', '', 'DEBITED', 'REVERSE'),
    ('RECALL_IN_DOUBT', 'SETTLE', 'GIVE_BACK', 'RECALL_REFUSED', 'CREDITED', 'SETTLE'),
    ('RECALL_IN_DOUBT', 'SETTLE', 'RECALLED', '', 'DEBITED', 'SETTLE'),
    ('REFUSED', 'HOLD', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('REFUSED', 'HOLD', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('REFUSED', 'HOLD', 'RESERVE', '', 'RESERVED', 'HOLD'),
    ('REFUSED', 'RELEASE', 'RELEASE', '', 'RELEASED', 'RELEASE'),
    ('REFUSED', 'REVERSE', 'REVERSE', '', 'REVERSED', 'REVERSE'),
    ('REFUSED', 'SETTLE', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('REFUSED', 'SETTLE', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('REFUSED', 'SETTLE', 'RESERVE', '', 'RESERVED', 'SETTLE'), ('RESERVED', 'HOLD', 'HOLD', '', 'HELD', 'HOLD'),
    ('RESERVED', 'REFUSE', 'UNRESERVE', '', 'UNRESERVED', 'REFUSE'),
    ('RESERVED', 'RELEASE', 'UNRESERVE', '', 'UNRESERVED', 'RELEASE'),
    ('RESERVED', 'REVERSE', 'UNRESERVE', '', 'UNRESERVED', 'REVERSE'),
    ('RESERVED', 'SETTLE', 'DEBIT', '', 'DEBITED', 'SETTLE'),
    ('REVERSED', 'HOLD', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('REVERSED', 'HOLD', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('REVERSED', 'HOLD', 'RESERVE', '', 'RESERVED', 'HOLD'),
    ('REVERSED', 'RELEASE', 'RELEASE', '', 'RELEASED', 'RELEASE'),
    ('REVERSED', 'SETTLE', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('REVERSED', 'SETTLE', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('REVERSED', 'SETTLE', 'RESERVE', '', 'RESERVED', 'SETTLE'),
    ('SETTLED', 'HOLD', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('SETTLED', 'HOLD', 'RECALL', '', 'RECALLING', 'HOLD'),
    ('SETTLED', 'REFUSE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('SETTLED', 'REFUSE', 'RECALL', '', 'RECALLING', 'REFUSE'),
    ('SETTLED', 'REFUSE', 'RECALL_PART', '', 'PART_RECALLING', 'REFUSE'),
    ('SETTLED', 'RELEASE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('SETTLED', 'RELEASE', 'RECALL', '', 'RECALLING', 'RELEASE'),
    ('SETTLED', 'REVERSE', 'KEEP', 'BENEFICIARY_FUNDS_GONE', 'CREDITED', 'SETTLE'),
    ('SETTLED', 'REVERSE', 'RECALL', '', 'RECALLING', 'REVERSE'),
    ('SETTLED', 'REVERSE', 'RECALL_PART', '', 'PART_RECALLING', 'REVERSE'),
    ('SUBMITTED', 'HOLD', 'CREDIT', '', 'CREDITED', 'HOLD'), ('SUBMITTED', 'HOLD', 'DOUBT', '', 'IN_DOUBT', 'HOLD'),
    ('SUBMITTED', 'HOLD', 'REJECT', '', 'DEBITED', 'HOLD'),
    ('SUBMITTED', 'REFUSE', 'CREDIT', '', 'CREDITED', 'REFUSE'),
    ('SUBMITTED', 'REFUSE', 'DOUBT', '', 'IN_DOUBT', 'REFUSE'),
    ('SUBMITTED', 'REFUSE', 'REJECT', '', 'DEBITED', 'REFUSE'),
    ('SUBMITTED', 'RELEASE', 'CREDIT', '', 'CREDITED', 'RELEASE'),
    ('SUBMITTED', 'RELEASE', 'DOUBT', '', 'IN_DOUBT', 'RELEASE'),
    ('SUBMITTED', 'RELEASE', 'REJECT', '', 'DEBITED', 'RELEASE'),
    ('SUBMITTED', 'REVERSE', 'CREDIT', '', 'CREDITED', 'REVERSE'),
    ('SUBMITTED', 'REVERSE', 'DOUBT', '', 'IN_DOUBT', 'REVERSE'),
    ('SUBMITTED', 'REVERSE', 'REJECT', '', 'DEBITED', 'REVERSE'),
    ('SUBMITTED', 'SETTLE', 'CREDIT', '', 'CREDITED', 'SETTLE'),
    ('SUBMITTED', 'SETTLE', 'DOUBT', '', 'IN_DOUBT', 'SETTLE'),
    ('SUBMITTED', 'SETTLE', 'REJECT', 'RAIL_REFUSED', 'DEBITED', 'REFUSE'),
    ('UNRESERVED', 'HOLD', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('UNRESERVED', 'HOLD', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('UNRESERVED', 'HOLD', 'RESERVE', '', 'RESERVED', 'HOLD'),
    ('UNRESERVED', 'REFUSE', 'REFUSE', '', 'REFUSED', 'REFUSE'),
    ('UNRESERVED', 'RELEASE', 'RELEASE', '', 'RELEASED', 'RELEASE'),
    ('UNRESERVED', 'REVERSE', 'REVERSE', '', 'REVERSED', 'REVERSE'),
    ('UNRESERVED', 'SETTLE', 'DENY', 'ACCOUNT_NOT_OPEN', 'UNRESERVED', 'REFUSE'),
    ('UNRESERVED', 'SETTLE', 'DENY', 'INSUFFICIENT_FUNDS', 'UNRESERVED', 'REFUSE'),
    ('UNRESERVED', 'SETTLE', 'RESERVE', '', 'RESERVED', 'SETTLE');
SELECT control.make_append_only(fixed)
FROM unnest(ARRAY['ledger.saga_hearing', 'ledger.saga_step', 'ledger.saga_movement']::regclass[]) AS fixed;

-- The account of a holder in an execution.
CREATE FUNCTION ledger.account_of(holder text, payer text, beneficiary text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE holder WHEN 'PAYER' THEN payer WHEN 'RESERVE' THEN payer || '/held' WHEN 'CLEARING' THEN '/clearing'
        WHEN 'BENEFICIARY' THEN beneficiary END
$$;

-- Raises the refusal of a row. It names the rule and no content (I10).
CREATE FUNCTION ledger.refuse_row(of_table text, rule text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a row of ledger.% is refused: %', of_table, rule
        USING ERRCODE = 'integrity_constraint_violation', SCHEMA = 'ledger', TABLE = of_table, CONSTRAINT = rule;
END
$$;

-- Positions

-- The executor hears what is audited, so no position of its own lies beyond the audit log's. One that did would have it
-- hear nothing for good, since a position never goes back.
CREATE FUNCTION control.bound_executor_position() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.next_offset > coalesce((
        SELECT audited.next_offset FROM control.consumer_position AS audited
        WHERE audited.consumer = 'audit' AND audited.topic = NEW.topic AND audited.partition = NEW.partition
    ), 0) THEN
        RAISE EXCEPTION 'the position of % in %[%] can''t go beyond the audit log''s', NEW.consumer, NEW.topic,
            NEW.partition USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
REVOKE EXECUTE ON FUNCTION control.bound_executor_position() FROM PUBLIC;
CREATE TRIGGER bound_executor_position BEFORE INSERT OR UPDATE ON control.consumer_position
    FOR EACH ROW WHEN (split_part(NEW.consumer, '-', 1) = 'executor')
    EXECUTE FUNCTION control.bound_executor_position();

-- Executions

-- A time that a record claims, as a column holds it: the nearest that a column can hold (claim_ms in
-- pipeline/domain/times.py). Adding to a time with a zone depends on the session's, by PostgreSQL's book, and a
-- function that does so is called, where this one becomes a part of the query.
CREATE FUNCTION ledger.claimed_time(at_ms bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (timestamp '1970-01-01'
        + least(greatest(at_ms, -62104060800000), 253339228799999) * interval '1 millisecond') AT TIME ZONE 'UTC'
$$;

-- Whether what an execution says of its payment for the decision workers, when it was made and what it was counted as
-- (counted_amount_gbp_minor in pipeline/state/outcome_records.py), is what the decision was made on. It may say less:
-- -1 makes no payee known and takes no amount out of any volume.
CREATE FUNCTION ledger.is_told_as_decided(event_time timestamptz, amount_gbp_minor bigint, snapshot jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (event_time = ledger.claimed_time((snapshot #>> '{transaction,event_time_ms}')::bigint)
        AND (amount_gbp_minor = -1 OR (
            amount_gbp_minor = (snapshot #>> '{features,amount_gbp_minor}')::bigint
            AND snapshot #>> '{features,account_count_1h}' <> '-1'
        ))) IS TRUE
$$;

-- An execution is what the audit log has at its place: the decision with all that is paid under it. So nothing is
-- executed before it is audited. A decision's row is filed under its broker time, or under 1970-01-01; each is looked
-- up by its key, the second where the first has none. A snapshot is unpacked once: what joins it to an empty one keeps
-- it whole in memory, where each look at a stored one unpacks all of it.
CREATE FUNCTION ledger.bind_executions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off AS $$
BEGIN
    PERFORM FROM written
    LEFT JOIN LATERAL (
        SELECT stored.*, stored.snapshot -> 'transaction' AS paid FROM (
            SELECT found.decision_id, found.execution_id, found.logged_at, found.decision, found.transaction_id,
                found.account_id, found.input_snapshot || '{}' AS snapshot
            FROM (VALUES (written.logged_at), (timestamptz '1970-01-01+00')) AS place (filed_at)
            JOIN audit.ai_decision_log AS found
                ON found.filed_at = place.filed_at AND found.topic_partition = written.topic_partition
                AND found.topic_offset = written.topic_offset
            LIMIT 1
        ) AS stored OFFSET 0
    ) AS decided ON true
    LEFT JOIN ledger.saga_hearing AS first ON first.aim = '' AND first.cause = written.cause
    WHERE (written.decision_id, written.execution_id, written.logged_at, written.cause, written.aim)
            IS DISTINCT FROM (decided.decision_id, decided.execution_id, decided.logged_at,
                              'DECIDED_' || decided.decision, first.becomes)
        OR (written.transaction_id, written.account_id) IS DISTINCT FROM (decided.transaction_id, decided.account_id)
        OR (written.transaction_id, written.account_id, written.beneficiary_account_id, written.currency,
            written.amount_minor)
            IS DISTINCT FROM (decided.paid ->> 'transaction_id', decided.paid ->> 'account_id',
                              decided.paid ->> 'beneficiary_account_id', decided.paid ->> 'currency',
                              (decided.paid ->> 'amount_minor')::bigint)
        OR written.caused_at NOT IN (written.logged_at, timestamptz '1970-01-01+00')
        OR NOT ledger.is_told_as_decided(written.event_time, written.amount_gbp_minor, decided.snapshot)
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('execution', 'is_as_audited');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_executions AFTER INSERT ON ledger.execution
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.bind_executions();

-- Causes

-- The record of the audit log at a cause's place; no row where there is none of its kind. One query a kind: a place is
-- looked up by its key.
CREATE FUNCTION ledger.audited_cause(said ledger.cause) RETURNS TABLE (
    decision_id uuid, cause_id uuid, transaction_id text, account_id text, cause text, replaces_kind text,
    replaces_id text, execution_id uuid, event_time timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    epoch CONSTANT timestamptz := '1970-01-01+00';
BEGIN
    IF said.cause LIKE 'DECIDED\_%' THEN
        RETURN QUERY SELECT decided.decision_id, decided.decision_id, decided.transaction_id, decided.account_id,
            'DECIDED_' || decided.decision, NULL::text, NULL::text, decided.execution_id,
            ledger.claimed_time((decided.input_snapshot #>> '{transaction,event_time_ms}')::bigint)
        FROM audit.ai_decision_log AS decided
        WHERE decided.filed_at = ANY (ARRAY[said.caused_at, epoch]) AND decided.topic_partition = said.topic_partition
            AND decided.topic_offset = said.topic_offset;
    ELSIF said.cause LIKE 'REVIEWED\_%' THEN
        RETURN QUERY SELECT reviewed.decision_id, reviewed.review_id, reviewed.transaction_id, reviewed.account_id,
            'REVIEWED_' || reviewed.outcome, NULL::text, NULL::text, NULL::uuid, reviewed.created_at
        FROM audit.review_log AS reviewed
        WHERE reviewed.filed_at = ANY (ARRAY[said.caused_at, epoch]) AND reviewed.topic_partition = said.topic_partition
            AND reviewed.topic_offset = said.topic_offset;
    ELSE
        RETURN QUERY SELECT reversed.decision_id, reversed.reversal_id, reversed.transaction_id, reversed.account_id,
            'REVERSED_TO_' || coalesce(reversed.corrected_outcome, 'NOTHING'), reversed.replaces_kind,
            reversed.replaces_id, NULL::uuid, reversed.created_at
        FROM audit.reversal_log AS reversed
        WHERE reversed.filed_at = ANY (ARRAY[said.caused_at, epoch]) AND reversed.topic_partition = said.topic_partition
            AND reversed.topic_offset = said.topic_offset;
    END IF;
END
$$;

-- The aim that an execution had when a record was heard.
CREATE FUNCTION ledger.aim_before(said ledger.cause) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    found_aim text;
    heard ledger.execution;
BEGIN
    SELECT earlier.aim INTO found_aim FROM ledger.cause AS earlier
    WHERE earlier.execution_id = said.execution_id AND earlier.after_sequence = said.after_sequence
        AND earlier.aim IS NOT NULL AND earlier.topic_offset < said.topic_offset
    ORDER BY earlier.topic_offset DESC LIMIT 1;
    IF FOUND THEN
        RETURN found_aim;
    END IF;
    SELECT * INTO heard FROM ledger.execution AS named WHERE named.execution_id = said.execution_id;
    IF said.after_sequence = 0 THEN
        RETURN heard.aim;
    END IF;
    SELECT taken.aim INTO found_aim FROM ledger.transition AS taken
    WHERE taken.caused_at = heard.caused_at AND taken.execution_id = said.execution_id
        AND taken.sequence = said.after_sequence;
    RETURN found_aim;
END
$$;

-- Why a cause can't stand as it does: what is in force is computed from the audit log's records about the decision, in
-- the order of the topic (pipeline/domain/in_force.py), all of which the ledger must have heard before this one. A
-- reason to ignore a record is proved as an aim is. NULL: it stands rightly. All is looked up by keys.
--   is_in_its_turn       it takes another's place, and isn't of this decision, or of what is in force
--   is_rightly_ignored   it is ignored, and by what the records say it isn't for that reason
CREATE FUNCTION ledger.turn_refusal(said ledger.cause, about uuid, replaces_kind text, replaces_id text, paid_by uuid)
RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    heard ledger.execution;
    in_force record;
    aim_before text;
    is_in_turn boolean;
BEGIN
    SELECT * INTO heard FROM ledger.execution AS named WHERE named.execution_id = said.execution_id;
    IF said.ignored = 'NO_DECISION' THEN
        RETURN CASE WHEN said.cause NOT LIKE 'DECIDED\_%' AND said.execution_id = about AND NOT EXISTS (
            SELECT FROM ledger.execution AS known
            WHERE known.decision_id = about AND known.topic_offset < said.topic_offset
        ) AND NOT EXISTS (
            SELECT FROM ledger.cause AS second
            WHERE second.cause_id = about AND second.cause LIKE 'DECIDED\_%' AND second.topic_offset < said.topic_offset
        ) THEN NULL ELSE 'is_rightly_ignored' END;
    ELSIF said.ignored = 'ALREADY_DECIDED' THEN
        RETURN CASE WHEN said.cause LIKE 'DECIDED\_%' AND paid_by = said.execution_id
            AND heard.decision_id <> said.cause_id THEN NULL ELSE 'is_rightly_ignored' END;
    ELSIF said.ignored = 'OTHER_DECISION' THEN
        RETURN CASE WHEN said.cause NOT LIKE 'DECIDED\_%' AND heard.decision_id <> about AND EXISTS (
            SELECT FROM ledger.cause AS second
            WHERE second.execution_id = said.execution_id AND second.cause_id = about
                AND second.cause LIKE 'DECIDED\_%' AND second.topic_offset < said.topic_offset
        ) THEN NULL ELSE 'is_rightly_ignored' END;
    ELSIF said.cause LIKE 'DECIDED\_%' OR heard.decision_id IS DISTINCT FROM about THEN
        RETURN 'is_in_its_turn';
    ELSIF said.topic_partition <> heard.topic_partition OR said.topic_offset <= heard.topic_offset THEN
        RETURN CASE WHEN said.ignored = 'ELSEWHERE' THEN NULL ELSE 'is_in_its_turn' END;
    ELSIF ledger.is_unheard(said, heard) THEN
        RETURN 'is_in_its_turn';
    END IF;

    SELECT CASE WHEN earlier.cause LIKE 'REVIEWED\_%' THEN 'REVIEW' ELSE 'REVERSAL' END AS kind,
        earlier.cause_id AS record_id, earlier.cause
    INTO in_force FROM ledger.cause AS earlier
    WHERE earlier.execution_id = said.execution_id AND earlier.topic_offset < said.topic_offset
        AND (earlier.ignored IS NULL OR earlier.ignored IN ('ALREADY_RELEASED', 'NOT_HELD'))
    ORDER BY earlier.topic_offset DESC LIMIT 1;
    IF NOT FOUND THEN
        SELECT 'DECISION' AS kind, heard.decision_id AS record_id, heard.cause AS cause INTO in_force;
    END IF;
    is_in_turn := (CASE WHEN said.cause LIKE 'REVIEWED\_%'
        THEN in_force.cause LIKE '%\_ESCALATE' AND ledger.is_of_open_round(said, heard)
        ELSE (replaces_kind, replaces_id) = (in_force.kind, in_force.record_id::text) END) IS TRUE;
    IF said.ignored = (CASE WHEN said.cause LIKE 'REVIEWED\_%' THEN 'OTHER_ROUND' ELSE 'OVERTAKEN' END) THEN
        RETURN CASE WHEN is_in_turn THEN 'is_rightly_ignored' END;
    ELSIF NOT is_in_turn THEN
        RETURN 'is_in_its_turn';
    ELSIF said.ignored IS NULL THEN
        RETURN NULL;
    END IF;
    aim_before := ledger.aim_before(said);
    RETURN CASE WHEN said.ignored = (CASE WHEN aim_before = 'RELEASE' THEN 'ALREADY_RELEASED'
            WHEN said.cause LIKE 'REVIEWED\_%' THEN 'NOT_HELD' END)
        AND NOT EXISTS (
            SELECT FROM ledger.saga_hearing AS sets WHERE sets.aim = aim_before AND sets.cause = said.cause
        ) THEN NULL ELSE 'is_rightly_ignored' END;
END
$$;

-- Whether a review is of the round that is open: the last of as many as the decision was sent to review by then. Where
-- something was heard before the decision itself was, rounds were counted otherwise.
CREATE FUNCTION ledger.is_of_open_round(said ledger.cause, heard ledger.execution) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger.transition AS taken
        WHERE taken.caused_at = heard.caused_at AND taken.execution_id = heard.execution_id AND taken.sequence = 1
            AND taken.reason = 'OUT_OF_ORDER'
    ) OR said.cause_id = control.uuid5('6e0a7d19-c43b-5e21-b7f8-90d15a2c4e63', heard.decision_id || E'\n' || (
        SELECT count(*) + CASE heard.cause WHEN 'DECIDED_ESCALATE' THEN 1 ELSE 0 END FROM ledger.cause AS earlier
        WHERE earlier.execution_id = heard.execution_id AND earlier.topic_offset < said.topic_offset
            AND earlier.cause = 'REVERSED_TO_ESCALATE'
            AND (earlier.ignored IS NULL OR earlier.ignored IN ('ALREADY_RELEASED', 'NOT_HELD'))
    ));
END
$$;

-- Whether the audit log has an earlier review or reversal of the decision that the ledger has not heard. What people had
-- put aside, and what the executor told that nobody proves to have written, is not heard.
CREATE FUNCTION ledger.is_unheard(said ledger.cause, heard ledger.execution) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM (
            SELECT reviewed.review_id AS cause_id, reviewed.topic_partition, reviewed.topic_offset
            FROM audit.review_log AS reviewed WHERE reviewed.decision_id = heard.decision_id
            UNION ALL
            SELECT reversed.reversal_id, reversed.topic_partition, reversed.topic_offset
            FROM audit.reversal_log AS reversed WHERE reversed.decision_id = heard.decision_id
        ) AS told
        WHERE told.topic_partition = heard.topic_partition AND told.topic_offset > heard.topic_offset
            AND told.topic_offset < said.topic_offset
            AND NOT EXISTS (
                SELECT FROM ledger.cause AS known
                WHERE known.execution_id IN (heard.execution_id, heard.decision_id) AND known.cause_id = told.cause_id
            )
            AND NOT EXISTS (
                SELECT FROM control.quarantine AS aside
                WHERE aside.topic_partition = told.topic_partition AND aside.topic_offset = told.topic_offset
            )
            AND NOT EXISTS (
                SELECT FROM control.unproved_record AS unproved
                WHERE unproved.consumer = 'executor' AND unproved.topic_partition = told.topic_partition
                    AND unproved.topic_offset = told.topic_offset
            )
    );
END
$$;

-- A cause is a record of the audit log. One that sets an aim is about this execution's decision, takes the place of the
-- record in force, sets the aim that the saga's table says, and was heard when no later step had been stored; one that
-- is ignored is so for the reason that the records give. These are few, and they are looked at when the transaction
-- ends, because it may store their execution's steps after them.
CREATE FUNCTION ledger.bind_cause() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    audited record;
    heard ledger.execution;
    refusal text;
    next_step record;
BEGIN
    SELECT * INTO audited FROM ledger.audited_cause(NEW);
    IF (NEW.cause_id, NEW.cause, NEW.transaction_id, NEW.account_id, NEW.event_time)
        IS DISTINCT FROM (audited.cause_id, audited.cause, audited.transaction_id, audited.account_id,
                          audited.event_time)
    THEN
        PERFORM ledger.refuse_row('cause', 'is_as_audited');
    END IF;
    refusal := ledger.turn_refusal(
        NEW, audited.decision_id, audited.replaces_kind, audited.replaces_id, audited.execution_id);
    IF refusal IS NOT NULL THEN
        PERFORM ledger.refuse_row('cause', refusal);
    ELSIF NEW.ignored IS NOT NULL AND NEW.ignored NOT IN ('ALREADY_RELEASED', 'NOT_HELD') THEN
        RETURN NULL;  -- it never was in force, and changes nothing
    END IF;

    SELECT * INTO heard FROM ledger.execution AS named WHERE named.execution_id = NEW.execution_id;
    -- now() is when this transaction began, and the time at which everything that it stores was recorded.
    IF EXISTS (
        SELECT FROM ledger.transition AS taken
        WHERE taken.caused_at = heard.caused_at AND taken.execution_id = NEW.execution_id
            AND taken.sequence > NEW.after_sequence AND taken.recorded_at <> now()
    ) THEN
        PERFORM ledger.refuse_row('cause', 'is_heard_after_the_last_step');
    END IF;
    IF NEW.aim IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (
        SELECT FROM ledger.saga_hearing AS sets
        WHERE sets.aim = ledger.aim_before(NEW) AND sets.cause = NEW.cause AND sets.becomes = NEW.aim
    ) THEN
        PERFORM ledger.refuse_row('cause', 'sets_its_aim');
    END IF;
    -- The step after it was taken with this aim, unless another record set one in between.
    SELECT taken.from_state, taken.step, coalesce(taken.reason, '') AS reason INTO next_step
    FROM ledger.transition AS taken
    WHERE taken.caused_at = heard.caused_at AND taken.execution_id = NEW.execution_id
        AND taken.sequence = NEW.after_sequence + 1;
    IF FOUND AND NOT EXISTS (
        SELECT FROM ledger.cause AS later
        WHERE later.execution_id = NEW.execution_id AND later.after_sequence = NEW.after_sequence
            AND later.aim IS NOT NULL AND later.topic_offset > NEW.topic_offset
    ) AND NOT EXISTS (
        SELECT FROM ledger.saga_step AS allowed
        WHERE (allowed.from_state, allowed.aim, allowed.step, allowed.reason)
            = (next_step.from_state, NEW.aim, next_step.step, next_step.reason)
    ) THEN
        PERFORM ledger.refuse_row('cause', 'is_followed');
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER bind_cause AFTER INSERT ON ledger.cause DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.bind_cause();

-- Steps

-- A step belongs to its execution, follows the one before it, and is one that the saga can take from there with the aim
-- that it has: the one that was heard since, else that of the step before. What the rail is asked to pay the books have
-- moved before: every step that moves money has its posting, so the executor stores SUBMIT after the postings.
--
-- Only an execution's first step is looked up with its execution. Every other stands behind one that is filed under the
-- same time, in the same statement or stored, and so on back to the first. Within a statement only the first of an
-- execution's steps is looked up; the others follow it.
CREATE FUNCTION ledger.bind_transitions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off AS $$
BEGIN
    -- The saga's table is hashed once a statement; NOT IN would pass over what is NULL.
    PERFORM FROM (
        SELECT written.execution_id, written.caused_at, written.sequence, written.step, written.from_state,
            written.to_state, written.aim, coalesce(written.reason, '') AS reason,
            lag(written.sequence) OVER following AS sequence_before,
            lag(written.to_state) OVER following AS state_before, lag(written.aim) OVER following AS aim_before,
            lag(written.caused_at) OVER following AS caused_before
        FROM written WINDOW following AS (PARTITION BY written.execution_id ORDER BY written.sequence)
    ) AS taken
    LEFT JOIN ledger.execution AS heard
        ON heard.execution_id = CASE WHEN taken.sequence = 1 THEN taken.execution_id END
    LEFT JOIN ledger.transition AS earlier
        ON earlier.caused_at = taken.caused_at AND earlier.sequence = taken.sequence - 1
        AND earlier.execution_id =
            CASE WHEN taken.sequence_before IS NULL AND taken.sequence > 1 THEN taken.execution_id END
    LEFT JOIN ledger.cause AS said
        ON said.execution_id = taken.execution_id AND said.after_sequence = taken.sequence - 1
        AND said.aim IS NOT NULL AND NOT EXISTS (
            SELECT FROM ledger.cause AS later
            WHERE later.execution_id = said.execution_id AND later.after_sequence = said.after_sequence
                AND later.aim IS NOT NULL AND later.topic_offset > said.topic_offset
        )
    WHERE taken.caused_at IS DISTINCT FROM coalesce(taken.caused_before, earlier.caused_at, heard.caused_at)
        OR taken.sequence_before <> taken.sequence - 1
        OR taken.from_state IS DISTINCT FROM
            CASE WHEN taken.sequence = 1 THEN 'NEW' ELSE coalesce(taken.state_before, earlier.to_state) END
        OR ((taken.from_state, coalesce(said.aim, taken.aim_before, earlier.aim, heard.aim), taken.step, taken.reason,
             taken.to_state, taken.aim)
            IN (SELECT allowed.from_state, allowed.aim, allowed.step, allowed.reason, allowed.to_state, allowed.becomes
                FROM ledger.saga_step AS allowed)) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('transition', 'follows_the_saga');
    END IF;
    IF EXISTS (SELECT FROM written WHERE written.cause = 'RESTORE') AND NOT ledger.is_being_restored() THEN
        PERFORM ledger.refuse_row('transition', 'is_restored_in_a_restore');
    END IF;
    PERFORM FROM written
    WHERE written.step = 'SUBMIT' AND CASE WHEN (
            SELECT count(*) FROM ledger.transition AS step
            WHERE step.caused_at = written.caused_at AND step.execution_id = written.execution_id
                AND step.step IN ('RESERVE', 'DEBIT', 'CREDIT', 'RECALL', 'GIVE_BACK', 'RECALL_PART', 'PART_RECALLED',
                                  'REST_RECALLED', 'GIVE_BACK_PART', 'UNDEBIT', 'UNRESERVE')
        ) <> (
            SELECT count(*) FROM ledger.posting AS moved
            WHERE moved.caused_at = written.caused_at AND moved.execution_id = written.execution_id
        ) THEN (
            SELECT heard.amount_minor FROM ledger.execution AS heard WHERE heard.execution_id = written.execution_id
        ) > 0 END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('transition', 'is_posted');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_transitions AFTER INSERT ON ledger.transition
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.bind_transitions();

-- A recall is a posting by itself, so it is looked at when the transaction ends. There are few.
CREATE FUNCTION ledger.require_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT taken.step, count(*) AS times FROM ledger.transition AS taken
            WHERE taken.caused_at = NEW.caused_at AND taken.execution_id = NEW.execution_id GROUP BY taken.step
        ) AS taken
        JOIN ledger.saga_movement USING (step)
        WHERE taken.times > (
            SELECT count(*) FROM ledger.posting AS moved
            WHERE moved.caused_at = NEW.caused_at AND moved.execution_id = NEW.execution_id AND moved.step = taken.step
        )
    ) AND (SELECT heard.amount_minor FROM ledger.execution AS heard WHERE heard.execution_id = NEW.execution_id) > 0
    THEN
        PERFORM ledger.refuse_row('transition', 'is_posted');
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER require_postings AFTER INSERT ON ledger.transition DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.step IN ('RECALL', 'RECALL_PART')) EXECUTE FUNCTION ledger.require_postings();

-- Postings

-- The parts of one payment that were recalled, one posting after the other: no more comes back than is out, and what
-- ends a recall moves what it began with.
CREATE FUNCTION ledger.require_parts(of_execution uuid, of_caused_at timestamptz, whole_minor bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    returned_minor bigint := 0;
    under_way_minor bigint := 0;
    part record;
    is_right boolean;
BEGIN
    FOR part IN
        SELECT moved.step, moved.amount_minor FROM ledger.posting AS moved
        WHERE moved.caused_at = of_caused_at AND moved.execution_id = of_execution
            AND moved.step IN ('RECALL', 'RECALL_PART', 'PART_RECALLED', 'REST_RECALLED', 'GIVE_BACK_PART')
        ORDER BY moved.number
    LOOP
        is_right := CASE part.step
            WHEN 'RECALL' THEN returned_minor = 0 AND under_way_minor = 0
            WHEN 'RECALL_PART' THEN under_way_minor = 0 AND part.amount_minor <= whole_minor - returned_minor
            WHEN 'REST_RECALLED' THEN part.amount_minor = under_way_minor
                AND returned_minor + under_way_minor = whole_minor
            WHEN 'PART_RECALLED' THEN part.amount_minor = under_way_minor
                AND returned_minor + under_way_minor < whole_minor
            ELSE part.amount_minor = under_way_minor
        END;
        IF is_right IS NOT TRUE THEN
            PERFORM ledger.refuse_row('posting', 'is_a_part_that_is_out');
        END IF;
        IF part.step = 'RECALL_PART' THEN
            under_way_minor := part.amount_minor;
        ELSIF part.step = 'REST_RECALLED' THEN
            returned_minor := 0;
            under_way_minor := 0;
        ELSIF part.step <> 'RECALL' THEN
            returned_minor := returned_minor + CASE part.step WHEN 'PART_RECALLED' THEN part.amount_minor ELSE 0 END;
            under_way_minor := 0;
        END IF;
    END LOOP;
END
$$;

-- No account is taken below its limit, nor a recall below zero, without what is set aside of it for people
-- (ledger.means, 0093_rail_statement.sql). Whoever takes has locked the account, so that two who take at once see each
-- other.
CREATE FUNCTION ledger.require_funds(account_ids text[], currencies text[], are_spent boolean[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM ledger.lock_accounts(account_ids, currencies);
    PERFORM FROM unnest(account_ids, currencies, are_spent) AS taken (account_id, currency, is_spent)
    CROSS JOIN LATERAL ledger.means(taken.account_id, taken.currency) AS has
    WHERE (taken.is_spent AND has.overdraft_limit_minor IS NULL)
        OR has.there_minor < CASE WHEN taken.is_spent THEN -has.overdraft_limit_minor ELSE 0 END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('posting', 'is_covered');
    END IF;
END
$$;

-- A posting moves what its step moves, from whom and to whom that moves it, once for each time that the step was taken:
-- an attempt is one of those if as many steps of its name are stored. What no step moves is money from outside, as its
-- row of ledger.funding says. What the rail has paid or taken back already, and a ledger that was put back takes over
-- (RESTORE), has moved whether the funds for it are there or not; that is so of this very attempt, and while a restore is
-- under way (0093_rail_statement.sql), so it is asked of the attempts only then. The plans of these functions are made
-- while tables are small, and kept: they must look rows up all the same.
CREATE FUNCTION ledger.bind_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off AS $$
DECLARE
    account_ids text[];
    currencies text[];
    are_spent boolean[];
    is_being_restored boolean;
BEGIN
    PERFORM FROM written
    -- The few movements are read once a statement, and kept.
    LEFT JOIN (SELECT * FROM ledger.saga_movement OFFSET 0) AS moves ON moves.step = written.step
    LEFT JOIN ledger.execution AS heard ON heard.execution_id = written.execution_id
    LEFT JOIN ledger.funding AS funded
        ON funded.execution_id = CASE WHEN moves.step IS NULL THEN written.execution_id END
    WHERE CASE WHEN moves.step IS NULL THEN
            (written.posting_id, written.step, written.attempt, written.source_account_id,
             written.destination_account_id, written.currency, written.amount_minor, written.caused_at, written.reverses)
            IS DISTINCT FROM (funded.execution_id, 'FUND', 1, '/funding', funded.account_id, funded.currency,
                              funded.amount_minor, funded.caused_at, NULL::uuid)
        ELSE
            get_byte(uuid_send(written.posting_id), 6) >> 4 <> 5
            OR (written.source_account_id, written.destination_account_id, written.currency, written.caused_at)
            IS DISTINCT FROM (ledger.account_of(moves.source, heard.account_id, heard.beneficiary_account_id),
                              ledger.account_of(moves.destination, heard.account_id, heard.beneficiary_account_id),
                              heard.currency, heard.caused_at)
            OR (NOT moves.is_part AND written.amount_minor <> heard.amount_minor)
            OR (written.event_time <> heard.event_time AND NOT EXISTS (
                SELECT FROM ledger.cause AS said
                WHERE said.execution_id = written.execution_id AND said.event_time = written.event_time
                    AND said.ignored IS NULL
            ))
            OR NOT EXISTS (
                SELECT FROM ledger.transition AS taken
                WHERE taken.caused_at = written.caused_at AND taken.execution_id = written.execution_id
                    AND taken.step = written.step
                OFFSET written.attempt - 1
            )
            OR (moves.reverses IS NULL) <> (written.reverses IS NULL)
            OR (moves.reverses IS NOT NULL AND NOT EXISTS (
                SELECT FROM ledger.posting AS undone
                WHERE undone.caused_at = written.caused_at AND undone.execution_id = written.execution_id
                    AND undone.step = moves.reverses AND undone.posting_id = written.reverses
            ))
        END
    LIMIT 1;
    IF FOUND THEN
        PERFORM ledger.refuse_row('posting', 'is_of_its_step');
    END IF;
    PERFORM ledger.require_parts(recalled.execution_id, recalled.caused_at, heard.amount_minor)
    FROM (
        SELECT DISTINCT written.execution_id, written.caused_at FROM written
        WHERE written.step IN ('RECALL', 'RECALL_PART', 'PART_RECALLED', 'REST_RECALLED', 'GIVE_BACK_PART')
    ) AS recalled
    JOIN ledger.execution AS heard USING (execution_id);
    -- Where no restore ever began, the function needn't be planned anew for each statement.
    is_being_restored := EXISTS (SELECT FROM ledger.restore_begun) AND ledger.is_being_restored();
    SELECT array_agg(taking.account_id), array_agg(taking.currency), array_agg(taking.is_spent)
    INTO account_ids, currencies, are_spent
    FROM (
        SELECT written.source_account_id AS account_id, written.currency, bool_or(written.step = 'RESERVE') AS is_spent
        FROM written
        WHERE written.step IN ('RESERVE', 'RECALL', 'RECALL_PART') AND CASE WHEN is_being_restored THEN (
            SELECT taken.cause FROM ledger.transition AS taken
            WHERE taken.caused_at = written.caused_at AND taken.execution_id = written.execution_id
                AND taken.step = written.step
            ORDER BY taken.sequence LIMIT 1 OFFSET written.attempt - 1
        ) END IS DISTINCT FROM 'RESTORE'
        GROUP BY 1, 2
    ) AS taking;
    IF account_ids IS NOT NULL THEN
        PERFORM ledger.require_funds(account_ids, currencies, are_spent);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_postings AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.bind_postings();

-- A recovery case is about a step that left money out, or about a payment of which the rail says nothing, or other than
-- the records do (0093_rail_statement.sql). That the rail has forgotten a key is said of the doubt that a payment is in,
-- and of nothing else: people rule on it (0095_rulings.sql). That it says otherwise after all is said of a payment that a
-- ruling has ended. Neither of the last two is about a doubt, or a step to come, whose own case it would keep out.
CREATE FUNCTION ledger.bind_recovery() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ledger.execution AS heard
        WHERE heard.execution_id = NEW.execution_id AND heard.currency = NEW.currency
            AND NEW.missing_minor <= heard.amount_minor
            AND (NEW.claimed_account_id IS NULL OR (
                NEW.reason = 'RAIL_PAID_OTHERWISE' AND NEW.claimed_minor <= heard.amount_minor
                AND NEW.claimed_account_id IN (heard.account_id, heard.beneficiary_account_id)
            ))
            AND (EXISTS (
                SELECT FROM ledger.transition AS taken
                WHERE taken.caused_at = heard.caused_at AND taken.execution_id = heard.execution_id
                    AND taken.sequence = NEW.sequence
                    AND CASE NEW.reason
                        WHEN 'RAIL_KEY_FORGOTTEN' THEN taken.step = 'DOUBT'
                        WHEN 'RAIL_PAID_OTHERWISE' THEN taken.step <> 'DOUBT'
                        WHEN 'RULING_CONTRADICTED' THEN taken.step <> 'DOUBT' AND EXISTS (
                            SELECT FROM ledger.transition AS step
                            WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
                                AND step.sequence <= NEW.sequence AND step.cause = 'RULING')
                        ELSE taken.reason = NEW.reason END
            ) OR (NEW.reason = 'RAIL_PAID_OTHERWISE' AND NEW.sequence = 1))
    ) THEN
        PERFORM ledger.refuse_row('recovery_case', 'is_of_its_step');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bind_recovery AFTER INSERT ON ledger.recovery_case
    FOR EACH ROW EXECUTE FUNCTION ledger.bind_recovery();


-- What is wrong all the same, for reconciliation and `fraud ledger check`. These views state the rules once more.

-- Executions and what is wrong with them.
--   EXECUTION_UNFOUNDED  the audit log has no decision at its place
--   HEARD_OTHERWISE      ids, payer, payee, currency, amount, outcome, time or worth are not the decision's
--   STEPPED_OTHERWISE    its steps are not a way through the saga, or their aims are none that it had
--   MISPLACED            its postings don't sum to what its state says
CREATE VIEW ledger.execution_fault AS
SELECT heard.execution_id, heard.topic_partition, heard.topic_offset, found.fault
FROM ledger.execution AS heard
LEFT JOIN audit.ai_decision_log AS decided
    ON decided.filed_at = ANY (ARRAY[heard.logged_at, timestamptz '1970-01-01+00'])
    AND decided.topic_partition = heard.topic_partition AND decided.topic_offset = heard.topic_offset
LEFT JOIN LATERAL (
    SELECT to_state AS state FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
    ORDER BY sequence DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT sum(CASE WHEN moved.destination_account_id = '/clearing' THEN moved.amount_minor
            WHEN moved.source_account_id = '/clearing' THEN -moved.amount_minor ELSE 0 END) AS in_clearing,
        sum(CASE WHEN right(moved.destination_account_id, 5) = '/held' THEN moved.amount_minor
            WHEN right(moved.source_account_id, 5) = '/held' THEN -moved.amount_minor ELSE 0 END) AS set_aside,
        sum(CASE WHEN moved.step IN ('CREDIT', 'GIVE_BACK', 'GIVE_BACK_PART') THEN moved.amount_minor
            WHEN moved.step IN ('RECALL', 'RECALL_PART') THEN -moved.amount_minor ELSE 0 END) AS paid_out,
        sum(CASE WHEN moved.step IN ('PART_RECALLED', 'REST_RECALLED') THEN moved.amount_minor ELSE 0 END) AS returned
    FROM ledger.posting AS moved
    WHERE moved.caused_at = heard.caused_at AND moved.execution_id = heard.execution_id
) AS place ON true
CROSS JOIN LATERAL (
    SELECT 'EXECUTION_UNFOUNDED' AS fault WHERE decided.decision_id IS NULL
    UNION ALL
    SELECT 'HEARD_OTHERWISE' WHERE decided.decision_id IS NOT NULL
        AND (heard.decision_id, heard.execution_id, heard.transaction_id, heard.account_id, heard.beneficiary_account_id,
             heard.currency, heard.amount_minor, heard.cause,
             ledger.is_told_as_decided(heard.event_time, heard.amount_gbp_minor, decided.input_snapshot))
        IS DISTINCT FROM (decided.decision_id, decided.execution_id, decided.transaction_id, decided.account_id,
            decided.input_snapshot #>> '{transaction,beneficiary_account_id}',
            decided.input_snapshot #>> '{transaction,currency}',
            (decided.input_snapshot #>> '{transaction,amount_minor}')::bigint, 'DECIDED_' || decided.decision, true)
    UNION ALL
    SELECT 'STEPPED_OTHERWISE' WHERE EXISTS (
        SELECT FROM (
            SELECT step.sequence, step.step, step.from_state, step.to_state, step.aim, step.reason,
                row_number() OVER way AS place, lag(step.to_state, 1, 'NEW') OVER way AS state_before,
                lag(step.aim, 1, heard.aim) OVER way AS aim_before
            FROM ledger.transition AS step
            WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
            WINDOW way AS (ORDER BY step.sequence)
        ) AS taken
        LEFT JOIN LATERAL (
            SELECT cause.aim FROM ledger.cause
            WHERE cause.execution_id = heard.execution_id AND cause.after_sequence = taken.sequence - 1
                AND cause.aim IS NOT NULL
            ORDER BY cause.topic_offset DESC LIMIT 1
        ) AS said ON true
        LEFT JOIN ledger.saga_step AS allowed
            ON allowed.from_state = taken.from_state AND allowed.aim = coalesce(said.aim, taken.aim_before)
            AND allowed.step = taken.step AND allowed.reason = coalesce(taken.reason, '')
        WHERE taken.place <> taken.sequence OR taken.from_state <> taken.state_before
            OR (taken.to_state, taken.aim) IS DISTINCT FROM (allowed.to_state, allowed.becomes)
    )
    UNION ALL
    SELECT 'MISPLACED' WHERE NOT CASE
            WHEN last.state IN ('PART_RECALLING', 'PART_RECALL_IN_DOUBT')
                THEN coalesce(place.in_clearing, 0) BETWEEN least(1, heard.amount_minor) AND heard.amount_minor
            WHEN last.state IN ('DEBITED', 'SUBMITTED', 'IN_DOUBT', 'RECALLING', 'RECALL_IN_DOUBT')
                THEN coalesce(place.in_clearing, 0) = heard.amount_minor
            ELSE coalesce(place.in_clearing, 0) = 0 END
        OR coalesce(place.set_aside, 0) <> CASE WHEN last.state IN ('RESERVED', 'HELD') THEN heard.amount_minor ELSE 0 END
        OR coalesce(place.paid_out, 0) NOT BETWEEN 0 AND heard.amount_minor
        OR (last.state IN ('CREDITED', 'SETTLED')
            AND coalesce(place.paid_out, 0) + least(coalesce(place.returned, 0), heard.amount_minor) < heard.amount_minor)
) AS found;

-- Reviews, reversals and second decisions that the ledger has otherwise than the audit log, or heeds or ignores otherwise
-- than what was in force there.
CREATE VIEW ledger.cause_fault AS
SELECT said.execution_id, said.cause_id, said.topic_partition, said.topic_offset
FROM ledger.cause AS said
LEFT JOIN LATERAL ledger.audited_cause(said) AS audited ON true
WHERE (said.cause_id, said.cause, said.event_time)
        IS DISTINCT FROM (audited.cause_id, audited.cause, audited.event_time)
    OR ledger.turn_refusal(
        said, audited.decision_id, audited.replaces_kind, audited.replaces_id, audited.execution_id) IS NOT NULL;

-- Payments that are held although no case can free them any more: none is open, or it should have ended by then. Each
-- with the place of the record that had it held, so that a later hold of the same payment is another.
CREATE INDEX transition_hold ON ledger.transition (execution_id, sequence) WHERE to_state = 'HELD';
CREATE VIEW ledger.stale_hold AS
SELECT heard.execution_id, heard.topic_partition, coalesce(held_by.topic_offset, heard.topic_offset) AS topic_offset,
    holds.recorded_at
FROM ledger.transition AS holds
JOIN ledger.execution AS heard USING (execution_id)
LEFT JOIN LATERAL (
    SELECT cause.topic_offset FROM ledger.cause
    WHERE cause.execution_id = heard.execution_id AND cause.aim = 'HOLD'
    ORDER BY cause.topic_offset DESC LIMIT 1
) AS held_by ON true
WHERE holds.to_state = 'HELD' AND holds.recorded_at < now() - interval '15 minutes'
    AND NOT EXISTS (
        SELECT FROM ledger.transition AS later
        WHERE later.caused_at = holds.caused_at AND later.execution_id = holds.execution_id
            AND later.sequence > holds.sequence
    )
    AND NOT EXISTS (
        SELECT FROM review.case_under_way AS open
        WHERE open.decision_id = heard.decision_id AND open.expires_at > now() - interval '15 minutes'
    );

-- Sagas that were turned from taking money back, without the case that tells a person of it.
CREATE VIEW ledger.untold_recovery AS
SELECT taken.execution_id, taken.sequence, heard.topic_partition, heard.topic_offset
FROM ledger.transition AS taken JOIN ledger.execution AS heard USING (execution_id)
WHERE taken.reason IN ('BENEFICIARY_FUNDS_GONE', 'RECALL_REFUSED', 'PARTLY_RECALLED', 'PART_RECALL_REFUSED')
    AND NOT EXISTS (
        SELECT FROM ledger.recovery_case AS told
        WHERE told.execution_id = taken.execution_id AND told.sequence = taken.sequence AND told.reason = taken.reason
    );

GRANT SELECT ON SEQUENCE ledger.posting_number TO fraud_reader;
-- The views call these for whoever looks.
GRANT EXECUTE ON FUNCTION ledger.account_of(text, text, text), ledger.claimed_time(bigint),
    ledger.is_told_as_decided(timestamptz, bigint, jsonb) TO fraud_reader;
REVOKE EXECUTE ON FUNCTION ledger.audited_cause(ledger.cause), ledger.aim_before(ledger.cause),
    ledger.turn_refusal(ledger.cause, uuid, text, text, uuid), ledger.is_unheard(ledger.cause, ledger.execution),
    ledger.is_of_open_round(ledger.cause, ledger.execution) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.audited_cause(ledger.cause), ledger.turn_refusal(ledger.cause, uuid, text, text, uuid)
    TO fraud_reader;

-- Records of the decisions topic that the audit log holds as put aside: nothing can be executed by them.
CREATE FUNCTION ledger.put_aside_by_audit(partitions integer[], firsts bigint[], ends bigint[])
RETURNS TABLE (topic_partition integer, topic_offset bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT aside.topic_partition, aside.topic_offset
    FROM unnest(partitions, firsts, ends) AS span (at_partition, first_offset, end_offset)
    JOIN audit.quarantined AS aside ON aside.topic_partition = span.at_partition
        AND aside.topic_offset >= span.first_offset AND aside.topic_offset < span.end_offset
$$;
REVOKE EXECUTE ON FUNCTION ledger.put_aside_by_audit(integer[], bigint[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.put_aside_by_audit(integer[], bigint[], bigint[]) TO fraud_executor;
