-- name: one_moment
-- All of a reading is of one moment, and writes nothing.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: decided
-- The stored bytes of every decision, in the order in which they were decided on.
SELECT record FROM audit.ai_decision_log
ORDER BY source_partition, source_offset, topic_partition, topic_offset;

-- name: by_people
-- What people made of decisions since, reviews before reversals: the last word on each counts.
SELECT record FROM (
    SELECT record, 0 AS kind, created_at, topic_partition, topic_offset FROM audit.review_log
    UNION ALL
    SELECT record, 1, created_at, topic_partition, topic_offset FROM audit.reversal_log
) AS said
ORDER BY kind, created_at, topic_partition, topic_offset;
