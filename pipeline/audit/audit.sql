-- name: copy_decisions
-- Decisions of a batch; the columns in the order of audit_rows.decision_row.
COPY audit.ai_decision_log (
    decision_id, transaction_id, account_id, agent_id, model_version, model_hash, policy_version, policy_hash,
    input_hash, input_snapshot, decision, confidence, reasoning, reasons, rules_triggered, route, breaker_state,
    breaker_scope, execution_id, created_at, source_partition, source_offset,
    topic_partition, topic_offset, logged_at, filed_at, record, leaf_hash, chain_hash, recorded_at
) FROM STDIN (FORMAT binary);

-- name: copy_reversals
-- Reversals of a batch; the columns in the order of audit_rows.reversal_row.
COPY audit.reversal_log (
    reversal_id, decision_id, transaction_id, account_id, plan_id, reversed_outcome, corrected_outcome, reason,
    requested_by, approved_by, replaces_kind, replaces_id, plan_digest, created_at,
    topic_partition, topic_offset, logged_at, filed_at, record, leaf_hash, chain_hash, recorded_at
) FROM STDIN (FORMAT binary);

-- name: copy_reviews
-- Review outcomes of a batch; the columns in the order of audit_rows.review_row.
COPY audit.review_log (
    review_id, decision_id, transaction_id, account_id, outcome, reason, reviewed_by, second_reviewer, created_at,
    topic_partition, topic_offset, logged_at, filed_at, record, leaf_hash, chain_hash, recorded_at
) FROM STDIN (FORMAT binary);

-- name: copy_dead_letters
-- Dead letters of a batch, without payload; the columns in the order of audit_rows.letter_row.
COPY audit.dead_letter (
    source_topic, source_partition, source_offset, source_timestamp, code, detail, payload_sha256, payload_length,
    topic_partition, topic_offset, created_at, filed_at
) FROM STDIN (FORMAT binary);

-- name: insert_link
-- How far a partition's log has come with this batch.
INSERT INTO audit.chain_link (topic_partition, tree_size, last_offset, chain_hash, recorded_at)
VALUES (%s, %s, %s, %s, %s);

-- name: insert_quarantined
-- A record that was put aside.
INSERT INTO audit.quarantined (
    topic_partition, topic_offset, logged_at, statement, source_partition, source_offset, record, leaf_hash, chain_hash,
    recorded_at
)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s);

-- name: last_links
-- How far each partition's log has come.
SELECT DISTINCT ON (topic_partition) topic_partition, tree_size, last_offset, chain_hash
FROM audit.chain_link WHERE topic_partition = ANY(%s) ORDER BY topic_partition, tree_size DESC;

-- name: decisions_by_id
-- The decisions with these ids, as far as it takes to choose one.
SELECT transaction_id, decision_id::text, account_id, decision, (extract(epoch FROM created_at) * 1000)::bigint
FROM audit.ai_decision_log WHERE decision_id = ANY(%s::uuid[]);

-- name: decisions_of_transactions
-- The decisions about transactions with these ids, oldest first.
SELECT transaction_id, decision_id::text, account_id, decision, (extract(epoch FROM created_at) * 1000)::bigint
FROM audit.ai_decision_log WHERE transaction_id = ANY(%s::text[])
ORDER BY created_at, topic_partition, topic_offset;

-- name: place_of_decision
-- Where a decision stands on its topic, its times and its record; the first, should it be there more than once.
SELECT topic_partition, topic_offset, (extract(epoch FROM logged_at) * 1000)::bigint,
    (extract(epoch FROM filed_at) * 1000)::bigint, record
FROM audit.ai_decision_log
WHERE decision_id = %s ORDER BY created_at, topic_partition, topic_offset LIMIT 1;

-- name: records_of_decisions
-- The stored bytes of decisions, in the order of their topic, for deciding again.
SELECT topic_partition, topic_offset, record FROM audit.ai_decision_log
ORDER BY topic_partition, topic_offset;

-- name: latest_decisions
-- The stored bytes of the latest decisions, newest first: of all, or of those that one version of the model is named in.
SELECT record FROM audit.ai_decision_log
WHERE %(model_version)s::text IS NULL OR model_version = %(model_version)s
ORDER BY created_at DESC, topic_partition, topic_offset DESC LIMIT %(limit)s;

-- name: export_decisions
-- All of ai_decision_log as lines of JSON, in the order of the topic.
COPY (
    SELECT row_to_json(logged)::text FROM audit.ai_decision_log AS logged ORDER BY topic_partition, topic_offset
) TO STDOUT (FORMAT text);

-- name: export_reversals
-- All of reversal_log, likewise.
COPY (
    SELECT row_to_json(logged)::text FROM audit.reversal_log AS logged ORDER BY topic_partition, topic_offset
) TO STDOUT (FORMAT text);

-- name: export_reviews
-- All of review_log, likewise.
COPY (
    SELECT row_to_json(logged)::text FROM audit.review_log AS logged ORDER BY topic_partition, topic_offset
) TO STDOUT (FORMAT text);

-- name: export_quarantined
-- All of quarantined, likewise.
COPY (
    SELECT row_to_json(logged)::text FROM audit.quarantined AS logged ORDER BY topic_partition, topic_offset
) TO STDOUT (FORMAT text);

-- name: export_links
-- All of chain_link, likewise.
COPY (
    SELECT row_to_json(logged)::text FROM audit.chain_link AS logged ORDER BY topic_partition, tree_size
) TO STDOUT (FORMAT text);

-- name: rows_of_partition
-- Rows of one partition between two offsets, in their order, as far as the leaf file says what they must be.
SELECT topic_offset, leaf_hash, chain_hash, record, (extract(epoch FROM logged_at) * 1000)::bigint,
    (extract(epoch FROM filed_at) * 1000)::bigint, statement
FROM (
    SELECT topic_offset, topic_partition, leaf_hash, chain_hash, record, logged_at, filed_at, NULL AS statement
    FROM audit.ai_decision_log
    UNION ALL
    SELECT topic_offset, topic_partition, leaf_hash, chain_hash, record, logged_at, filed_at, NULL
    FROM audit.reversal_log
    UNION ALL
    SELECT topic_offset, topic_partition, leaf_hash, chain_hash, record, logged_at, filed_at, NULL
    FROM audit.review_log
    UNION ALL
    SELECT topic_offset, topic_partition, leaf_hash, chain_hash, record, logged_at, '1970-01-01+00', statement
    FROM audit.quarantined
) AS logged
WHERE topic_partition = %(partition)s AND topic_offset BETWEEN %(first)s AND %(last)s
ORDER BY topic_offset;
