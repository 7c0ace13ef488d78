-- name: begin_plan
-- A plan is made from one moment of the database, however long it takes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: patient
-- Sorting some millions of decisions takes longer than a service's batch may.
SET LOCAL statement_timeout = '30min';

-- name: audited_until
-- Up to which offset of each partition of decisions.v1 the audit log is written.
SELECT partition, next_offset FROM control.consumer_position WHERE consumer = 'audit' AND topic = %s;

-- name: select_decisions
-- The decisions that a plan is about, in the order of the topic. A criterion that is NULL lets everything pass.
SELECT d.decision_id::text, d.topic_partition, d.topic_offset, d.execution_id::text, d.record
FROM audit.ai_decision_log d
WHERE (%(model_version)s::text IS NULL OR d.model_version = %(model_version)s)
    AND (%(policy_version)s::text IS NULL OR d.policy_version = %(policy_version)s)
    AND (%(since_ms)s::bigint IS NULL OR d.created_at >= timestamptz 'epoch' + %(since_ms)s * interval '1 millisecond')
    AND (%(until_ms)s::bigint IS NULL OR d.created_at < timestamptz 'epoch' + %(until_ms)s * interval '1 millisecond')
    AND (%(segment_name)s::text IS NULL
        OR d.input_snapshot -> 'transaction' -> 'segments' ->> %(segment_name)s = %(segment_value)s)
    AND (%(rule)s::text IS NULL OR d.rules_triggered ? %(rule)s)
    AND (%(route)s::text IS NULL OR d.route = %(route)s)
    AND (%(outcome)s::text IS NULL OR d.decision = %(outcome)s)
    AND (%(ids)s::uuid[] IS NULL OR d.decision_id = ANY(%(ids)s::uuid[]))
ORDER BY d.topic_partition, d.topic_offset;

-- name: latest_reversals
-- What the last reversal of each of these decisions left in force.
SELECT DISTINCT ON (decision_id) decision_id::text, corrected_outcome, topic_offset
FROM audit.reversal_log WHERE decision_id = ANY(%s::uuid[]) ORDER BY decision_id, topic_offset DESC;

-- name: latest_reviews
-- What people, or the expiry, last said of each of these decisions.
SELECT DISTINCT ON (decision_id) decision_id::text, outcome, reviewed_by, topic_offset
FROM audit.review_log WHERE decision_id = ANY(%s::uuid[]) ORDER BY decision_id, topic_offset DESC;

-- name: held_executions
-- Of these executions, those whose funds are held for a review.
SELECT execution_id::text FROM ledger.execution_state WHERE execution_id = ANY(%s::uuid[]) AND state = 'HELD';

-- name: open_reviews
-- Of these decisions, those under review that nobody has decided.
SELECT DISTINCT decision_id::text FROM review.case_under_way
WHERE decision_id = ANY(%s::uuid[]) AND kind NOT IN ('DECIDED', 'EXPIRED');

-- name: copy_lines
-- Writes a plan's lines, in bulk.
COPY control.rollback_plan_decision (
    plan_id, position, decision_id, transaction_id, account_id, topic_partition, topic_offset, currency, amount_minor,
    amount_gbp_minor, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex
) FROM STDIN;

-- name: insert_plan
-- Writes a plan's header, after its lines and in their transaction.
INSERT INTO control.rollback_plan (
    plan_id, requested_by, requested_at, expires_at, reason, criteria, good_model_version, good_model_hash,
    good_policy_version, good_policy_hash, breaker, audited_until, decisions, changing, blast_radius, content_hash
)
VALUES (
    %(plan_id)s, %(requested_by)s, timestamptz 'epoch' + %(requested_at_ms)s * interval '1 millisecond',
    timestamptz 'epoch' + %(expires_at_ms)s * interval '1 millisecond', %(reason)s, %(criteria)s,
    %(good_model_version)s, %(good_model_hash)s, %(good_policy_version)s, %(good_policy_hash)s, %(breaker)s,
    %(audited_until)s, %(decisions)s, %(changing)s, %(blast_radius)s, %(content_hash)s
);

-- name: read_plan
-- A plan's header and what was added up when it was made.
SELECT
    plan_id::text, requested_by, (extract(epoch FROM requested_at) * 1000)::bigint,
    (extract(epoch FROM expires_at) * 1000)::bigint, reason, criteria, good_model_version, good_model_hash,
    good_policy_version, good_policy_hash, breaker, audited_until, decisions, changing, blast_radius, content_hash
