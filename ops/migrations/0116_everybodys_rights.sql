-- What PostgreSQL lets everybody do who may connect, and none of our roles needs. Each of these lets a credential that
-- only reads keep the others from their work.

-- Large objects and messages in the log of writes: they fill the server's disk, and nobody owns up to them.
-- Advisory locks: they stand in the table of locks that every statement needs room in, and one session can fill it. None
-- of our statements takes one.
DO $rights$
DECLARE
    open_to_all regprocedure;
BEGIN
    FOR open_to_all IN
        SELECT p.oid::regprocedure FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (
            p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'pg_logical_emit_message')
            OR p.proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
        )
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', open_to_all);
    END LOOP;
END
$rights$;

-- Functions belong to one database, and the table of locks to the whole server: what is taken back here a role would do
-- from another database. So nobody but a superuser comes to those two that every server has.
DO $elsewhere$
DECLARE
    elsewhere text;
BEGIN
    FOR elsewhere IN
        SELECT datname FROM pg_database
        WHERE datname IN ('postgres', 'template1') AND datname <> current_database()
            AND has_database_privilege('public', oid, 'CONNECT')
    LOOP
        EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', elsewhere);
    END LOOP;
END
$elsewhere$;

-- Sorts and joins that don't fit into memory: 2 GB of a session's files at once. What the services and commands ask is
-- looked up by keys, or summed as it is read. Only a superuser sets this; where the owner is none, somebody else must, and
-- `fraud database check-access` says so until then.
DO $limits$
DECLARE
    limited text;
BEGIN
    FOR limited IN
        SELECT rolname FROM pg_roles WHERE rolname LIKE 'fraud\_%' AND rolcanlogin AND NOT rolsuper
            AND rolname NOT IN ('fraud_worker', 'fraud_owner')
    LOOP
        BEGIN
            EXECUTE format('ALTER ROLE %I SET temp_file_limit = ''2GB''', limited);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'a superuser must run: ALTER ROLE % SET temp_file_limit = ''2GB''', limited;
        END;
    END LOOP;
END
$limits$;
