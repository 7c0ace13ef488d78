-- A ledger that was put back from a backup, and the rail's statements.

-- Lives of the ledger

-- Where the ledger stands: the server's identity, and its timeline, which a restore to a point in time and the promotion
-- of a standby raise.
CREATE FUNCTION ledger.present_home(OUT system_identifier bigint, OUT timeline bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT control.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
    FROM pg_control_system() AS control
$$;
REVOKE EXECUTE ON FUNCTION ledger.present_home() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.present_home() TO fraud_executor;

-- The ledger's lives. One ends when the database is put back from a backup or a standby takes over, which may have lost
-- what was committed last; the next begins when the ledger has caught up with the rail. This migration begins the first.
CREATE TABLE ledger.life (
    number integer PRIMARY KEY CHECK (number > 0),
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL,
    reason text NOT NULL CHECK (length(btrim(reason)) BETWEEN 1 AND 4000),
    caught_up jsonb NOT NULL DEFAULT '{}',  -- what was asked of the rail and taken over from it, in counts
    began_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO ledger.life (number, system_identifier, timeline, reason)
SELECT 1, home.system_identifier, home.timeline, 'the ledger was laid out' FROM ledger.present_home() AS home;
-- A restore that was begun, of which a life is to come. It is under way until that life has begun, and nothing is paid by
-- an executor meanwhile.
CREATE TABLE ledger.restore_begun (
    life integer PRIMARY KEY CHECK (life > 1),
    began_at timestamptz NOT NULL DEFAULT now()
);
SELECT control.make_append_only(logged) FROM unnest(ARRAY['ledger.life', 'ledger.restore_begun']::regclass[]) AS logged;
GRANT SELECT ON ledger.life, ledger.restore_begun TO fraud_executor;
GRANT INSERT (number, system_identifier, timeline, reason, caught_up) ON ledger.life TO fraud_executor;
GRANT INSERT (life) ON ledger.restore_begun TO fraud_executor;

CREATE FUNCTION ledger.is_being_restored() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM ledger.restore_begun WHERE life > (SELECT max(number) FROM ledger.life))
$$;
REVOKE EXECUTE ON FUNCTION ledger.is_being_restored() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.is_being_restored() TO fraud_executor, fraud_reader;

-- Lives follow one upon the other, in a restore alone, so that nobody uses the numbers up. A ledger may be put back from
-- a backup that is older than some of its lives; LIVES_LOST_MAX (pipeline/execute/restoring/lives.py) of them may be lost.
CREATE FUNCTION ledger.bind_restore() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.life NOT BETWEEN 1 + (SELECT max(number) FROM ledger.life) AND 101 + (SELECT max(number) FROM ledger.life) THEN
        PERFORM ledger.refuse_row('restore_begun', 'follows_the_lives');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bind_restore BEFORE INSERT ON ledger.restore_begun
    FOR EACH ROW EXECUTE FUNCTION ledger.bind_restore();
CREATE FUNCTION ledger.bind_life() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.number <> 1 + (SELECT max(number) FROM ledger.life)
        OR NOT EXISTS (SELECT FROM ledger.restore_begun WHERE life >= NEW.number)
        OR (NEW.system_identifier, NEW.timeline)
            NOT IN (SELECT home.system_identifier, home.timeline FROM ledger.present_home() AS home)
    THEN
        PERFORM ledger.refuse_row('life', 'follows_the_one_before');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bind_life BEFORE INSERT ON ledger.life FOR EACH ROW EXECUTE FUNCTION ledger.bind_life();

-- A step may have been taken while the ledger caught up.
ALTER TABLE ledger.transition DROP CONSTRAINT transition_cause_check,
    ADD CONSTRAINT transition_cause_check CHECK (cause IN ('DECISION', 'REVIEW', 'REVERSAL', 'RAIL', 'RESTORE'));

-- A case is also opened about a payment of which neither rail nor ledger can say whether it was made, and about one that
-- the rail has made and no record leads to. These are open until a person closes them.
ALTER TABLE ledger.recovery_case DROP CONSTRAINT recovery_case_reason_check,
    ADD CONSTRAINT recovery_case_reason_check CHECK (reason IN (
        'BENEFICIARY_FUNDS_GONE', 'RECALL_REFUSED', 'PARTLY_RECALLED', 'PART_RECALL_REFUSED', 'RAIL_KEY_FORGOTTEN',
        'RAIL_PAID_OTHERWISE'));
-- What the rail has taken from an account, and no record leads to, is set aside of it until a person has closed the case,
-- so that it isn't spent a second time.
ALTER TABLE ledger.recovery_case ADD COLUMN claimed_account_id text, ADD COLUMN claimed_minor bigint,
    ADD CONSTRAINT claims_of_an_account CHECK ((claimed_account_id IS NULL) = (claimed_minor IS NULL)
        AND claimed_minor > 0);
CREATE INDEX recovery_claim ON ledger.recovery_case (claimed_account_id, currency) WHERE claimed_account_id IS NOT NULL;
GRANT INSERT (claimed_account_id, claimed_minor) ON ledger.recovery_case TO fraud_executor;
CREATE VIEW ledger.claim AS
SELECT given.execution_id, given.sequence, given.claimed_account_id AS account_id, given.currency,
    given.claimed_minor AS amount_minor
FROM ledger.recovery_case AS given
WHERE given.claimed_account_id IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM review.recovery_closing AS closed
        WHERE closed.execution_id = given.execution_id AND closed.sequence = given.sequence
    );
