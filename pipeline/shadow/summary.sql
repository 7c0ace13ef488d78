-- name: digests_of
-- The challengers that were in the shadow under a version, the latest first.
SELECT digest, min(kind) FROM shadow.beginning WHERE version = %(version)s GROUP BY digest ORDER BY max(begun_at) DESC;

-- name: standings
-- How many decisions the challenger looked at, by what came of it.
SELECT standing, count(*) FROM shadow.answer WHERE digest = %(digest)s GROUP BY standing;

-- name: unanswered
-- Payments that the champion's model answered and the challenger could not: it failed, or reads a value that is UNKNOWN.
-- How many, and how many of them the champion does not allow.
SELECT count(*), count(*) FILTER (WHERE champion_outcome <> 'ALLOW') FROM shadow.answer
WHERE digest = %(digest)s AND standing IN ('FAILED', 'VALUE_UNKNOWN') AND champion_ppm >= 0
    AND (%(champion)s::text IS NULL OR champion_version = %(champion)s);

-- name: agreement
-- Compared payments by both outcomes, by band of value and by segment, a
-- payment in each of its own. A value that isn't known counts as the highest.
SELECT champion_outcome, challenger_outcome,
    CASE WHEN amount_gbp_minor < 0 THEN cardinality(%(bands)s::bigint[])
        ELSE width_bucket(amount_gbp_minor, %(bands)s::bigint[]) END AS band,
    segment, count(*)
FROM shadow.answer, unnest(segments) AS segment WHERE digest = %(digest)s AND standing = 'COMPARED'
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT %(limit)s;

-- name: counted_agreement
-- Compared payments by both outcomes and by band of value.
SELECT champion_outcome, challenger_outcome,
    CASE WHEN amount_gbp_minor < 0 THEN cardinality(%(bands)s::bigint[])
        ELSE width_bucket(amount_gbp_minor, %(bands)s::bigint[]) END AS band,
    count(*)
FROM shadow.answer WHERE digest = %(digest)s AND standing = 'COMPARED'
    AND (%(champion)s::text IS NULL OR champion_version = %(champion)s)
GROUP BY 1, 2, 3;

-- name: days
-- For each day by the broker's clock: how many payments were compared, how many of them in good time, and when the first
-- and the last of them was decided.
SELECT (extract(epoch FROM date_trunc('day', decided_at, 'UTC')) * 1000)::bigint, count(*),
    count(*) FILTER (WHERE answered_at - decided_at < %(timely_ms)s::bigint * interval '1 millisecond'),
    (extract(epoch FROM min(decided_at)) * 1000)::bigint, (extract(epoch FROM max(decided_at)) * 1000)::bigint
FROM shadow.answer WHERE digest = %(digest)s AND standing = 'COMPARED'
    AND (%(champion)s::text IS NULL OR champion_version = %(champion)s)
GROUP BY 1 ORDER BY 1;

-- name: disagreements
-- Disagreements after a place in the order in which they are listed, the most valuable first; an unknown value is first.
SELECT given.decision_id::text, given.transaction_id, array_to_string(given.segments, ', '), given.amount_gbp_minor, given.champion_outcome,
    given.challenger_outcome, given.champion_ppm, given.challenger_ppm, given.champion_says, given.challenger_says,
    (extract(epoch FROM given.decided_at) * 1000)::bigint
FROM shadow.answer AS given
WHERE given.digest = %(digest)s AND given.standing = 'COMPARED' AND given.challenger_outcome <> given.champion_outcome
    AND (%(champion)s::text IS NULL OR given.champion_version = %(champion)s)
    AND (NOT %(is_open)s OR NOT EXISTS (
        SELECT FROM control.disagreement_review AS reviewed
        WHERE reviewed.digest = given.digest AND reviewed.decision_id = given.decision_id))
ORDER BY (given.amount_gbp_minor >= 0), given.amount_gbp_minor DESC, given.decision_id LIMIT %(limit)s;

-- name: one_answer
-- What the challenger answered about one payment, by the decision's id or the payment's.
SELECT given.decision_id::text, given.transaction_id, array_to_string(given.segments, ', '), given.amount_gbp_minor, given.champion_outcome,
    given.challenger_outcome, given.champion_ppm, given.challenger_ppm, given.champion_says, given.challenger_says,
    (extract(epoch FROM given.decided_at) * 1000)::bigint
FROM shadow.answer AS given
WHERE given.digest = %(digest)s AND given.standing = 'COMPARED'
    AND (given.decision_id::text = %(wanted)s OR given.transaction_id = %(wanted)s)
ORDER BY given.decided_at LIMIT 2;

-- name: reviews
-- What people said of the disagreements with this challenger, in the order in which they said it.
SELECT encode(reviewed.act, 'hex'), reviewed.decision_id::text, reviewed.outcomes, reviewed.verdict, reviewed.reason,
    reviewed.reviewed_by, (extract(epoch FROM reviewed.reviewed_at) * 1000)::bigint, given.amount_gbp_minor
FROM control.disagreement_review AS reviewed
JOIN shadow.answer AS given ON given.digest = reviewed.digest AND given.decision_id = reviewed.decision_id
WHERE reviewed.digest = %(digest)s
ORDER BY reviewed.reviewed_at, reviewed.act;

-- name: append_review
-- What a person says of a disagreement; the database says when, and checks role and act.
INSERT INTO control.disagreement_review (act, digest, decision_id, outcomes, verdict, reason, reviewed_by)
VALUES (decode(%(act)s, 'hex'), %(digest)s, %(decision_id)s, %(outcomes)s, %(verdict)s, %(reason)s, %(by)s);

-- name: compared_of
-- What both models said of these payments. Of two decisions about one payment the first counts.
SELECT DISTINCT ON (transaction_id) transaction_id, champion_outcome, challenger_outcome, amount_gbp_minor
FROM shadow.answer
WHERE digest = %(digest)s AND transaction_id = ANY (%(transaction_ids)s) AND standing = 'COMPARED'
ORDER BY transaction_id, decided_at;

-- name: calibration
-- Payments that the champion allowed and whose labels had time to come, by band of the challenger's probability: how
-- many, what the probabilities come to, and how many are known as frauds.
SELECT width_bucket(challenger_ppm, %(bands)s::integer[]), count(*), sum(challenger_ppm)::bigint,
    count(*) FILTER (WHERE transaction_id = ANY (%(frauds)s))
FROM shadow.answer WHERE digest = %(digest)s AND standing = 'COMPARED' AND champion_outcome = 'ALLOW'
    AND decided_at < to_timestamp(%(before_ms)s::bigint / 1000.0)
GROUP BY 1 ORDER BY 1;
