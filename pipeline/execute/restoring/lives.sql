-- name: present
-- The ledger's life, the home that it began in, and the home that the database has now.
SELECT coalesce(life.number, 0), coalesce(life.system_identifier, 0), coalesce(life.timeline, 0),
    home.system_identifier, home.timeline
FROM ledger.present_home() AS home
LEFT JOIN (SELECT * FROM ledger.life ORDER BY number DESC LIMIT 1) AS life ON true;

-- name: begin
-- Begins the next life, in the home that the database has now.
INSERT INTO ledger.life (number, system_identifier, timeline, reason, caught_up)
SELECT %(number)s, home.system_identifier, home.timeline, %(reason)s, %(caught_up)s FROM ledger.present_home() AS home;

-- name: steps
-- How many steps each of these executions has taken.
SELECT execution_id::text, coalesce(sequence, 0) FROM ledger.execution_state WHERE execution_id = ANY(%s::uuid[]);

-- name: logged_since
-- The executions whose decisions were logged at or after a time.
SELECT execution_id::text FROM ledger.execution WHERE logged_at >= %s OR logged_at IS NULL;
