-- name: read_grants
-- Reads every grant and revocation of a person's roles, in the order in which they were made.
SELECT role, is_held FROM control.person_grant WHERE name = %s ORDER BY sequence;

-- name: read_all_grants
-- Reads every grant and revocation of everybody's roles, in the order in which they were made.
SELECT name, role, is_held, granted_by, granted_at FROM control.person_grant ORDER BY sequence;

-- name: lock_grants
-- Lets one change through at a time, because who may be the first ADMIN depends on whether there is one.
LOCK TABLE control.person_grant IN SHARE ROW EXCLUSIVE MODE;

-- name: has_admin
-- Says whether anybody holds the role ADMIN.
SELECT EXISTS (
    SELECT FROM (
        SELECT DISTINCT ON (name) is_held FROM control.person_grant WHERE role = 'ADMIN' ORDER BY name, sequence DESC
    ) latest
    WHERE is_held
);

-- name: append_grant
-- Records that a role is held from now on, or no longer.
INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES (%s, %s, %s, %s);
