-- name: foreign_rights
-- A sentence for each right in PostgreSQL that reaches beyond one role for each process: to PUBLIC, to a role that isn't
-- ours, by membership in a group, by an attribute, or to pass on. What PostgreSQL itself gives PUBLIC (its catalogues,
-- its functions, its languages) is left out.
WITH ours (name) AS (
    SELECT unnest(%s::text[])
), places (what, name, owner, rights) AS (
    SELECT 'schema', nspname::text, nspowner, nspacl FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
    UNION ALL
    SELECT 'table', c.oid::regclass::text, relowner, relacl
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema' AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'column', attrelid::regclass || '.' || attname, relowner, attacl
    FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE attacl IS NOT NULL AND nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
    UNION ALL
    SELECT 'database', datname::text, datdba, coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'future objects of', pg_get_userbyid(defaclrole)::text, defaclrole, defaclacl FROM pg_default_acl
), granted AS (
    SELECT what, places.name, privilege_type, is_grantable,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END AS grantee
    FROM places, aclexplode(rights) WHERE grantee <> places.owner
)
SELECT format('%%s may %%s %%s %%s', grantee, privilege_type, what, name) FROM granted
WHERE grantee NOT IN (SELECT name FROM ours)
UNION ALL
SELECT format('%%s may pass on %%s of %%s %%s', grantee, privilege_type, what, name) FROM granted WHERE is_grantable
UNION ALL
SELECT format('%%s is a member of %%s', member.name, held.name)
FROM pg_auth_members, pg_get_userbyid(member) AS member (name), pg_get_userbyid(roleid) AS held (name)
WHERE (member.name IN (SELECT name FROM ours) OR held.name IN (SELECT name FROM ours)) AND member.name <> current_user
    AND (member.name::text, held.name::text) NOT IN (SELECT * FROM unnest(%s::text[], %s::text[]))
UNION ALL
SELECT format('%%s has the attribute %%s', rolname, attribute)
FROM pg_roles, LATERAL (VALUES ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
    ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) AS held (attribute, is_held)
WHERE is_held AND rolname <> current_user AND rolname <> 'postgres' AND rolname NOT LIKE 'pg\_%%'
UNION ALL
SELECT format('%%s owns %%s %%s', pg_get_userbyid(owner), what, name) FROM places
WHERE pg_get_userbyid(owner) IN (SELECT name FROM ours)
ORDER BY 1;
