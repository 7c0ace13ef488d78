-- name: note_unproved
-- A record that a consumer passed over; noted again, it is the same row.
INSERT INTO control.unproved_record
    (consumer, topic, topic_partition, topic_offset, why, key_id, record_sha256)
VALUES (%(consumer)s, %(topic)s, %(partition)s, %(offset)s, %(why)s, %(key_id)s, sha256(%(record)s))
ON CONFLICT DO NOTHING;

-- name: noted_from
-- What a consumer noted of a partition from an offset on.
SELECT topic_offset, why, key_id, record_sha256 FROM control.unproved_record
WHERE consumer = %(consumer)s AND topic = %(topic)s AND topic_partition = %(partition)s
    AND topic_offset >= %(first)s;
