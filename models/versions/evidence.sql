-- name: record
-- A file of evidence that is about to stand in the registry. The same file again changes nothing.
INSERT INTO control.model_evidence (name, file_sha256, kind, version, digest, passed)
VALUES (
    %(name)s, decode(%(sha256)s, 'hex'), %(kind)s, %(version)s, decode(%(digest)s, 'hex'), %(passed)s
)
ON CONFLICT (name) DO NOTHING;

-- name: recorded
-- The files of evidence that were ever filed of a version, in the order of their filing.
SELECT name, encode(file_sha256, 'hex'), kind, passed, control.as_ms(recorded_at)
FROM control.model_evidence WHERE version = %(version)s ORDER BY evidence_id;
