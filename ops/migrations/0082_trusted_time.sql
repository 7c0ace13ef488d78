-- Time that is trusted, and locks that only their owner can take.
--
-- Partitions are made ahead by a job with a role of its own, never by a service. The broker's time says in which of them
-- a row is filed; what no month can take has a place of its own. A record that can't be stored is put aside by two
-- people. No lock that a service waits for can be taken by a role that only reads.

-- Roles

-- The role of the job that makes partitions; it can do nothing else. Roles belong to the whole server.
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_partitions') THEN
        CREATE ROLE fraud_partitions LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO fraud_partitions', current_database());
END
$roles$;
GRANT USAGE ON SCHEMA control TO fraud_partitions;

-- Limits of every role. They end what an honest process has forgotten. A hostile one can set all but the last to
-- another value, which is why nothing below rests on them; the number of its connections it can't change. Together
-- they are 92, and PostgreSQL's default has room for 97 besides superusers.
DO $limits$
DECLARE
    limited record;
BEGIN
    FOR limited IN
        SELECT * FROM (VALUES
            ('fraud_audit', '60s', '15s', '60s', 20),
            ('fraud_executor', '60s', '15s', '60s', 24),
            ('fraud_review', '60s', '15s', '60s', 16),
            ('fraud_reconcile', '60s', '15s', '60s', 6),
            ('fraud_rollback', '30min', '15s', '10min', 8),
            ('fraud_reader', '5min', '5s', '30s', 16),
            ('fraud_partitions', '60s', '10s', '10s', 2)
        ) AS role_limit (role_name, statement_limit, lock_limit, idle_limit, connections)
    LOOP
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', limited.role_name, limited.connections);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', limited.role_name, limited.statement_limit);
        EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', limited.role_name, limited.lock_limit);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', limited.role_name,
                       limited.idle_limit);
    END LOOP;
END
$limits$;

-- Partitions (0001_foundation.sql)

-- The partition that takes a table's rows of a month, or NULL.
CREATE FUNCTION control.partition_of_month(parent regclass, at_time timestamptz) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog SET timezone = 'UTC' AS $$
    SELECT part.oid::regclass
    FROM pg_class AS whole
    JOIN pg_inherits AS inherited ON inherited.inhparent = whole.oid
    JOIN pg_class AS part ON part.oid = inherited.inhrelid
    WHERE whole.oid = parent AND part.relname = whole.relname || to_char(at_time, '_YYYY_MM') AND at_time >= '2020-01-01+00'
$$;

