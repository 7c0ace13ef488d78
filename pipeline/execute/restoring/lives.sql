-- name: present
-- The ledger's life, the home that it began in, the home that the database has now, and the life that a restore
-- which is under way leads to.
SELECT coalesce(life.number, 0), coalesce(life.system_identifier, 0), coalesce(life.timeline, 0),
    home.system_identifier, home.timeline,
    coalesce((SELECT max(begun.life) FROM ledger.restore_begun AS begun WHERE begun.life > life.number), 0)
FROM ledger.present_home() AS home
LEFT JOIN (SELECT * FROM ledger.life ORDER BY number DESC LIMIT 1) AS life ON true;

-- name: begin
-- Begins the next life, in the home that the database has now.
INSERT INTO ledger.life (number, system_identifier, timeline, reason, caught_up)
SELECT %(number)s, home.system_identifier, home.timeline, %(reason)s, %(caught_up)s FROM ledger.present_home() AS home;

-- name: begin_restore
-- Says that the ledger is being brought up to date, for a life that is to come. A restore that is run again goes on.
INSERT INTO ledger.restore_begun (life) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: steps
-- How many steps each of these executions has taken.
SELECT execution_id::text, coalesce(sequence, 0) FROM ledger.execution_state WHERE execution_id = ANY(%s::uuid[]);

-- name: logged_since
-- The executions whose decisions were logged at or after a time.
SELECT execution_id::text FROM ledger.execution WHERE logged_at >= %s OR logged_at IS NULL;
