-- The ledger: accounts, what was to be done about each decision, the steps taken, and double-entry postings.
--
-- Everything here is only ever appended. The state of a saga and the balance of an account follow from the rows. In all
-- rows of an execution, caused_at is the time under which it is filed: the broker's time of the decision's record on
-- decisions.v1, or 1970-01-01 where no month can take that (0082_trusted_time.sql). So a primary key of a partitioned
-- table is unique over all time, because the register below holds one caused_at for each execution.

CREATE TABLE ledger.account (
    account_id text NOT NULL CHECK (account_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    overdraft_limit_minor bigint NOT NULL CHECK (overdraft_limit_minor >= 0),
    opened_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, currency)
);

-- The register holds one row for each decision that was heard. It isn't partitioned, so that its key holds over all
-- time.
CREATE TABLE ledger.execution (
    execution_id uuid PRIMARY KEY,
    decision_id uuid NOT NULL,
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    beneficiary_account_id text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),  -- 0 is a check of the account, which posts nothing
    cause text NOT NULL CHECK (cause IN ('DECIDED_ALLOW', 'DECIDED_ESCALATE', 'DECIDED_BLOCK')),
    aim text NOT NULL,
    event_time timestamptz NOT NULL,
    caused_at timestamptz NOT NULL,
    logged_at timestamptz,  -- the broker's time of the decision's record, whatever it was filed under
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now()
);
-- A restart looks for the decision that was heard last.
CREATE INDEX execution_place ON ledger.execution (topic_partition, topic_offset);

-- Reviews and reversals that were heard about an execution after its decision, including those that changed nothing.
CREATE TABLE ledger.cause (
    execution_id uuid NOT NULL,
    cause_id uuid NOT NULL,  -- the review's or the reversal's own
    cause text NOT NULL,
    aim text,
    ignored text CHECK ((aim IS NULL) <> (ignored IS NULL)),  -- the reason why it changed nothing
    after_sequence integer NOT NULL CHECK (after_sequence >= 0),  -- number of steps taken before it was heard
    transaction_id text NOT NULL,
    account_id text NOT NULL,
    event_time timestamptz NOT NULL,
    caused_at timestamptz NOT NULL,  -- the broker's time of its own record
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, cause_id, topic_partition, topic_offset)
);
-- Each is heard once. A copy that doesn't stand behind its decision is no hearing, and keeps the record itself from none.
CREATE UNIQUE INDEX cause_once ON ledger.cause (execution_id, cause_id) WHERE ignored IS DISTINCT FROM 'ELSEWHERE';
CREATE INDEX cause_place ON ledger.cause (topic_partition, topic_offset);

-- The steps of every saga; the to_state of the last one is the saga's state.
CREATE TABLE ledger.transition (
    execution_id uuid NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    step text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    aim text NOT NULL,
    cause text NOT NULL CHECK (cause IN ('DECISION', 'REVIEW', 'REVERSAL', 'RAIL')),
    reason text,
    caused_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caused_at, execution_id, sequence)
) PARTITION BY RANGE (caused_at);
-- This index finds the steps on which the rail owes an answer; it holds few rows.
CREATE INDEX transition_doubt ON ledger.transition (execution_id, sequence)
    WHERE to_state IN ('IN_DOUBT', 'RECALL_IN_DOUBT');

-- A posting moves its amount from one account to another, so the sum over all accounts is zero by construction (I6).
CREATE SEQUENCE ledger.posting_number AS bigint CACHE 1;
CREATE TABLE ledger.posting (
    number bigint NOT NULL DEFAULT nextval('ledger.posting_number') CHECK (number > 0),
    posting_id uuid NOT NULL,
    execution_id uuid NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    source_account_id text NOT NULL,
    destination_account_id text NOT NULL CHECK (destination_account_id <> source_account_id),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    event_time timestamptz NOT NULL,
    caused_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    reverses uuid,
    PRIMARY KEY (caused_at, execution_id, step, attempt)
) PARTITION BY RANGE (caused_at);
CREATE INDEX posting_source ON ledger.posting (source_account_id, currency, number) INCLUDE (amount_minor);
CREATE INDEX posting_destination ON ledger.posting (destination_account_id, currency, number) INCLUDE (amount_minor);

-- The register of the postings that no decision caused: money that came in from outside, each once.
CREATE TABLE ledger.funding (
    execution_id uuid PRIMARY KEY,
    account_id text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    caused_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (account_id, currency) REFERENCES ledger.account
);

-- The balance of an account through a posting's number, so that a balance never sums more than the tail after it.
CREATE TABLE ledger.balance_checkpoint (
    account_id text NOT NULL,
    currency text NOT NULL,
    through_number bigint NOT NULL CHECK (through_number >= 0),
    balance_minor numeric NOT NULL CHECK (balance_minor = trunc(balance_minor)),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, currency, through_number)
);