-- Whether a row of this broker time is filed under it: the month has a partition, and by the server's clock the time
-- may have come. A day is allowed to clocks that differ.
CREATE FUNCTION control.is_month_taken(parent regclass, at_time timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT at_time <= now() + interval '1 day' AND control.partition_of_month(parent, at_time) IS NOT NULL
$$;

-- The time under which a row of this time is filed: that one, or 1970-01-01, whose partition is always there.
CREATE FUNCTION control.filing_time(parent regclass, at_time timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN control.is_month_taken(parent, at_time) THEN at_time ELSE timestamptz '1970-01-01+00' END
$$;

-- How many months after the present one each table has partitions for, without a gap; -1 where the present one has none.
CREATE FUNCTION control.partition_reach() RETURNS TABLE (parent regclass, months integer)
LANGUAGE sql STABLE SET search_path = pg_catalog SET timezone = 'UTC' AS $$
    SELECT tables.parent, (
        SELECT min(ahead) - 1 FROM generate_series(0, 25) AS ahead
        WHERE ahead = 25 OR control.partition_of_month(
            tables.parent, date_trunc('month', now(), 'UTC') + make_interval(months => ahead)) IS NULL
    )
    FROM control.partitioned_tables() AS tables
$$;

-- Makes the partitions of one month, of every table.
CREATE FUNCTION control.ensure_month(at_time timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT control.ensure_partition(ours.parent, at_time) FROM control.partitioned_tables() AS ours
$$;

-- How many rows stand outside every month, by table.
CREATE FUNCTION control.unfiled_rows() RETURNS TABLE (parent regclass, unfiled bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    FOR parent IN SELECT ours.parent FROM control.partitioned_tables() AS ours LOOP
        EXECUTE format('SELECT count(*) FROM %s_unfiled', parent) INTO unfiled;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA control FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.ensure_month(timestamptz), control.ensure_all_partitions(integer) TO fraud_partitions;
GRANT EXECUTE ON FUNCTION control.partitioned_tables(), control.partition_of_month(regclass, timestamptz),
    control.is_month_taken(regclass, timestamptz), control.filing_time(regclass, timestamptz), control.partition_reach()
    TO fraud_service, fraud_reader, fraud_partitions;
GRANT EXECUTE ON FUNCTION control.unfiled_rows() TO fraud_service, fraud_reader;

-- Locks

-- Accounts whose balances a batch looks at are locked as rows. A right to lock them would be a right to change them, so
-- the executor calls this instead.
CREATE TABLE ledger.guarded_account (
    account_id text NOT NULL CHECK (account_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    PRIMARY KEY (account_id, currency)
);
CREATE FUNCTION ledger.lock_accounts(account_ids text[], currencies text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    -- An account that was never opened has a balance, too: what payments to it have brought.
    INSERT INTO ledger.guarded_account (account_id, currency)
    SELECT wanted.account_id, wanted.currency FROM unnest(account_ids, currencies) AS wanted (account_id, currency)
    WHERE NOT EXISTS (
        SELECT FROM ledger.guarded_account AS known
        WHERE known.account_id = wanted.account_id AND known.currency = wanted.currency
    )
    ORDER BY wanted.account_id, wanted.currency
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM unnest(account_ids, currencies) AS wanted (account_id, currency)
    JOIN ledger.guarded_account AS guarded USING (account_id, currency)
    ORDER BY guarded.account_id, guarded.currency
    FOR NO KEY UPDATE OF guarded;
END
$$;
GRANT EXECUTE ON FUNCTION ledger.lock_accounts(text[], text[]) TO fraud_executor;

-- Everybody who appends to a decision's cases waits for its first one.
CREATE FUNCTION review.lock_cases(decision_ids uuid[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT 1 FROM review.review_case AS opened
    WHERE opened.decision_id = ANY (decision_ids) AND opened.round = 1
    ORDER BY opened.decision_id
    FOR NO KEY UPDATE;
$$;
GRANT EXECUTE ON FUNCTION review.lock_cases(uuid[]) TO fraud_review;

-- What may be done by one command at a time: its transaction holds the row for as long as it works.
CREATE TABLE control.turn (name text PRIMARY KEY);
INSERT INTO control.turn (name) VALUES ('rollback_apply'), ('redrive');
SELECT control.make_append_only(locked) FROM unnest(ARRAY['ledger.guarded_account', 'control.turn']::regclass[]) AS locked;
CREATE FUNCTION control.take_turn(wanted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM 1 FROM control.turn WHERE turn.name = wanted FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there are no turns of %', wanted USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION control.take_turn(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.take_turn(text) TO fraud_rollback;

-- A right to UPDATE a whole table is a right to lock it against everybody. Services move one column, and the policies
-- say of which rows.
REVOKE UPDATE ON control.consumer_position FROM fraud_service;
GRANT UPDATE (next_offset) ON control.consumer_position TO fraud_service;

-- Quarantine: a record that can't be stored or executed is put aside by two people, so that what stands behind it goes on.

-- What somebody proposes to put aside: exactly these bytes at this place. The database says when, and until when.
CREATE TABLE control.quarantine_proposal (
    quarantine_id uuid PRIMARY KEY,
    topic text NOT NULL CHECK (length(topic) BETWEEN 1 AND 249),
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    record_sha256 bytea NOT NULL CHECK (length(record_sha256) = 32),
    record_length bigint NOT NULL CHECK (record_length >= 0),
    proposed_by text NOT NULL,
    reason text NOT NULL CHECK (length(btrim(reason, E' \t\n\r\f\v')) BETWEEN 10 AND 2000),
    proposed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);

-- What is said to be put aside. Of several about one place the first that is proved counts, so that nobody who holds the
-- role's credential alone can keep people from putting a record aside by rows that nobody signed.
CREATE TABLE control.quarantine (
    topic text NOT NULL,
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL,
    quarantine_id uuid PRIMARY KEY REFERENCES control.quarantine_proposal,
    record_sha256 bytea NOT NULL,
    confirmed_by text NOT NULL,
    confirmed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantine_place ON control.quarantine (topic_partition, topic_offset);

-- Two people put a record aside, who are known by what they have signed (0090_people.sql).
CREATE FUNCTION control.check_quarantine_proposal() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog AS $$
BEGIN
    IF NOT control.holds_role(NEW.proposed_by, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'a quarantine is proposed by a ROLLBACK_REQUESTER' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'QUARANTINE_PROPOSED', NEW.proposed_by, jsonb_build_object(
        'quarantine_id', NEW.quarantine_id, 'topic', NEW.topic, 'partition', NEW.topic_partition,
        'offset', NEW.topic_offset, 'record_sha256', encode(NEW.record_sha256, 'hex'),
        'record_length', NEW.record_length, 'reason', NEW.reason));
    NEW.proposed_at := now();
    NEW.expires_at := now() + interval '24 hours';
    RETURN NEW;
END
$$;
CREATE TRIGGER check_quarantine_proposal BEFORE INSERT ON control.quarantine_proposal
    FOR EACH ROW EXECUTE FUNCTION control.check_quarantine_proposal();

CREATE FUNCTION control.check_quarantine() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    proposal control.quarantine_proposal;
BEGIN
    SELECT * INTO proposal FROM control.quarantine_proposal WHERE quarantine_id = NEW.quarantine_id;
    NEW.confirmed_at := now();
    IF NOT FOUND OR (proposal.topic, proposal.topic_partition, proposal.topic_offset, proposal.record_sha256)
        <> (NEW.topic, NEW.topic_partition, NEW.topic_offset, NEW.record_sha256)
    THEN
        RAISE EXCEPTION 'a quarantine is confirmed as it was proposed' USING ERRCODE = 'check_violation';
    ELSIF proposal.expires_at <= now() THEN
        RAISE EXCEPTION 'the proposal has expired' USING ERRCODE = 'check_violation';
    ELSIF control.is_same_person(proposal.proposed_by, NEW.confirmed_by) THEN
        RAISE EXCEPTION 'a quarantine is confirmed by another person than the one who proposed it'
            USING ERRCODE = 'check_violation';
    ELSIF NOT control.holds_role(NEW.confirmed_by, 'ROLLBACK_APPROVER') THEN
        RAISE EXCEPTION 'a quarantine is confirmed by a ROLLBACK_APPROVER' USING ERRCODE = 'check_violation';
    ELSIF NOT control.act_counts(proposal.act, 'ROLLBACK_REQUESTER') THEN
        RAISE EXCEPTION 'whoever proposed it is no ROLLBACK_REQUESTER any more, or their key was revoked'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM control.require_act(NEW.act, 'QUARANTINE_CONFIRMED', NEW.confirmed_by, jsonb_build_object(
        'quarantine_id', NEW.quarantine_id, 'topic', NEW.topic, 'partition', NEW.topic_partition,
        'offset', NEW.topic_offset, 'record_sha256', encode(NEW.record_sha256, 'hex')));
    RETURN NEW;
END
$$;
CREATE TRIGGER check_quarantine BEFORE INSERT ON control.quarantine
    FOR EACH ROW EXECUTE FUNCTION control.check_quarantine();

-- The records of decisions.v1 that the audit log could not take and holds as put aside. The leaf binds the record, its
-- place, its broker time and the statement, which says by whom it was put aside and why. source_*: of the payment that
-- it decided, where the record can be read so far.
CREATE TABLE audit.quarantined (
    topic_partition integer NOT NULL CHECK (topic_partition >= 0),
    topic_offset bigint NOT NULL CHECK (topic_offset >= 0),
    logged_at timestamptz NOT NULL,
    statement text NOT NULL,
    source_partition integer,
    source_offset bigint,
    record bytea NOT NULL,
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (topic_partition, topic_offset)
);
SELECT control.make_append_only(logged) FROM unnest(ARRAY['control.quarantine_proposal', 'control.quarantine',
    'audit.quarantined']::regclass[]) AS logged;

REVOKE EXECUTE ON FUNCTION control.check_quarantine_proposal(), control.check_quarantine() FROM PUBLIC;
GRANT INSERT ON control.quarantine_proposal, control.quarantine TO fraud_rollback;
GRANT SELECT ON control.quarantine_proposal, control.quarantine TO fraud_service;
GRANT SELECT, INSERT ON audit.quarantined TO fraud_audit;

SELECT control.ensure_all_partitions(2);
