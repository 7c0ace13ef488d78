-- name: read_decisions
-- Every decision, in the order in which they were made, as it stands on the topic.
SELECT created_at, source_partition, source_offset, record
FROM audit.ai_decision_log
ORDER BY created_at, topic_partition, topic_offset;
