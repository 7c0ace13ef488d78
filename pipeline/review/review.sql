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
-- The rounds that these decisions had before a place on the topic, for each the first that was read.
SELECT opened.decision_id::text, opened.round FROM unnest(%s::uuid[], %s::bigint[]) AS wanted (decision_id, first_offset)
JOIN review.review_case AS opened ON opened.decision_id = wanted.decision_id AND opened.topic_offset < wanted.first_offset;

-- name: opened_for
-- Of these records those that a case was opened for.
SELECT cause_id::text FROM review.review_case WHERE cause_id = ANY(%s::uuid[]);

-- name: records_in_force
-- The last record that took another's place, of each of these decisions, before the first place that was read.
SELECT wanted.decision_id::text, last.record_kind, last.record_id::text, last.outcome
FROM unnest(%s::uuid[], %s::bigint[]) AS wanted (decision_id, first_offset)
CROSS JOIN LATERAL (
    SELECT record_kind, record_id, outcome FROM review.record_in_force
    WHERE record_in_force.decision_id = wanted.decision_id AND record_in_force.topic_offset < wanted.first_offset
    ORDER BY topic_offset DESC LIMIT 1
) AS last;

-- name: append_in_force
-- Says that a record took another's place.
INSERT INTO review.record_in_force (topic_partition, topic_offset, decision_id, record_kind, record_id, outcome)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING;

-- name: unheld_cases
-- Open cases of these partitions whose payment is at rest, but not held: why, by the last turn of its saga.
SELECT c.decision_id::text, c.round, coalesce(stands.reason, stands.state)
FROM review.case_under_way AS c
JOIN ledger.outcome_in_force AS stands ON stands.decision_id = c.decision_id AND stands.record_id = c.cause_id
WHERE c.kind NOT IN ('DECIDED', 'EXPIRED') AND c.topic_partition = ANY(%(partitions)s)
    AND stands.is_at_rest AND stands.state <> 'HELD'
LIMIT %(limit)s;

-- name: worths_of
-- The payments of these decisions, as they were decided on.
SELECT wanted.decision_id::text, worth.currency, worth.amount_minor, worth.amount_gbp_minor
FROM unnest(%s::uuid[]) AS wanted (decision_id) CROSS JOIN LATERAL review.worth_of(wanted.decision_id) AS worth;

-- name: unfounded_cases
-- Of these rounds those that are not what the audit log says of their records.
SELECT opened.decision_id::text, opened.round FROM review.review_case AS opened
WHERE (opened.decision_id, opened.round) IN (SELECT * FROM unnest(%s::uuid[], %s::integer[]))
    AND NOT review.is_as_audited(opened);

-- name: append_event
-- Appends an event of a case. Fails on its primary key where somebody else has written that sequence.
INSERT INTO review.case_event (
    decision_id, round, sequence, kind, actor, at, outcome, reason, claimed_until, act, topic_partition, topic_offset
)
VALUES (
    %(decision_id)s, %(round)s, %(sequence)s, %(kind)s, %(actor)s,
    timestamptz 'epoch' + %(at_ms)s * interval '1 millisecond', %(outcome)s, %(reason)s,
    timestamptz 'epoch' + %(claimed_until_ms)s::bigint * interval '1 millisecond',
    decode(%(act)s, 'hex'), %(topic_partition)s, %(topic_offset)s
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

-- name: decision_places
-- Where the decisions stand that were escalated themselves, of these.
SELECT decision_id::text, topic_partition, topic_offset
FROM review.review_case WHERE round = 1 AND cause_id = decision_id AND decision_id = ANY(%s::uuid[]);

-- name: cases_of_round
-- These rounds of these decisions, each by decision and round.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case
WHERE (decision_id, round) IN (SELECT * FROM unnest(%s::uuid[], %s::integer[]));

-- name: cases_of
-- Every round of these decisions.
SELECT
    decision_id::text, round, transaction_id, account_id, currency, amount_minor, amount_gbp_minor,
    (extract(epoch FROM opened_at) * 1000)::bigint, (extract(epoch FROM expires_at) * 1000)::bigint, summary
FROM review.review_case WHERE decision_id = ANY(%s::uuid[]);

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
    (extract(epoch FROM claimed_until) * 1000)::bigint, encode(act, 'hex')
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

-- name: pending_cases
-- Cases of these partitions in which something that a person did waits: a claim, or a proposal.
SELECT decision_id::text, round FROM review.case_under_way
WHERE kind IN ('CLAIMED', 'PROPOSED') AND topic_partition = ANY(%(partitions)s)
ORDER BY at, decision_id LIMIT %(limit)s;

-- name: voided_cases
-- Cases of these partitions in which what came last was voided, the latest first.
SELECT decision_id::text, round FROM review.case_under_way
WHERE kind = 'VOIDED' AND topic_partition = ANY(%(partitions)s) ORDER BY at DESC, decision_id LIMIT %(limit)s;

-- name: count_cases
-- How many cases are open, and how many decided but not yet published.
SELECT count(*) FILTER (WHERE kind NOT IN ('DECIDED', 'EXPIRED')), count(*) FILTER (WHERE kind IN ('DECIDED', 'EXPIRED'))
FROM review.case_under_way;

-- name: open_money
-- What the cases that are open hold, and when the oldest was opened, by currency.
SELECT currency, sum(amount_minor)::bigint, (extract(epoch FROM min(opened_at)) * 1000)::bigint
FROM review.case_under_way WHERE kind NOT IN ('DECIDED', 'EXPIRED') AND amount_minor >= 0
GROUP BY currency ORDER BY currency;

-- name: standing_recoveries
-- Recovery cases that nothing has settled, or those of a decision's payment, oldest first, each with everybody who is said
-- to have closed it.
SELECT execution_id::text, sequence, decision_id::text, transaction_id, account_id, beneficiary_account_id, currency,
    amount_minor, missing_minor, reason, (extract(epoch FROM recorded_at) * 1000)::bigint, closed_by, closed_reason,
    encode(closed_act, 'hex')
FROM review.standing_recovery
WHERE %(wanted)s::text IS NULL OR decision_id::text = %(wanted)s OR transaction_id = %(wanted)s
ORDER BY recorded_at, execution_id, sequence;

-- name: close_recovery
-- Says that a person is done with a recovery case, and how.
INSERT INTO review.recovery_closing (execution_id, sequence, closed_by, reason, act)
VALUES (%s, %s, %s, %s, decode(%s, 'hex'));
