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
