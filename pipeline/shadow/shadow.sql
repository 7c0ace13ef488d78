-- name: beginnings
-- Where this challenger began in each partition of a topic.
SELECT topic_partition, first_offset FROM shadow.beginning WHERE digest = %(digest)s AND topic = %(topic)s;

-- name: begin
-- That a challenger begins in a partition at this offset; said again, it is the same row.
INSERT INTO shadow.beginning (digest, version, kind, topic, topic_partition, first_offset)
VALUES (%(digest)s, %(version)s, %(kind)s, %(topic)s, %(partition)s, %(first)s)
ON CONFLICT DO NOTHING;

-- name: append_answers
-- The answers of a batch, a column an array. One that stands there already, such as of a decision whose record was read at
-- another offset, is left as it is.
INSERT INTO shadow.answer (
    digest, decision_id, filed_at, decided_at, transaction_id, segments, amount_gbp_minor, standing, champion_version,
    champion_outcome, challenger_outcome, champion_ppm, challenger_ppm, champion_says, challenger_says, topic_partition,
    topic_offset
)
SELECT DISTINCT ON (given.decision_id) %(digest)s, given.decision_id, given.filed_at, given.decided_at,
    given.transaction_id, string_to_array(given.segments, E'\n'), given.amount_gbp_minor, given.standing, given.champion_version,
    given.champion_outcome, given.challenger_outcome, given.champion_ppm, given.challenger_ppm, given.champion_says,
    given.challenger_says, given.topic_partition, given.topic_offset
FROM unnest(
    %(decision_id)s::uuid[], %(filed_at)s::timestamptz[], %(decided_at)s::timestamptz[], %(transaction_id)s::text[],
    %(segments)s::text[], %(amount_gbp_minor)s::bigint[], %(standing)s::text[], %(champion_version)s::text[],
    %(champion_outcome)s::text[], %(challenger_outcome)s::text[], %(champion_ppm)s::integer[],
    %(challenger_ppm)s::integer[], %(champion_says)s::text[], %(challenger_says)s::text[],
    %(topic_partition)s::integer[], %(topic_offset)s::bigint[]
) AS given (
    decision_id, filed_at, decided_at, transaction_id, segments, amount_gbp_minor, standing, champion_version,
    champion_outcome, challenger_outcome, champion_ppm, challenger_ppm, champion_says, challenger_says, topic_partition,
    topic_offset
)
WHERE NOT EXISTS (
    SELECT FROM shadow.answer AS known WHERE known.digest = %(digest)s AND known.decision_id = given.decision_id
)
ORDER BY given.decision_id, given.topic_offset
ON CONFLICT DO NOTHING;
