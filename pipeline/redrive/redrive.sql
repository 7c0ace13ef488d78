-- name: limit_wait
-- How long to wait for a turn.
SET lock_timeout = '15s';

-- name: wait_for_turn
-- Letters are redriven by one command at a time. A killed predecessor's session ends within moments.
SELECT pg_advisory_lock(hashtext('control.redrive'));

-- name: end_turn
-- Lets the next command redrive.
SELECT pg_advisory_unlock(hashtext('control.redrive'));

-- name: append_redrive
-- A sending, before anything of it is sent.
INSERT INTO control.redrive (redrive_id, requested_by, reason, criteria, transactions_from)
VALUES (%(redrive_id)s, %(requested_by)s, %(reason)s, %(criteria)s, %(transactions_from)s);

-- name: append_letter
-- A letter of a sending.
INSERT INTO control.redrive_letter (source_partition, source_offset, redrive_id, code, payload_sha256)
VALUES (%(source_partition)s, %(source_offset)s, %(redrive_id)s, %(code)s, %(payload_sha256)s);

-- name: append_published
-- A letter's payment stands on transactions.v1.
INSERT INTO control.redrive_published (source_partition, source_offset, published_by)
VALUES (%(source_partition)s, %(source_offset)s, %(published_by)s);

-- name: read_sent
-- Which of these letters were sent before, whether their payments are known to stand on the topic, and from where to
-- look for them otherwise.
SELECT letter.source_partition, letter.source_offset, published.published_at IS NOT NULL, redrive.transactions_from
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) AS wanted (source_partition, source_offset)
JOIN control.redrive_letter AS letter USING (source_partition, source_offset)
JOIN control.redrive AS redrive USING (redrive_id)
LEFT JOIN control.redrive_published AS published USING (source_partition, source_offset);

-- name: read_decisions
-- The decisions about these transaction ids, as they stand on the topic. Nothing is decided before it was a dead letter.
SELECT record FROM audit.ai_decision_log
WHERE transaction_id = ANY(%(transaction_ids)s)
    AND created_at >= timestamptz 'epoch' + %(since_ms)s * interval '1 millisecond';
