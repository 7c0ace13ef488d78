-- name: lives
-- The ledger's present life, since when, and the life that a restore is to begin; 0 where none is under way.
SELECT life.number, (extract(epoch FROM life.began_at) * 1000)::bigint, coalesce((
    SELECT max(begun.life) FROM ledger.restore_begun AS begun WHERE begun.life > life.number
), 0)
FROM ledger.life AS life ORDER BY life.number DESC LIMIT 1;

-- name: booked
-- What the ledger has of these executions, each with the state after a step of it; NULL where that was not taken; and
-- the record of its decision, NULL where the audit log has none.
SELECT wanted.execution_id::text, wanted.step, taken.to_state, coalesce(last.sequence, 0), stands.state, stands.aim,
    (
        SELECT coalesce(sum(moved.amount_minor), 0)::bigint FROM ledger.posting AS moved
        WHERE moved.caused_at = heard.caused_at AND moved.execution_id = heard.execution_id
            AND moved.step = 'PART_RECALLED'
    ),
    decided.record, heard.decision_id::text, heard.transaction_id, heard.account_id, heard.beneficiary_account_id, heard.amount_minor,
    heard.currency, (extract(epoch FROM heard.event_time) * 1000)::bigint, coalesce(heard.amount_gbp_minor, -1),
    coalesce((extract(epoch FROM heard.payment_logged_at) * 1000)::bigint, -1)
FROM unnest(%s::uuid[], %s::integer[]) AS wanted (execution_id, step)
JOIN ledger.execution AS heard USING (execution_id)
JOIN ledger.outcome_in_force AS stands USING (execution_id)
LEFT JOIN audit.ai_decision_log AS decided
    ON decided.filed_at = ANY (ARRAY[heard.logged_at, timestamptz '1970-01-01+00'])
    AND decided.topic_partition = heard.topic_partition AND decided.topic_offset = heard.topic_offset
LEFT JOIN ledger.transition AS taken
    ON taken.caused_at = heard.caused_at AND taken.execution_id = heard.execution_id AND taken.sequence = wanted.step
LEFT JOIN LATERAL (
    SELECT step.sequence FROM ledger.transition AS step
    WHERE step.caused_at = heard.caused_at AND step.execution_id = heard.execution_id
    ORDER BY step.sequence DESC LIMIT 1
) AS last ON true;
