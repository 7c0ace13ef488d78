-- name: open_case
-- Opens a case for the record that escalated. No row where that was done before. The round is one more than the
-- decision has; only one partition of decisions.v1 holds records about it, and one service reads that.
INSERT INTO review.review_case (
    decision_id, round, review_id, cause_id, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    summary, opened_at, expires_at, topic_partition, topic_offset
)
VALUES (
    %(decision_id)s, %(round)s, %(review_id)s, %(cause_id)s, %(transaction_id)s, %(account_id)s, %(currency)s,
    %(amount_minor)s, %(amount_gbp_minor)s, %(summary)s,
    timestamptz 'epoch' + %(opened_at_ms)s * interval '1 millisecond',
    timestamptz 'epoch' + %(expires_at_ms)s * interval '1 millisecond',
    %(topic_partition)s, %(topic_offset)s
);

-- name: rounds_of
-- Which rounds these decisions have, and what each was opened for.
SELECT decision_id, round, cause_id FROM review.review_case WHERE decision_id = ANY(%s::uuid[]) ORDER BY round;

-- name: planned_amounts
-- What rollback plans say about the decisions whose reversal sends them to review.
SELECT plan_id, decision_id, currency, amount_minor, amount_gbp_minor, why
FROM control.rollback_plan_decision
WHERE (plan_id, decision_id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]));

-- name: append_event
-- Appends an event of a case. Fails on its primary key where somebody else has written that sequence.
INSERT INTO review.case_event (
    decision_id, round, sequence, kind, actor, at, outcome, reason, claimed_until, topic_partition, topic_offset
)
VALUES (
    %(decision_id)s, %(round)s, %(sequence)s, %(kind)s, %(actor)s,
    timestamptz 'epoch' + %(at_ms)s * interval '1 millisecond', %(outcome)s, %(reason)s,
    timestamptz 'epoch' + %(claimed_until_ms)s::bigint * interval '1 millisecond',
    %(topic_partition)s, %(topic_offset)s
);

-- name: lock_cases
-- Makes everybody else who would append to these cases wait until this transaction is over.
SELECT review.lock_cases(%s::uuid[]);

-- name: latest_cases
-- The latest round of each of these decisions.
SELECT DISTINCT ON (decision_id)
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case WHERE decision_id = ANY(%s::uuid[]) ORDER BY decision_id, round DESC;

-- name: cases_of_round
-- These rounds of these decisions, each by decision and round.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case
WHERE (decision_id, round) IN (SELECT * FROM unnest(%s::uuid[], %s::integer[]));

-- name: cases_by_review
-- The cases with these review ids.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case WHERE review_id = ANY(%s::uuid[]);

-- name: cases_by_name
-- Every round of the decision, or of every decision about a transaction, with this id; oldest first.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case WHERE decision_id::text = %(wanted)s OR transaction_id = %(wanted)s
ORDER BY opened_at, decision_id, round;

-- name: events_of
-- What happened to these cases, in order.
SELECT
    decision_id::text, round, sequence, kind, actor, (extract(epoch FROM at) * 1000)::bigint, outcome, reason,
    (extract(epoch FROM claimed_until) * 1000)::bigint
FROM review.case_event
WHERE (decision_id, round) IN (SELECT * FROM unnest(%s::uuid[], %s::integer[]))
ORDER BY decision_id, round, sequence;

-- name: open_cases
-- Cases that people may act on, those first whose time is up first.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.case_under_way
WHERE kind NOT IN ('DECIDED', 'EXPIRED')
ORDER BY expires_at, decision_id LIMIT %s;

-- name: due_cases
-- Cases of these partitions whose time is up, that nobody has decided.
SELECT decision_id::text, round FROM review.case_under_way
WHERE kind NOT IN ('DECIDED', 'EXPIRED') AND topic_partition = ANY(%(partitions)s)
    AND expires_at <= timestamptz 'epoch' + %(now_ms)s * interval '1 millisecond'
ORDER BY expires_at LIMIT %(limit)s;

-- name: unpublished_cases
-- Decided cases of these partitions whose outcome has not been read back from the topic, in the order they were decided.
SELECT decision_id::text, round FROM review.case_under_way
WHERE kind IN ('DECIDED', 'EXPIRED') AND topic_partition = ANY(%(partitions)s)
ORDER BY at, decision_id LIMIT %(limit)s;

-- name: count_cases
-- How many cases are open, and how many decided but not yet published.
SELECT count(*) FILTER (WHERE kind NOT IN ('DECIDED', 'EXPIRED')), count(*) FILTER (WHERE kind IN ('DECIDED', 'EXPIRED'))
FROM review.case_under_way;