FROM control.rollback_plan WHERE plan_id::text = %s;

-- name: read_plan_ids
-- The latest plans, newest first.
SELECT plan_id::text FROM control.rollback_plan ORDER BY requested_at DESC, plan_id LIMIT %s;

-- name: read_lines
-- A plan's lines in order.
SELECT
    decision_id::text, transaction_id, account_id, topic_partition, topic_offset, currency, amount_minor,
    amount_gbp_minor, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex
FROM control.rollback_plan_decision WHERE plan_id = %s ORDER BY position;

-- name: read_changing_lines
-- Those of a plan's lines that lead to a record, in order: so many of them, from one place on.
SELECT
    decision_id::text, transaction_id, account_id, topic_partition, topic_offset, currency, amount_minor,
    amount_gbp_minor, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex
FROM control.rollback_plan_decision
WHERE plan_id = %s AND disposition IN ('REVERSE', 'RELEASE') ORDER BY position LIMIT %s OFFSET %s;

-- name: count_overtaken
-- How many decisions of a plan were reversed or reviewed after the audit log had been read for it.
SELECT count(DISTINCT l.decision_id)
FROM control.rollback_plan_decision l
JOIN control.rollback_plan p USING (plan_id)
JOIN (
    SELECT decision_id, topic_partition, topic_offset FROM audit.reversal_log
    UNION ALL
    SELECT decision_id, topic_partition, topic_offset FROM audit.review_log
) later ON later.decision_id = l.decision_id
    AND later.topic_offset >= coalesce((p.audited_until ->> later.topic_partition::text)::bigint, 0)
WHERE l.plan_id = %s AND l.disposition IN ('REVERSE', 'RELEASE');

-- name: approve
-- Says who approved a plan, once.
INSERT INTO control.rollback_approval (plan_id, approved_by, approved_at, content_hash)
VALUES (%s, %s, timestamptz 'epoch' + %s * interval '1 millisecond', %s);

-- name: read_approval
-- Who approved a plan, and when.
SELECT approved_by, (extract(epoch FROM approved_at) * 1000)::bigint FROM control.rollback_approval WHERE plan_id = %s;

-- name: wait_for_turn
-- Plans are applied one at a time. A killed predecessor's session ends within moments.
SELECT control.take_turn('rollback_apply');

-- name: append_progress
-- Says how far a plan was carried out.
INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets)
SELECT %(plan_id)s, coalesce(max(sequence), 0) + 1, %(kind)s, %(applied_by)s, %(appended)s, %(end_offsets)s
FROM control.rollback_progress WHERE plan_id = %(plan_id)s;

-- name: read_progress
-- How far a plan was carried out, in order.
SELECT kind, applied_by, appended, end_offsets, (extract(epoch FROM at) * 1000)::bigint
FROM control.rollback_progress WHERE plan_id = %s ORDER BY sequence;

-- name: reversed_states
-- Where the payments of a plan's reversed decisions stand in the ledger; NULL where the executor has not come there.
SELECT l.outcome_before, l.outcome_after, l.disposition, s.state, count(*), sum(l.amount_minor)::bigint, l.currency
FROM control.rollback_plan_decision l
LEFT JOIN audit.ai_decision_log d ON d.decision_id = l.decision_id
LEFT JOIN ledger.execution_state s ON s.execution_id = d.execution_id
WHERE l.plan_id = %s AND l.disposition IN ('REVERSE', 'RELEASE')
GROUP BY l.outcome_before, l.outcome_after, l.disposition, s.state, l.currency
ORDER BY l.outcome_before, l.outcome_after, s.state, l.currency;

-- name: logged_reversals
-- How many of a plan's reversals stand in the audit log, and how many different ones.
SELECT count(*), count(DISTINCT reversal_id) FROM audit.reversal_log WHERE plan_id = %s;

-- name: decided_anew
-- What became of payments under these new ids.
SELECT decision, count(DISTINCT transaction_id) FROM audit.ai_decision_log
WHERE transaction_id = ANY(%s::text[]) GROUP BY decision ORDER BY 1;

-- name: ledger_sums
-- The sum over all entries of each currency: zero (I6).
SELECT currency, sum(amount_minor)::bigint FROM ledger.entry GROUP BY currency ORDER BY currency;
