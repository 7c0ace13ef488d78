-- Tables whose rows are chained outside the database, as the decisions are (ADR 0027).
--
-- chain_xid is the transaction that wrote a row. Rows become visible in no order of any sequence or time; but between two
-- snapshots exactly those became visible whose transaction the first did not see and the second does, and that is how
-- the audit service takes each row once. Nobody may say a row's transaction but the database: services may insert into
-- every column but this one, and the numbers that it gives, which nobody may use up or run ahead of.

-- Has the audit service follow a table. A later migration that adds a column must also grant its INSERT.
CREATE FUNCTION control.follow(parent regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    appender record;
    writable text;
BEGIN
    EXECUTE format('ALTER TABLE %s ADD COLUMN chain_xid xid8 NOT NULL DEFAULT pg_current_xact_id()', parent);
    -- The rows of a transaction share an entry of the index, so it stays small.
    EXECUTE format('CREATE INDEX ON %s (chain_xid)', parent);
    EXECUTE format('GRANT SELECT ON %s TO fraud_audit', parent);
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO writable FROM pg_attribute
    WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attname <> 'chain_xid'
        AND attidentity <> 'a';
    FOR appender IN
        SELECT DISTINCT pg_get_userbyid(held.grantee) AS name FROM pg_class AS c, aclexplode(c.relacl) AS held
        WHERE c.oid = parent AND held.privilege_type = 'INSERT' AND held.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE INSERT ON %s FROM %I', parent, appender.name);
        EXECUTE format('GRANT INSERT (%s) ON %s TO %I', writable, parent, appender.name);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION control.follow(regclass) FROM PUBLIC;

-- Every append-only table that there is, but for those of which nothing is to be proved, or that are proved otherwise;
-- the reasons stand in pipeline/audit/tables/streams.py.
DO $follow$
DECLARE
    parent regclass;
BEGIN
    FOR parent IN
        SELECT c.oid::regclass FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('audit', 'ledger', 'review', 'control') AND NOT c.relispartition
            AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgname = 'refuse_change')
            AND format('%s.%s', n.nspname, c.relname) <> ALL (ARRAY[
                'audit.ai_decision_log', 'audit.reversal_log', 'audit.review_log', 'audit.quarantined',
                'audit.chain_link', 'ledger.guarded_account', 'control.turn'])
        ORDER BY n.nspname, c.relname
    LOOP
        PERFORM control.follow(parent);
    END LOOP;
END
$follow$;
GRANT USAGE ON SCHEMA ledger, review TO fraud_audit;

-- Postings that are not what a step of their execution, or a funding, moves. `is_unfounded`: there is neither.
CREATE VIEW ledger.posting_fault AS
SELECT moved.number, moved.execution_id, moved.step, heard.topic_partition, heard.topic_offset,
    heard.execution_id IS NULL AND funded.execution_id IS NULL AS is_unfounded, moved.chain_xid
FROM ledger.posting AS moved
LEFT JOIN ledger.saga_movement AS moves ON moves.step = moved.step
LEFT JOIN ledger.execution AS heard ON heard.execution_id = moved.execution_id
LEFT JOIN ledger.funding AS funded ON moved.step = 'FUND' AND funded.execution_id = moved.execution_id
LEFT JOIN LATERAL (
    SELECT count(*) AS times FROM ledger.transition AS step
    WHERE step.caused_at = moved.caused_at AND step.execution_id = moved.execution_id AND step.step = moved.step
) AS taken ON true
WHERE (CASE WHEN moved.step = 'FUND' THEN moved.attempt = 1 AND moved.source_account_id = '/funding'
        AND (moved.posting_id, moved.destination_account_id, moved.currency, moved.amount_minor)
            = (funded.execution_id, funded.account_id, funded.currency, funded.amount_minor)
        AND get_byte(uuid_send(moved.posting_id), 6) >> 4 = 8
    ELSE get_byte(uuid_send(moved.posting_id), 6) >> 4 = 5
        AND moved.source_account_id = ledger.account_of(moves.source, heard.account_id, heard.beneficiary_account_id)
        AND moved.destination_account_id
            = ledger.account_of(moves.destination, heard.account_id, heard.beneficiary_account_id)
        AND moved.currency = heard.currency AND moved.caused_at = heard.caused_at AND moved.attempt <= taken.times
        AND (moved.event_time = heard.event_time OR EXISTS (
            SELECT FROM ledger.cause AS said
            WHERE said.execution_id = moved.execution_id AND said.event_time = moved.event_time AND said.ignored IS NULL))
        AND CASE WHEN moves.is_part THEN moved.amount_minor <= heard.amount_minor
            ELSE moved.amount_minor = heard.amount_minor END
    END) IS NOT TRUE;
GRANT SELECT ON ledger.posting_fault TO fraud_reader;
