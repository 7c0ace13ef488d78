-- name: begin
-- One snapshot for a turn's statements; a batch may be one large transaction, which takes its time.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: no_time_limit
-- For this transaction alone.
SET LOCAL statement_timeout = 0;

-- name: snapshot
-- What this transaction sees.
SELECT pg_current_snapshot()::text;

-- name: columns
-- The columns of every followed table, the key's first and in its order; a place counts within the key.
SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod), key.place
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'chain_xid'
LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
LEFT JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS key (attnum, place) ON key.attnum = a.attnum
WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND EXISTS (
    SELECT FROM pg_attribute AS marked
    WHERE marked.attrelid = c.oid AND marked.attname = 'chain_xid' AND NOT marked.attisdropped
)
ORDER BY n.nspname, c.relname, key.place NULLS LAST, a.attnum;

-- name: news_of_table
-- Whether a table has rows that landed between two snapshots; and, where there are more new transactions' rows than a
-- batch takes, the transaction at which it ends. Each table's is joined to the others' by UNION ALL.
SELECT {name}::text, EXISTS (SELECT FROM {table} WHERE chain_xid >= %(from)s::xid8 AND chain_xid < %(to)s::xid8)
    OR EXISTS (SELECT FROM {table} WHERE chain_xid = ANY (%(landed)s::text::xid8[])),
    (SELECT chain_xid::text FROM {table} WHERE chain_xid >= %(from)s::xid8 AND chain_xid < %(to)s::xid8
     ORDER BY chain_xid OFFSET %(rows)s::bigint LIMIT 1)

-- name: copy_rows
-- The rows of a table that landed between two snapshots.
COPY (
    SELECT {columns} FROM {table}
    WHERE (chain_xid >= {from_xid}::xid8 AND chain_xid < {to_xid}::xid8 AND chain_xid <> ALL ({in_flight}::xid8[]))
        OR chain_xid = ANY ({landed}::xid8[])
) TO STDOUT (FORMAT binary)

-- name: copy_fillings
-- What the rows that a snapshot saw hold in a column that was added since; two are enough to know that they differ.
COPY (
    SELECT DISTINCT {column} FROM {table}
    WHERE chain_xid < {to_xid}::xid8 AND chain_xid <> ALL ({in_flight}::xid8[]) LIMIT 2
) TO STDOUT (FORMAT binary)

-- name: yet_to_come_of_table
-- Whether a table has a row whose transaction was never given. Joined like news_of_table.
SELECT {name}::text, EXISTS (SELECT FROM {table} WHERE chain_xid >= pg_snapshot_xmax(pg_current_snapshot()))

-- name: copy_table
-- All rows of a table that the transaction sees.
COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT binary)

-- name: copy_one
-- The rows in which columns have these values as text.
COPY (SELECT {columns} FROM {table} WHERE {wanted}) TO STDOUT (FORMAT binary)
