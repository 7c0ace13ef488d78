-- name: take_turn
-- One person moves the champion at a time, until the transaction ends.
SELECT control.take_model_turn();

-- name: append_move
-- A record of the alias, once it stands in the registry.
INSERT INTO control.model_move (
    sequence, event, version, digest, previous_version, share_ppm, record_sha256, moved_by, reason, act, moved_at
)
VALUES (
    %(sequence)s, %(event)s, %(version)s, decode(%(digest)s, 'hex'), %(previous_version)s, %(share_ppm)s,
    decode(%(record_sha256)s, 'hex'), %(moved_by)s, %(reason)s, decode(%(act)s, 'hex'),
    timestamptz 'epoch' + %(at_ms)s::bigint * interval '1 millisecond'
);

-- name: event_of
-- What is recorded of one record of the alias.
SELECT event FROM control.model_move WHERE record_sha256 = decode(%(record_sha256)s, 'hex');

-- name: append_refusal
-- What was asked for and refused, with every reason.
INSERT INTO control.model_refusal (asked, version, digest, asked_by, reasons)
VALUES (%(asked)s, %(version)s, decode(%(digest)s, 'hex'), %(asked_by)s, %(reasons)s);

-- name: draw
-- What the seed of a red team rests on, by the database's chance; the same each time.
SELECT encode(control.draw_for(decode(%(digest)s, 'hex'), decode(%(champion)s, 'hex'), decode(%(policy)s, 'hex')), 'hex');

-- name: drawn
-- The same where it was drawn already.
SELECT encode(drawn, 'hex') FROM control.model_draw
WHERE digest = decode(%(digest)s, 'hex') AND champion = decode(%(champion)s, 'hex') AND policy = decode(%(policy)s, 'hex');

-- name: read_moves
-- The moves of the champion, the latest first.
SELECT sequence, event, version, encode(digest, 'hex'), previous_version, share_ppm, moved_by, reason,
    control.as_ms(moved_at), act IS NOT NULL
FROM control.model_move ORDER BY sequence DESC LIMIT %(limit)s;

-- name: arms
-- What each of two models decided by itself since a time, by its digest: how many payments, and how many of them it stopped.
SELECT encode(model_hash, 'hex'), count(*), count(*) FILTER (WHERE decision <> 'ALLOW')
FROM audit.ai_decision_log
WHERE filed_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond' AND route = 'MODEL'
    AND encode(model_hash, 'hex') = ANY (%(digests)s)
GROUP BY 1;

-- name: frauds
-- The same of payments that turned out to be fraud. Of two decisions about one payment the first counts.
SELECT digest, count(*), count(*) FILTER (WHERE decision <> 'ALLOW')
FROM (
    SELECT DISTINCT ON (transaction_id) encode(model_hash, 'hex') AS digest, decision
    FROM audit.ai_decision_log
    WHERE transaction_id = ANY (%(transaction_ids)s) AND route = 'MODEL'
        AND filed_at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond'
    ORDER BY transaction_id, filed_at
) AS decided
WHERE digest = ANY (%(digests)s)
GROUP BY 1;

-- name: trips
-- What the breaker did since a time that took the candidate, or everything, out of the loop; nothing that a drill did.
SELECT scope, event, cause, control.as_ms(at)
FROM control.breaker_transition
WHERE at >= timestamptz 'epoch' + %(since_ms)s::bigint * interval '1 millisecond' AND scope = ANY (%(scopes)s)
    AND event = ANY (%(events)s)
ORDER BY at LIMIT 20;
