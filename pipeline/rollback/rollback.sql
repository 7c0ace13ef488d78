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
-- The decisions that a plan is about, in the order of the topic. A criterion that is NULL lets everything pass. Of more
-- than a plan may hold any are enough to refuse it, so that no more are sorted.
SELECT d.decision_id::text, d.topic_partition, d.topic_offset, d.execution_id::text, d.record
FROM (
    SELECT d.decision_id, d.topic_partition, d.topic_offset, d.execution_id, d.record FROM audit.ai_decision_log AS d
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
    LIMIT %(most)s
) AS d
ORDER BY d.topic_partition, d.topic_offset;

-- name: positions_of
-- Up to which offset of each partition of a topic these consumers have stored what they read.
SELECT consumer, partition, next_offset FROM control.consumer_position WHERE topic = %s AND consumer = ANY(%s::text[]);

-- name: in_force
-- What is in force about each of these decisions, and where its payment is; no row where it isn't executed.
SELECT decision_id::text, record_kind, record_id::text, cause, state, is_at_rest, is_partly_recalled
FROM ledger.outcome_in_force WHERE decision_id = ANY(%s::uuid[]);

-- name: reviewers
-- The author of each of these reviews: a person, or the expiry.
SELECT DISTINCT review_id::text, reviewed_by FROM audit.review_log WHERE review_id = ANY(%s::uuid[]);

-- name: cases_under_way
-- The last event of the cases of these decisions that have not ended.
SELECT decision_id::text, kind FROM review.case_under_way WHERE decision_id = ANY(%s::uuid[]);

-- name: replaced_names
-- The record in force about each of these decisions.
SELECT decision_id::text, record_kind, record_id::text FROM ledger.outcome_in_force WHERE decision_id = ANY(%s::uuid[]);

-- name: heard_reversals
-- What the executor made of these reversals of these decisions, and where the payments are now; no row where one was not
-- heard yet. A copy that doesn't stand behind its decision counts where there is no other.
SELECT DISTINCT ON (stands.decision_id, cause.cause_id) stands.decision_id::text, cause.ignored IS NOT NULL,
    stands.applied_id = cause.cause_id, stands.state, stands.is_at_rest, stands.is_partly_recalled
FROM unnest(%s::uuid[], %s::uuid[]) AS wanted (decision_id, reversal_id)
JOIN ledger.outcome_in_force AS stands USING (decision_id)
JOIN ledger.cause AS cause ON cause.execution_id = stands.execution_id AND cause.cause_id = wanted.reversal_id
ORDER BY stands.decision_id, cause.cause_id, coalesce(cause.ignored = 'ELSEWHERE', false);

-- name: audited_reversals
-- The reversals of a plan about these decisions that stand in the audit log.
SELECT reversal_id::text FROM audit.reversal_log WHERE plan_id = %s AND decision_id = ANY(%s::uuid[]);

-- name: decided_payments
-- The decisions on transactions with these ids.
SELECT transaction_id, record FROM audit.ai_decision_log WHERE transaction_id = ANY(%s::text[]);

-- name: append_releases
-- Says how the giving back of payments has ended.
INSERT INTO control.rollback_release (plan_id, decision_id, ending)
SELECT %s, decision_id, ending FROM unnest(%s::uuid[], %s::text[]) AS ended (decision_id, ending)
ON CONFLICT DO NOTHING;

-- name: read_releases
-- How the giving back of a plan's payments is said to have ended.
SELECT decision_id::text, ending FROM control.rollback_release WHERE plan_id = %s;

-- name: append_content
-- Appends a part of a plan's canonical bytes.
INSERT INTO control.rollback_plan_content (plan_id, part, content) VALUES (%s, %s, %s);

-- name: read_content
-- A plan's canonical bytes, a part a row.
SELECT content FROM control.rollback_plan_content WHERE plan_id = %s ORDER BY part;

-- name: copy_lines
-- Writes a plan's lines, in bulk.
COPY control.rollback_plan_decision (
    plan_id, position, decision_id, transaction_id, account_id, topic_partition, topic_offset, currency, amount_minor,
    amount_gbp_minor, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex, state,
    replaces_kind, replaces_id
) FROM STDIN;

-- name: insert_plan
-- Writes a plan's header, after its lines and in their transaction.
INSERT INTO control.rollback_plan (
    plan_id, requested_by, requested_at, expires_at, reason, criteria, good_model_version, good_model_hash,
    good_policy_version, good_policy_hash, breaker, good_feeds, audited_until, decisions, changing, blast_radius,
    content_hash, act
)
VALUES (
    %(plan_id)s, %(requested_by)s, timestamptz 'epoch' + %(requested_at_ms)s * interval '1 millisecond',
    timestamptz 'epoch' + %(expires_at_ms)s * interval '1 millisecond', %(reason)s, %(criteria)s,
    %(good_model_version)s, %(good_model_hash)s, %(good_policy_version)s, %(good_policy_hash)s, %(breaker)s,
    %(good_feeds)s, %(audited_until)s, %(decisions)s, %(changing)s, %(blast_radius)s, %(content_hash)s,
    decode(%(act)s, 'hex')
);

-- name: read_plan
-- A plan's header and what was added up when it was made.
SELECT
    plan_id::text, requested_by, (extract(epoch FROM requested_at) * 1000)::bigint,
    (extract(epoch FROM expires_at) * 1000)::bigint, reason, criteria, good_model_version, good_model_hash,
    good_policy_version, good_policy_hash, breaker, good_feeds, audited_until, decisions, changing, blast_radius,
    content_hash, encode(act, 'hex')
FROM control.rollback_plan WHERE plan_id::text = %s;

-- name: read_plan_ids
-- The latest plans, newest first.
SELECT plan_id::text FROM control.rollback_plan ORDER BY requested_at DESC, plan_id LIMIT %s;

-- name: read_lines
-- A plan's lines in order, as rows; what is applied are its canonical bytes.
SELECT
    decision_id::text, transaction_id, account_id, topic_partition, topic_offset, currency, amount_minor,
    amount_gbp_minor, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex, state,
    replaces_kind, replaces_id
FROM control.rollback_plan_decision WHERE plan_id = %s ORDER BY position;

-- name: approve
-- Says who approved a plan, once.
INSERT INTO control.rollback_approval (plan_id, approved_by, approved_at, content_hash, act)
VALUES (%s, %s, timestamptz 'epoch' + %s * interval '1 millisecond', %s, decode(%s, 'hex'));

-- name: read_approval
-- Who approved a plan, and when.
SELECT approved_by, (extract(epoch FROM approved_at) * 1000)::bigint, content_hash, encode(act, 'hex')
FROM control.rollback_approval WHERE plan_id = %s;

-- name: wait_for_turn
-- Plans are applied one at a time. A killed predecessor's session ends within moments.
SELECT control.take_turn('rollback_apply');

-- name: append_progress
-- Says how far a plan was carried out.
INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets, transaction_ends, act)
SELECT %(plan_id)s, coalesce(max(sequence), 0) + 1, %(kind)s, %(applied_by)s, %(appended)s, %(end_offsets)s,
    %(transaction_ends)s, decode(%(act)s, 'hex')
FROM control.rollback_progress WHERE plan_id = %(plan_id)s;

-- name: read_progress
-- How far a plan was carried out, in order.
SELECT kind, applied_by, appended, end_offsets, transaction_ends, (extract(epoch FROM at) * 1000)::bigint,
    encode(act, 'hex')
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
