-- name: wait_for_turn
-- Letters are redriven by one command at a time. A killed predecessor's session ends within moments.
SELECT control.take_turn('redrive');

-- name: append_redrive
-- A sending, before anything of it is sent.
INSERT INTO control.redrive (redrive_id, requested_by, reason, criteria, transactions_from, act)
VALUES (
    %(redrive_id)s, %(requested_by)s, %(reason)s, %(criteria)s, %(transactions_from)s, decode(%(act)s, 'hex')
);

-- name: append_letter
-- A letter of a sending.
INSERT INTO control.redrive_letter (source_topic, source_partition, source_offset, redrive_id, code, payload_sha256)
VALUES (
    %(source_topic)s, %(source_partition)s, %(source_offset)s, %(redrive_id)s, %(code)s, %(payload_sha256)s
);

-- name: append_published
-- A letter's payment stands there on the letter's topic.
INSERT INTO control.redrive_published
    (published_partition, published_offset, source_topic, source_partition, source_offset, payload_sha256, published_by)
VALUES (
    %(published_partition)s, %(published_offset)s, %(source_topic)s, %(source_partition)s, %(source_offset)s,
    %(payload_sha256)s, %(published_by)s
)
ON CONFLICT DO NOTHING;

-- name: read_sent
-- Which of these letters were sent before, from where to look for what was sent, and where it stands as far as that is
-- recorded.
SELECT letter.source_topic, letter.source_partition, letter.source_offset, letter.payload_sha256,
    redrive.transactions_from, published.published_partition, published.published_offset
FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(payloads)s::bytea[])
    AS wanted (source_topic, source_partition, source_offset, payload_sha256)
JOIN control.redrive_letter AS letter USING (source_topic, source_partition, source_offset, payload_sha256)
JOIN control.redrive AS redrive USING (redrive_id)
LEFT JOIN control.redrive_published AS published
    USING (source_topic, source_partition, source_offset, payload_sha256);

-- name: read_refusals
-- The codes by which records of transactions.v1 became dead letters.
SELECT letter.source_partition, letter.source_offset, letter.code
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) AS wanted (source_partition, source_offset)
JOIN audit.dead_letter AS letter USING (source_partition, source_offset)
WHERE letter.source_topic = %(topic)s;

-- name: read_decisions
-- The decisions about these transaction ids, as they stand on the topic, whenever they were made: a copy of what was
-- decided may have been refused before its id was looked at.
SELECT record FROM audit.ai_decision_log WHERE transaction_id = ANY(%(transaction_ids)s);

-- name: read_audited
-- The offset of each partition of decisions.v1 below which the audit log has taken in all.
SELECT partition, next_offset FROM control.consumer_position WHERE consumer = 'audit' AND topic = %(topic)s;

-- name: read_reach
-- Since when the audit log holds all decisions; NULL where it holds them from the first one of each partition on. Where
-- it begins later, rows were taken out of it. Only the broker's time says so, and only where it could be true.
SELECT max(oldest.filed_at)
FROM unnest(%(partitions)s::integer[]) AS audited (topic_partition)
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT filed_at FROM audit.ai_decision_log AS held
         WHERE held.topic_partition = audited.topic_partition AND held.filed_at > '1970-01-02+00'
         ORDER BY filed_at LIMIT 1), now()
    ) AS filed_at
) AS oldest
WHERE NOT EXISTS (
    SELECT FROM audit.ai_decision_log AS held
    WHERE held.topic_partition = audited.topic_partition AND held.topic_offset = 0
);
