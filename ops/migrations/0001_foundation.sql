-- Schemas, roles, the refusal to change append-only tables, the services' positions, and partitions by month.

-- Roles. Each process logs in as its own role. None has a password until `fraud database set-passwords` gives it one,
-- so where the server asks for passwords nobody can log in before that. Rights that all services share are granted to
-- fraud_service. Roles belong to the whole server, so another of its databases may have them already.
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['fraud_audit', 'fraud_executor', 'fraud_review', 'fraud_rollback',
                                     'fraud_reconcile', 'fraud_reader', 'fraud_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS',
                           role_name);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraud_service') THEN
        CREATE ROLE fraud_service NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
END
$roles$;

GRANT fraud_service TO fraud_audit, fraud_executor, fraud_review, fraud_rollback, fraud_reconcile;
-- The planning of a reversal and reconciliation need everything that is written.
GRANT fraud_reader TO fraud_rollback, fraud_reconcile;

CREATE SCHEMA audit;
CREATE SCHEMA ledger;
CREATE SCHEMA review;
CREATE SCHEMA api;

-- Nobody has a right that was not granted to them by name. That holds for everything that later migrations make, too.
DO $nobody$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO fraud_service, fraud_reader', current_database());
END
$nobody$;
REVOKE ALL ON SCHEMA public, audit, ledger, review, control, api FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;

-- The reader reads everything, including what is made later.
GRANT USAGE ON SCHEMA audit, ledger, review, control, api TO fraud_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA audit, ledger, review, control, api GRANT SELECT ON TABLES TO fraud_reader;
GRANT SELECT ON control.migration TO fraud_reader;
GRANT USAGE ON SCHEMA control TO fraud_service;

-- The trigger function of every append-only table (I5). Superusers and session_replication_role bypass it, which is why
-- the audit log is also anchored outside the database.
CREATE FUNCTION control.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

-- Makes a table refuse UPDATE, DELETE and TRUNCATE. Every later partition of a partitioned table refuses them, too.
CREATE FUNCTION control.make_append_only(parent regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %s
                    FOR EACH ROW EXECUTE FUNCTION control.refuse_change()', parent);
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change()', parent);
END
$$;

SELECT control.make_append_only('control.migration');

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA control FROM PUBLIC;

-- The offset from which each consumer goes on reading. This is the one table whose rows services change, always in the
-- transaction that stores what was read. A position never goes back, and each role moves only its own: role fraud_audit
-- moves those of the consumers "audit" and "audit-...".
CREATE TABLE control.consumer_position (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 50);  -- the few rows change all the time; this leaves room for their next versions on the page

CREATE FUNCTION control.refuse_going_back() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.consumer, NEW.topic, NEW.partition) <> (OLD.consumer, OLD.topic, OLD.partition)
        OR NEW.next_offset < OLD.next_offset
    THEN
        RAISE EXCEPTION 'the position of % in %[%] can''t go from % to %', OLD.consumer, OLD.topic, OLD.partition,
            OLD.next_offset, NEW.next_offset USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER refuse_going_back BEFORE UPDATE ON control.consumer_position
    FOR EACH ROW EXECUTE FUNCTION control.refuse_going_back();
CREATE TRIGGER refuse_delete BEFORE DELETE ON control.consumer_position
    FOR EACH ROW EXECUTE FUNCTION control.refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON control.consumer_position
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();

ALTER TABLE control.consumer_position ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody_reads ON control.consumer_position FOR SELECT USING (true);
CREATE POLICY starts_its_own ON control.consumer_position FOR INSERT
    WITH CHECK (current_user = 'fraud_' || split_part(consumer, '-', 1));
CREATE POLICY moves_its_own ON control.consumer_position FOR UPDATE
    USING (current_user = 'fraud_' || split_part(consumer, '-', 1));
GRANT SELECT, INSERT, UPDATE ON control.consumer_position TO fraud_service;