-- Posting numbers are given before commits, so "through number n" is only whole while nobody has one under way. Whoever
-- inserts into ledger.posting holds ROW EXCLUSIVE on it until the commit; a checkpoint takes SHARE, which waits for
-- those and keeps further ones waiting. No role that only reads may take a lock that is in the way of either. The job that
-- makes partitions may, and so may a treasurer's open transaction: a checkpoint gives up soon, and its executor tries
-- again ever more rarely.

-- Appends an account's present balance; returns true where there was anything to append.
CREATE FUNCTION ledger.take_checkpoint(of_account text, of_currency text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1s' AS $$
DECLARE
    through bigint;
BEGIN
    LOCK TABLE ONLY ledger.posting IN SHARE MODE;
    SELECT max(number) INTO through FROM (
        SELECT max(number) AS number FROM ledger.posting
        WHERE source_account_id = of_account AND currency = of_currency
        UNION ALL
        SELECT max(number) FROM ledger.posting
        WHERE destination_account_id = of_account AND currency = of_currency
    ) AS last;
    IF through IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO ledger.balance_checkpoint (account_id, currency, through_number, balance_minor)
    SELECT of_account, of_currency, through, standing.balance_minor
    FROM ledger.standing(of_account, of_currency) AS standing
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END
$$;

-- Returns an account's present balance, summed from its last checkpoint on, and how many postings that took. A balance
-- is numeric: whatever the amounts are that it sums, it doesn't overflow, which would stop everybody who pays. It has
-- no settings of its own, so that it becomes a part of the query that asks.
CREATE FUNCTION ledger.standing(of_account text, of_currency text) RETURNS TABLE (balance_minor numeric, tail bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(checkpoint.balance_minor, 0) + since.amount_minor, since.postings
    FROM (SELECT) AS one
    LEFT JOIN LATERAL (
        SELECT was.through_number, was.balance_minor FROM ledger.balance_checkpoint AS was
        WHERE was.account_id = of_account AND was.currency = of_currency
        ORDER BY was.through_number DESC LIMIT 1
    ) AS checkpoint ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(entry.amount_minor), 0) AS amount_minor, count(*) AS postings FROM (
            SELECT gained.amount_minor FROM ledger.posting AS gained
            WHERE gained.destination_account_id = of_account AND gained.currency = of_currency
                AND gained.number > coalesce(checkpoint.through_number, 0)
            UNION ALL
            SELECT -spent.amount_minor FROM ledger.posting AS spent
            WHERE spent.source_account_id = of_account AND spent.currency = of_currency
                AND spent.number > coalesce(checkpoint.through_number, 0)
        ) AS entry
    ) AS since
$$;

-- Each posting as its two entries.
CREATE VIEW ledger.entry AS
SELECT source_account_id AS account_id, -amount_minor AS amount_minor, currency, number, posting_id, execution_id, step,
    event_time, caused_at, recorded_at
FROM ledger.posting
UNION ALL
SELECT destination_account_id, amount_minor, currency, number, posting_id, execution_id, step, event_time, caused_at,
    recorded_at
FROM ledger.posting;

-- Each execution with its state, which is NULL where its decision was heard but no step was taken yet.
CREATE VIEW ledger.execution_state AS
SELECT heard.*, last.to_state AS state, coalesce(last.aim, heard.aim) AS last_aim, last.sequence, last.reason,
    last.recorded_at AS changed_at
FROM ledger.execution AS heard
LEFT JOIN LATERAL (
    SELECT to_state, aim, sequence, reason, recorded_at FROM ledger.transition
    WHERE transition.caused_at = heard.caused_at AND transition.execution_id = heard.execution_id
    ORDER BY sequence DESC LIMIT 1
) AS last ON true;

-- The steps with the executions that they belong to.
CREATE VIEW ledger.saga_transition AS
SELECT transition.execution_id, heard.decision_id, heard.transaction_id, heard.account_id, transition.sequence,
    transition.step, transition.from_state, transition.to_state, transition.cause,
    jsonb_strip_nulls(jsonb_build_object('aim', transition.aim, 'reason', transition.reason)) AS detail,
    heard.topic_partition, heard.topic_offset, transition.caused_at, transition.recorded_at
FROM ledger.transition
JOIN ledger.execution AS heard USING (execution_id);

SELECT control.make_append_only(logged)
FROM unnest(ARRAY['ledger.account', 'ledger.execution', 'ledger.cause', 'ledger.transition', 'ledger.posting',
                  'ledger.funding', 'ledger.balance_checkpoint']::regclass[]) AS logged;

GRANT USAGE ON SCHEMA ledger TO fraud_executor;
GRANT SELECT, INSERT ON ledger.account, ledger.execution, ledger.cause, ledger.transition, ledger.posting,
    ledger.funding, ledger.balance_checkpoint TO fraud_executor;
GRANT SELECT ON ledger.entry, ledger.execution_state, ledger.saga_transition TO fraud_executor;
GRANT USAGE ON SEQUENCE ledger.posting_number TO fraud_executor;
GRANT EXECUTE ON FUNCTION ledger.take_checkpoint(text, text), ledger.standing(text, text)
    TO fraud_executor;
GRANT EXECUTE ON FUNCTION ledger.standing(text, text) TO fraud_reader;
