-- name: note_unproved
-- A record that a consumer passed over; noted again, it is the same row.
INSERT INTO control.unproved_record
    (consumer, topic, topic_partition, topic_offset, event, why, key_id, record_sha256)
VALUES (%(consumer)s, %(topic)s, %(partition)s, %(offset)s, %(event)s, %(why)s, %(key_id)s, sha256(%(record)s))
ON CONFLICT DO NOTHING;

-- name: passed_over_for
-- Records that a consumer passed over because it did not know their key, one of some that it knows now, and that it has
-- not taken in since.
SELECT topic_partition, topic_offset FROM control.unproved_record AS passed
WHERE consumer = %(consumer)s AND topic = %(topic)s AND why = 'KEY_UNKNOWN' AND event = 'PASSED_OVER'
    AND key_id = ANY(%(keys)s) AND topic_partition = ANY(%(partitions)s)
    AND NOT EXISTS (
        SELECT FROM control.unproved_record AS taken
        WHERE taken.consumer = passed.consumer AND taken.topic = passed.topic AND taken.event = 'TAKEN_IN'
            AND taken.topic_partition = passed.topic_partition AND taken.topic_offset = passed.topic_offset
    )
    AND (topic_partition, topic_offset) > (%(after_partition)s, %(after_offset)s)
ORDER BY topic_partition, topic_offset LIMIT %(limit)s;

-- name: noted_from
-- What a consumer noted of a partition from an offset on.
SELECT topic_offset, why, key_id FROM control.unproved_record
WHERE consumer = %(consumer)s AND topic = %(topic)s AND topic_partition = %(partition)s
    AND topic_offset >= %(first)s AND event = 'PASSED_OVER';
