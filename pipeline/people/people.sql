-- name: append_act
-- Appends a signed act. The database takes its name, its author and its time out of what was signed.
INSERT INTO control.signed_act (content, signature, evidence) VALUES (%(content)s, %(signature)s, %(evidence)s);

-- name: read_registry_acts
-- The acts that say who people are and what they may do, from one on, in their order.
SELECT sequence, content, signature, evidence FROM control.signed_act
WHERE is_of_registry AND sequence >= %s ORDER BY sequence;

-- name: read_acts
-- The signed acts with these names.
SELECT encode(digest, 'hex'), content, signature, evidence FROM control.signed_act
WHERE digest IN (SELECT decode(wanted, 'hex') FROM unnest(%s::text[]) AS wanted);

-- name: acts_since
-- The signed acts after one, in order.
SELECT sequence, content, signature, evidence FROM control.signed_act WHERE sequence > %s ORDER BY sequence LIMIT %s;

-- name: latest_sequence
-- Where the acts end.
SELECT coalesce(max(sequence), 0) FROM control.signed_act;

-- name: registry_rows
-- The rows that the triggers look at, each with the act that made it and what that must say.
SELECT 'control.person_grant', sequence::text, encode(act, 'hex'), granted_by, jsonb_build_object(
        'name', name, 'role', role, 'is_held', is_held)
FROM control.person_grant
UNION ALL
SELECT 'control.person_key', key_id, encode(act, 'hex'), name, jsonb_build_object('name', name, 'key', key_id)
FROM control.person_key
UNION ALL
SELECT 'control.key_revocation', key_id, encode(act, 'hex'), '?', jsonb_build_object('key', key_id)
FROM control.key_revocation;

-- name: lock_registry
-- Lets one change of the registry through at a time, because each names the one before it.
LOCK TABLE control.person_grant IN SHARE ROW EXCLUSIVE MODE;

-- name: read_all_grants
-- Every grant and revocation of everybody's roles, in the order in which they were made.
SELECT name, role, is_held, granted_by, granted_at, encode(act, 'hex') FROM control.person_grant ORDER BY sequence;

-- name: append_grant
-- A role is held from now on, or no longer.
INSERT INTO control.person_grant (name, role, is_held, granted_by, act)
VALUES (%(name)s, %(role)s, %(is_held)s, %(by)s, decode(%(act)s, 'hex'));

-- name: append_key
-- A key is somebody's from now on.
INSERT INTO control.person_key (key_id, name, public, act)
VALUES (%(key_id)s, %(name)s, decode(%(public)s, 'hex'), decode(%(act)s, 'hex'));

-- name: append_key_revocation
-- A key signs nothing any more.
INSERT INTO control.key_revocation (key_id, reason, act) VALUES (%(key_id)s, %(reason)s, decode(%(act)s, 'hex'));

-- name: claimed_acts
-- Every row that stands for a person's act, with what its act must say.
SELECT of_table, place, encode(act, 'hex'), kind, name, subject FROM control.claimed_act
UNION ALL
SELECT of_table, place, encode(act, 'hex'), kind, name, subject FROM control.claimed_ruling;
