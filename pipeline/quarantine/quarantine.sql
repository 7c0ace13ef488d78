-- name: append_proposal
-- Somebody proposes to put a record aside; the database adds the times, and checks the role.
INSERT INTO control.quarantine_proposal (
    quarantine_id, topic, topic_partition, topic_offset, record_sha256, record_length, proposed_by, reason,
    act
)
VALUES (
    %(quarantine_id)s, %(topic)s, %(partition)s, %(offset)s, %(record_sha256)s, %(record_length)s, %(by)s, %(reason)s,
    decode(%(act)s, 'hex')
);

-- name: confirm
-- Another person confirms exactly that; the database checks who, what and when.
INSERT INTO control.quarantine (
    topic, topic_partition, topic_offset, quarantine_id, record_sha256, confirmed_by, act
)
SELECT topic, topic_partition, topic_offset, quarantine_id, record_sha256, %(by)s, decode(%(act)s, 'hex')
FROM control.quarantine_proposal WHERE quarantine_id = %(quarantine_id)s;

-- name: read_proposals
-- Every proposal with what became of it, the latest first. Whether it has expired, the database's clock says.
SELECT proposal.quarantine_id::text, proposal.topic, proposal.topic_partition, proposal.topic_offset,
    proposal.record_sha256, proposal.record_length, proposal.proposed_by, proposal.reason,
    (extract(epoch FROM proposal.proposed_at) * 1000)::bigint, put.confirmed_by,
    (extract(epoch FROM put.confirmed_at) * 1000)::bigint, proposal.expires_at <= now(), encode(proposal.act, 'hex'),
    encode(put.act, 'hex')
FROM control.quarantine_proposal AS proposal LEFT JOIN control.quarantine AS put USING (quarantine_id)
WHERE %(wanted)s::text IS NULL OR proposal.quarantine_id::text = %(wanted)s
ORDER BY proposal.proposed_at DESC, proposal.quarantine_id LIMIT %(limit)s;
