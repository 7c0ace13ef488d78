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

-- The rules of a row are held against what others have stored, as the funds of a posting are. A transaction that chose to
-- see one moment only would hold them against what stood then: two payments could each spend the same money.
CREATE FUNCTION control.refuse_old_sight() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'rows of %.% are stored under READ COMMITTED, not under %', TG_TABLE_SCHEMA, TG_TABLE_NAME,
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'check_violation', CONSTRAINT = 'is_held_against_what_stands';
    END IF;
    RETURN NULL;
END
$$;

-- Makes a table refuse UPDATE, DELETE and TRUNCATE. Every later partition of a partitioned table refuses them, too.
-- of_one_moment: its rows may be stored by a transaction that sees one moment, as a plan is made from one; whoever acts on
-- them holds them against what stands by then.
CREATE FUNCTION control.make_append_only(parent regclass, of_one_moment boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %s
                    FOR EACH ROW EXECUTE FUNCTION control.refuse_change()', parent);
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change()', parent);
    IF NOT of_one_moment THEN
        EXECUTE format('CREATE TRIGGER refuse_old_sight BEFORE INSERT ON %s
                        FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_old_sight()', parent);
    END IF;
END
$$;

SELECT control.make_append_only('control.migration');

-- Partitions by month in UTC, made ahead by a job with a role of its own (0082_trusted_time.sql); the migrations end with
-- it.

-- Every partitioned table of ours.
CREATE FUNCTION control.partitioned_tables() RETURNS TABLE (parent regclass)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'p' AND NOT c.relispartition AND n.nspname IN ('audit', 'ledger', 'review', 'control', 'shadow')
    ORDER BY n.nspname, c.relname
$$;

-- Makes a table that takes a parent's rows of a range, and attaches it. CREATE TABLE ... PARTITION OF would wait for
-- everybody who has read the parent, and let everybody who writes wait behind it; attaching waits for neither.
CREATE FUNCTION control.attach_partition(parent regclass, suffix text, from_bound text, to_bound text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    parent_schema text;
    partition_name text;
BEGIN
    SELECT n.nspname, c.relname || suffix INTO parent_schema, partition_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    IF to_regclass(format('%I.%I', parent_schema, partition_name)) IS NOT NULL THEN
        RETURN partition_name;
    END IF;
    -- Two jobs at once: the second waits here, and then finds the partition.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(format('%I.%I', parent_schema, partition_name)) IS NOT NULL THEN
        RETURN partition_name;
    END IF;
    EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE
                    INCLUDING COMPRESSION)', parent_schema, partition_name, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)', parent, parent_schema,
                   partition_name, from_bound, to_bound);
    -- A partition inherits row triggers from its parent, but not the one for TRUNCATE.
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = parent AND tgname = 'refuse_truncate') THEN
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %I.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change()', parent_schema, partition_name);
    END IF;
    RETURN partition_name;
END
$$;

-- Makes a table's partition for the month of a time. A month of the past is made where an old topic is read again.
CREATE FUNCTION control.ensure_partition(parent regclass, at_time timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    month_start timestamptz := date_trunc('month', at_time, 'UTC');
BEGIN
    IF NOT EXISTS (SELECT FROM control.partitioned_tables() AS ours WHERE ours.parent = ensure_partition.parent) THEN
        RAISE EXCEPTION '% is no partitioned table of ours', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF at_time IS NULL OR at_time < '2020-01-01+00' OR at_time > now() + interval '25 months' THEN
        RAISE EXCEPTION 'no partition is made for %: it is before 2020 or over 25 months ahead', at_time
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN control.attach_partition(parent, to_char(month_start, '_YYYY_MM'), quote_literal(month_start),
                                    quote_literal(month_start + interval '1 month'));
END
$$;

-- Makes this month's partitions of every table and those of the next months, and the place of what no month takes.
CREATE FUNCTION control.ensure_all_partitions(months_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    each_parent regclass;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months ahead must be 0 to 24, not %', months_ahead USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR each_parent IN SELECT parent FROM control.partitioned_tables() LOOP
        PERFORM control.attach_partition(each_parent, '_unfiled', 'MINVALUE', quote_literal(timestamptz '1970-01-02+00'));
        FOR ahead IN 0..months_ahead LOOP
            PERFORM control.ensure_partition(each_parent,
                                             date_trunc('month', now(), 'UTC') + make_interval(months => ahead));
        END LOOP;
    END LOOP;
END
$$;

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
