-- name: read_positions
-- Reads the next offset of a consumer in each partition of a topic that it has read from.
SELECT partition, next_offset FROM control.consumer_position WHERE consumer = %s AND topic = %s;

-- name: advance_position
-- Moves a position that is still where the caller believes it to be. No row changes where another process has moved it,
-- so of two that believe a partition to be theirs only one can store it. Inserts a first position where there is none.
INSERT INTO control.consumer_position AS stored (consumer, topic, partition, next_offset)
SELECT %(consumer)s, %(topic)s, %(partition)s, %(after)s
WHERE %(before)s = 0 OR EXISTS (
    SELECT FROM control.consumer_position
    WHERE consumer = %(consumer)s AND topic = %(topic)s AND partition = %(partition)s
)
ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE stored.next_offset = %(before)s;
