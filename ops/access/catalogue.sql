-- name: catalogue
-- A line for everything that says what our roles may do in this database, and what holds them to it: rights,
-- memberships, attributes and settings of roles, triggers, row security, constraints, and the functions' own text. It is
-- the same on every major version; a partition goes by its table's name, and the database by none.
WITH ours (name) AS (
    SELECT unnest(%(roles)s::text[])
), related (oid, name, is_partition, owner, rights, kind) AS (
    SELECT c.oid, coalesce(inhparent, c.oid)::regclass::text, relispartition, relowner, relacl, relkind
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    LEFT JOIN pg_inherits ON inhrelid = c.oid AND relispartition
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema' AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
), places (what, name, owner, rights) AS (
    SELECT 'schema', nspname::text, nspowner, nspacl FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
    UNION ALL
    SELECT CASE WHEN is_partition THEN 'partition of' ELSE 'table' END, name, owner, rights FROM related
    UNION ALL
    SELECT CASE WHEN is_partition THEN 'partition''s column' ELSE 'column' END, name || '.' || attname, owner, attacl
    FROM related JOIN pg_attribute ON attrelid = related.oid WHERE attacl IS NOT NULL
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
    WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
    UNION ALL
    SELECT 'the', 'database', datdba, coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
), system_rights (what, name, owner, rights, first_rights) AS (
    SELECT 'table', c.oid::regclass::text, relowner, coalesce(relacl, acldefault('r', relowner)),
        coalesce(initprivs, acldefault('r', relowner))
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    LEFT JOIN pg_init_privs AS made ON made.objoid = c.oid AND made.classoid = 'pg_class'::regclass AND objsubid = 0
    WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v')
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)),
        coalesce(initprivs, acldefault('f', proowner))
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
    LEFT JOIN pg_init_privs AS made ON made.objoid = p.oid AND made.classoid = 'pg_proc'::regclass
    WHERE nspname IN ('pg_catalog', 'information_schema')
)
SELECT format('%%s may %%s %%s %%s', pg_get_userbyid(grantee), privilege_type, what, places.name)
FROM places, aclexplode(rights) WHERE grantee <> places.owner AND pg_get_userbyid(grantee) IN (SELECT name FROM ours)
UNION
SELECT format('%%s may %%s %%s %%s of PostgreSQL''s own',
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, what, name)
FROM system_rights, aclexplode(rights) AS held WHERE grantee <> owner AND NOT EXISTS (
    SELECT FROM aclexplode(first_rights) AS first
    WHERE (first.grantee, first.privilege_type) = (held.grantee, held.privilege_type)
)
UNION
SELECT format('everybody''s right to EXECUTE %%s of PostgreSQL''s own is taken back', split_part(name, '(', 1))
FROM system_rights
WHERE what = 'function' AND EXISTS (SELECT FROM aclexplode(first_rights) AS first WHERE first.grantee = 0)
GROUP BY split_part(name, '(', 1)
HAVING bool_and(NOT EXISTS (SELECT FROM aclexplode(rights) AS held WHERE held.grantee = 0))
UNION
SELECT format('everybody may CONNECT to the database %%s', datname)
FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
WHERE datname IN ('postgres', 'template1') AND datname <> current_database() AND grantee = 0
    AND privilege_type = 'CONNECT'
UNION
SELECT format('%%s may %%s the setting %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
    privilege_type, parname)
FROM pg_parameter_acl, aclexplode(paracl) WHERE grantee <> 10
UNION
SELECT format('%%s is a member of %%s', pg_get_userbyid(member), pg_get_userbyid(roleid))
FROM pg_auth_members WHERE pg_get_userbyid(member) IN (SELECT name FROM ours)
UNION
SELECT format('%%s has %%s connections%%s', rolname, rolconnlimit,
    CASE WHEN rolcanlogin THEN '' ELSE ', and no login' END)
FROM pg_roles WHERE rolname IN (SELECT name FROM ours)
UNION
SELECT format('%%s has the setting %%s',
    CASE setrole WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(setrole) END, setting)
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND (setrole = 0 OR pg_get_userbyid(setrole) IN (SELECT name FROM ours))
UNION
SELECT format('trigger %%s of %%s runs %%s, %%s',
    CASE WHEN tgisinternal THEN 'of a constraint' ELSE tgname END, related.name,
    CASE WHEN tgisinternal THEN 'it' ELSE tgfoid::regprocedure::text END,
    CASE tgenabled WHEN 'O' THEN 'enabled' ELSE 'DISABLED' END)
FROM pg_trigger JOIN related ON related.oid = tgrelid
UNION
SELECT format('%%s has row security%%s', related.name,
    CASE WHEN relforcerowsecurity THEN ' for its owner, too' ELSE '' END)
FROM related JOIN pg_class AS c ON c.oid = related.oid WHERE relrowsecurity
UNION
SELECT format('policy %%s of %%s, %%s', polname, related.name, polcmd)
FROM pg_policy JOIN related ON related.oid = polrelid
UNION
SELECT format('constraint %%s of %%s%%s', conname, related.name,
    CASE WHEN convalidated THEN '' ELSE ', NOT VALIDATED' END)
FROM pg_constraint JOIN related ON related.oid = conrelid
WHERE contype IN ('c', 'f', 'p', 'u') AND NOT is_partition AND conparentid = 0
UNION
SELECT format('function %%s %%s%%s, sha256 %%s', p.oid::regprocedure,
    CASE WHEN prosecdef THEN 'as its owner, ' ELSE '' END,
    coalesce(array_to_string(proconfig, ', '), 'with no settings'), left(encode(sha256(convert_to(prosrc, 'UTF8')), 'hex'), 16))
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
WHERE nspname NOT LIKE 'pg\_%%' AND nspname <> 'information_schema'
ORDER BY 1;
