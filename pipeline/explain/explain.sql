-- name: one_moment
-- All that follows is read from one moment of the database, and nothing is written.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: audited
-- Every record about a decision in the audit log, with what proves it, in the order of the topic.
SELECT topic_partition, topic_offset, (extract(epoch FROM logged_at) * 1000)::bigint,
    (extract(epoch FROM filed_at) * 1000)::bigint, record, leaf_hash, chain_hash,
    (extract(epoch FROM recorded_at) * 1000000)::bigint
FROM audit.ai_decision_log WHERE decision_id = %(decision_id)s
UNION ALL
SELECT topic_partition, topic_offset, (extract(epoch FROM logged_at) * 1000)::bigint,
    (extract(epoch FROM filed_at) * 1000)::bigint, record, leaf_hash, chain_hash,
    (extract(epoch FROM recorded_at) * 1000000)::bigint
FROM audit.reversal_log WHERE decision_id = %(decision_id)s
UNION ALL
SELECT topic_partition, topic_offset, (extract(epoch FROM logged_at) * 1000)::bigint,
    (extract(epoch FROM filed_at) * 1000)::bigint, record, leaf_hash, chain_hash,
    (extract(epoch FROM recorded_at) * 1000000)::bigint
FROM audit.review_log WHERE decision_id = %(decision_id)s
ORDER BY 1, 2 LIMIT 1000;

-- name: batch_of_record
-- Of the batch that a record was stored with: how long the partition's log was before it and after it.
SELECT coalesce((
        SELECT max(earlier.tree_size) FROM audit.chain_link AS earlier
        WHERE earlier.topic_partition = link.topic_partition AND earlier.tree_size < link.tree_size
    ), 0), link.tree_size
FROM audit.chain_link AS link
WHERE link.topic_partition = %(partition)s AND link.last_offset >= %(offset)s
ORDER BY link.tree_size LIMIT 1;

-- name: case_events
-- What happened to every case of a decision, round by round, in order.
SELECT happened.round, happened.sequence, happened.kind, happened.actor,
    (extract(epoch FROM happened.at) * 1000)::bigint, happened.outcome, happened.reason,
    (extract(epoch FROM happened.claimed_until) * 1000)::bigint, (extract(epoch FROM opened.expires_at) * 1000)::bigint
FROM review.case_event AS happened JOIN review.review_case AS opened USING (decision_id, round)
WHERE happened.decision_id = %(decision_id)s ORDER BY happened.round, happened.sequence LIMIT 10000;

-- name: execution
-- What the executor heard first about the payment: this decision, or an earlier one about the same payment.
SELECT execution_id::text, decision_id::text, cause, aim, currency, amount_minor,
    (extract(epoch FROM coalesce(logged_at, caused_at)) * 1000)::bigint, topic_partition, topic_offset, (extract(epoch FROM recorded_at) * 1000)::bigint
FROM ledger.execution WHERE execution_id = %(execution_id)s;

-- name: causes
-- Reviews and reversals that the executor heard about it, in order, also those that changed nothing.
SELECT cause_id::text, cause, ignored, after_sequence, (extract(epoch FROM caused_at) * 1000)::bigint,
    topic_partition, topic_offset, (extract(epoch FROM recorded_at) * 1000)::bigint
FROM ledger.cause WHERE execution_id IN (%(execution_id)s, %(decision_id)s) ORDER BY after_sequence, topic_offset LIMIT 1000;

-- name: steps
-- The steps of the saga in order; only the month of the decision is looked at.
SELECT step.sequence, step.step, step.from_state, step.to_state, step.aim, step.cause, step.reason,
    (extract(epoch FROM step.recorded_at) * 1000)::bigint
FROM ledger.execution AS heard JOIN ledger.transition AS step USING (caused_at, execution_id)
WHERE heard.execution_id = %(execution_id)s ORDER BY step.sequence LIMIT 10000;

-- name: postings
-- What they moved, in order.
SELECT moved.number, moved.posting_id::text, moved.step, moved.attempt, moved.source_account_id,
    moved.destination_account_id, moved.currency, moved.amount_minor, moved.reverses::text,
    (extract(epoch FROM moved.event_time) * 1000)::bigint, (extract(epoch FROM moved.recorded_at) * 1000)::bigint
FROM ledger.execution AS heard JOIN ledger.posting AS moved USING (caused_at, execution_id)
WHERE heard.execution_id = %(execution_id)s ORDER BY moved.number LIMIT 10000;

-- name: plans
-- Every rollback plan that looked at the decision: who asked, what it says of it, who approved, how far it came by the
-- rows of its progress, and how many of its reversals the audit log has, each under the plan's own digest.
SELECT plan.plan_id::text, plan.requested_by, (extract(epoch FROM plan.requested_at) * 1000)::bigint, plan.reason,
    plan.good_model_version, plan.good_policy_version, plan.good_feeds, line.outcome_before, line.outcome_after,
    line.disposition, line.why, approval.approved_by, (extract(epoch FROM approval.approved_at) * 1000)::bigint,
    started.applied_by, (extract(epoch FROM started.at) * 1000)::bigint,
    completed.applied_by, (extract(epoch FROM completed.at) * 1000)::bigint, plan.changing, stands.reversals,
    (extract(epoch FROM stands.last_at) * 1000)::bigint
FROM control.rollback_plan_decision AS line
JOIN control.rollback_plan AS plan USING (plan_id)
LEFT JOIN control.rollback_approval AS approval USING (plan_id)
LEFT JOIN control.rollback_progress AS started ON started.plan_id = plan.plan_id AND started.kind = 'STARTED'
LEFT JOIN control.rollback_progress AS completed ON completed.plan_id = plan.plan_id AND completed.kind = 'COMPLETED'
CROSS JOIN LATERAL (
    SELECT count(DISTINCT reversed.decision_id) AS reversals, max(reversed.logged_at) AS last_at
    FROM audit.reversal_log AS reversed
    WHERE reversed.plan_id = plan.plan_id::text AND reversed.plan_digest = encode(plan.content_hash, 'hex')
) AS stands
WHERE line.decision_id = %(decision_id)s ORDER BY plan.requested_at, plan.plan_id LIMIT 1000;

-- name: decision_of_transaction
-- The decision about a payment that was given back under this id, and where it stands; NULL where nothing was done yet.
SELECT decided.decision_id::text, decided.transaction_id, decided.decision,
    (extract(epoch FROM decided.created_at) * 1000)::bigint, decided.reasoning, stands.state
FROM audit.ai_decision_log AS decided
LEFT JOIN ledger.execution_state AS stands ON stands.execution_id = decided.execution_id
WHERE decided.transaction_id = %(transaction_id)s ORDER BY decided.created_at LIMIT 1;

-- name: decisions_between
-- The decisions whose ids begin as a released payment's id says, and where their payments stand: one, or by chance two.
SELECT decided.decision_id::text, decided.transaction_id, decided.decision,
    (extract(epoch FROM decided.created_at) * 1000)::bigint, decided.reasoning, stands.state
FROM audit.ai_decision_log AS decided
LEFT JOIN ledger.execution_state AS stands ON stands.execution_id = decided.execution_id
WHERE decided.decision_id BETWEEN %(first)s AND %(last)s ORDER BY decided.created_at LIMIT 100;
