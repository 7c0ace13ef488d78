-- name: put_aside
-- The quarantines of a record with exactly these bytes, the first one first: what the audit log is told of it, and what
-- two people are said to have signed; some at a time.
SELECT jsonb_build_object(
    'quarantine_id', put.quarantine_id, 'topic', put.topic, 'partition', put.topic_partition,
    'offset', put.topic_offset, 'record_sha256', encode(put.record_sha256, 'hex'), 'reason', proposal.reason,
    'proposed_by', proposal.proposed_by, 'proposed_at', proposal.proposed_at, 'proposed_act', encode(proposal.act, 'hex'),
    'confirmed_by', put.confirmed_by, 'confirmed_at', put.confirmed_at, 'confirmed_act', encode(put.act, 'hex')
)::text, put.quarantine_id::text, encode(put.record_sha256, 'hex'), proposal.record_length, proposal.reason,
    proposal.proposed_by, encode(proposal.act, 'hex'), put.confirmed_by, encode(put.act, 'hex')
FROM control.quarantine AS put JOIN control.quarantine_proposal AS proposal USING (quarantine_id)
WHERE put.topic = %(topic)s AND put.topic_partition = %(partition)s AND put.topic_offset = %(offset)s
    AND put.record_sha256 = %(record_sha256)s
ORDER BY put.confirmed_at, put.quarantine_id LIMIT %(limit)s OFFSET %(passed)s;

-- name: put_aside_places
-- The places of a topic whose records were put aside.
SELECT topic_partition, topic_offset FROM control.quarantine WHERE topic = %s;