-- What was set aside and somebody is said to have given free: the executor proves that before anybody spends it.
CREATE VIEW ledger.released_claim AS
SELECT given.execution_id, given.sequence, given.claimed_account_id AS account_id, given.currency,
    given.claimed_minor AS amount_minor, closed.closed_by, closed.reason, closed.act
FROM ledger.recovery_case AS given
JOIN review.recovery_closing AS closed
    ON closed.execution_id = given.execution_id AND closed.sequence = given.sequence
WHERE given.claimed_account_id IS NOT NULL;
GRANT SELECT ON ledger.claim, ledger.released_claim TO fraud_executor, fraud_reader;

-- What an account may be asked for: its balance without what is set aside of it for people, which is looked for only
-- where anything ever was; how far below zero it may go (NULL: never opened); and how many postings that took to sum.
-- The executor asks before it posts, and the guard of postings (0092_bound_ledger.sql) once more, by the same words.
CREATE FUNCTION ledger.means(of_account text, of_currency text)
RETURNS TABLE (there_minor numeric, overdraft_limit_minor bigint, tail bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT standing.balance_minor - coalesce(
            CASE WHEN (
                SELECT EXISTS (SELECT FROM ledger.recovery_case AS given WHERE given.claimed_account_id IS NOT NULL)
            ) THEN (
                SELECT sum(claim.amount_minor) FROM ledger.claim
                WHERE claim.account_id = of_account AND claim.currency = of_currency
            ) END, 0),
        opened.overdraft_limit_minor, standing.tail
    FROM ledger.standing(of_account, of_currency) AS standing
    LEFT JOIN ledger.account AS opened ON opened.account_id = of_account AND opened.currency = of_currency
$$;
REVOKE EXECUTE ON FUNCTION ledger.means(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.means(text, text) TO fraud_executor;

-- The rail's statements

-- What a day's steps were is asked by the time of recording; they are appended in about that order.
CREATE INDEX transition_recorded ON ledger.transition USING brin (recorded_at) WITH (pages_per_range = 32);

-- A statement that was taken in: of the account that money is with the rail on, in one currency, from a balance to a
-- balance. Each goes on where the one before has ended.
CREATE TABLE control.rail_statement (
    statement_number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    sequence bigint NOT NULL CHECK (sequence >= 0),
    name text NOT NULL,  -- the rail's own id of it
    format text NOT NULL,
    from_at timestamptz NOT NULL,
    -- One that ends in years to come would keep out every other until then; a day is allowed to clocks that differ.
    to_at timestamptz NOT NULL CHECK (to_at >= from_at) CHECK (to_at <= now() + interval '1 day'),
    opening_minor bigint NOT NULL,
    closing_minor bigint NOT NULL,
    entries bigint NOT NULL CHECK (entries >= 0),
    file_sha256 bytea NOT NULL CHECK (length(file_sha256) = 32),
    taken_at timestamptz NOT NULL DEFAULT now(),
    -- The statement whose place it takes, which two people have disowned; 0: it takes nobody's.
    replaces bigint NOT NULL DEFAULT 0 CHECK (replaces >= 0),
    -- A bank may number, and name, the statements of each year anew.
    UNIQUE (account_id, currency, sequence, from_at, replaces),
    UNIQUE (account_id, currency, name, from_at, replaces)
);

-- Its entries. Amounts are from our side: below zero is paid out.
CREATE TABLE control.rail_entry (
    statement_number bigint NOT NULL REFERENCES control.rail_statement,
    number bigint NOT NULL CHECK (number > 0),
    kind text NOT NULL CHECK (kind IN ('TRANSFER', 'RETURN', 'OTHER')),
    key text,  -- of the transfer, or of the recall that a return answers; NULL where the entry names none
    amount_minor bigint NOT NULL,
    debtor_account_id text,
    creditor_account_id text,
    PRIMARY KEY (statement_number, number)
);
CREATE INDEX rail_entry_key ON control.rail_entry USING hash (key);

-- What differs between statements and ledger, and what has been put right since.
CREATE TABLE control.rail_finding (
    finding_id uuid NOT NULL,  -- follows from kind, account, currency and key, or the entry's place where it has none
    event text NOT NULL CHECK (event IN ('OPENED', 'CLOSED')),
    kind text NOT NULL,
    account_id text NOT NULL,
    currency text NOT NULL,
    key text NOT NULL,
    execution_id uuid,
    rail_minor bigint,  -- as the statement says; NULL where it says nothing
    ledger_minor bigint,
    detail text NOT NULL,
    statement_number bigint NOT NULL REFERENCES control.rail_statement,
    at timestamptz NOT NULL DEFAULT now(),
    -- What a disowned statement opened or closed counts as neither, and is told once more by the one in its place.
    PRIMARY KEY (finding_id, event, statement_number)
);
SELECT control.make_append_only(logged) FROM unnest(ARRAY['control.rail_statement', 'control.rail_entry',
    'control.rail_finding']::regclass[]) AS logged;
GRANT SELECT, INSERT ON control.rail_statement, control.rail_entry, control.rail_finding TO fraud_reconcile;

-- What was found stays found
--
-- With the credential of whoever reconciles nobody takes a difference or a gap away: by a row that says it has closed, by
-- one that takes the id which it will have, or by lines slipped into a statement that was taken in before.

-- A statement is whole once its transaction has ended.
CREATE FUNCTION control.refuse_late_entries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM (SELECT DISTINCT written.statement_number FROM written) AS asked
    JOIN control.rail_statement AS stated USING (statement_number)
    WHERE stated.chain_xid <> pg_current_xact_id() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a statement that was taken in takes no more lines' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER refuse_late_entries AFTER INSERT ON control.rail_entry
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_late_entries();

-- A difference is found, and closes, with a statement that is taken in now. Its id follows from what it is about
-- (finding_id in pipeline/reconcile/statement/statement_store.py). Only what may be late closes (HEALING in comparing.py):
-- what the rail had not booked, once a statement has it, and what the ledger had otherwise, once it has done it.
CREATE FUNCTION control.bind_rail_finding() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.finding_id <> control.uuid5('8e1d5b0a-4c6f-5a3e-9f27-61c0d8a4b7f3', concat_ws('|', NEW.kind, NEW.account_id,
            NEW.currency, NEW.key, CASE WHEN NEW.kind IN ('UNEXPLAINED', 'TWICE') THEN NEW.statement_number END))
        OR NOT EXISTS (
            SELECT FROM control.rail_statement AS stated
            WHERE stated.statement_number = NEW.statement_number AND stated.chain_xid = pg_current_xact_id()
        )
    THEN
        RAISE EXCEPTION 'a difference is found with the statement that it is of' USING ERRCODE = 'restrict_violation';
    ELSIF NEW.event = 'CLOSED' AND NOT (EXISTS (
        SELECT FROM control.rail_finding AS opened
        WHERE opened.finding_id = NEW.finding_id AND opened.event = 'OPENED'
    ) AND CASE NEW.kind
        WHEN 'NOT_AT_RAIL' THEN EXISTS (
            SELECT FROM control.rail_entry AS entry
            WHERE entry.key = NEW.key AND NOT control.is_disowned(entry.statement_number))
        WHEN 'DONE_OTHERWISE' THEN EXISTS (
            SELECT FROM ledger.execution AS heard
            JOIN ledger.transition AS taken
                ON taken.caused_at = heard.caused_at AND taken.execution_id = heard.execution_id
            WHERE heard.execution_id = NEW.execution_id
                AND taken.step IN ('CREDIT', 'RECALLED', 'PART_RECALLED', 'REST_RECALLED'))
        ELSE NEW.kind IN ('NOT_IN_LEDGER', 'NO_STATEMENT', 'TIME_MISSING') END)
    THEN
        RAISE EXCEPTION 'a difference does not close by somebody''s word' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bind_rail_finding BEFORE INSERT ON control.rail_finding
    FOR EACH ROW EXECUTE FUNCTION control.bind_rail_finding();

-- The same of the gaps of reconciliation (0050_reconciliation.sql; PASSING in pipeline/reconcile/gaps.py).
CREATE FUNCTION control.bind_reconciliation_gap() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.gap_id <> control.uuid5('3c6e1f0d-9a57-5b42-8d1e-7f20b4c95a68', concat_ws('|', NEW.kind, NEW.topic,
        NEW.partition, NEW.first_offset, NEW.last_offset, NEW.records))
    THEN
        RAISE EXCEPTION 'a gap''s id follows from what it is' USING ERRCODE = 'restrict_violation';
    ELSIF NEW.event = 'CLOSED' AND NOT (
        NEW.kind IN ('UNACCOUNTED', 'NOT_AUDITED', 'NOT_EXECUTED', 'UNFINISHED', 'RAIL_SILENT', 'STALE_HOLD')
        AND EXISTS (
            SELECT FROM control.reconciliation_gap AS opened
            WHERE opened.gap_id = NEW.gap_id AND opened.event = 'OPENED'
        )
    ) THEN
        RAISE EXCEPTION 'a gap does not close by somebody''s word' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bind_reconciliation_gap BEFORE INSERT ON control.reconciliation_gap
    FOR EACH ROW EXECUTE FUNCTION control.bind_reconciliation_gap();
REVOKE EXECUTE ON FUNCTION control.refuse_late_entries(), control.bind_rail_finding(), control.bind_reconciliation_gap()
    FROM PUBLIC;
