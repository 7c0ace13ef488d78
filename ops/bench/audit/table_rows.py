"""Rows in every followed table, made by the types of its columns, so that a new table has some by itself.

A superuser writes them, with triggers off and checks taken away: what a row says is of no account to the chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from psycopg import sql

from pipeline.audit.tables.streams import STREAMS

LAID_OUT_MAX: Final = 10_000
"""Rows that migrations write, at most, in the tables of numbered rows."""
_LAID_OUT: Final = frozenset({"control.migration", "ledger.life"})
_VALUES: Final[Mapping[str, str]] = {
    "uuid": "md5({name} || n)::uuid",
    "text": "{name} || '-' || n",
    "character varying": "{name} || '-' || n",
    "character": "left(md5({name} || n), 64)",
    "smallint": "n",
    "integer": "n",
    "bigint": "n",
    "timestamp with time zone": "date_trunc('month', now()) + n * interval '1 second'",
    "jsonb": "jsonb_build_object({name}, n)",
    "bytea": "sha256(({name} || n)::bytea)",
    "boolean": "mod(n, 2) = 0",
    "numeric": "n",
    "date": "date '2026-01-01' + n",
    "text[]": "ARRAY[{name} || n]",
}
"""A value of each type that no other n has, but for booleans."""
_COLUMNS: Final = """SELECT a.attname, format_type(a.atttypid, NULL), NOT a.attnotnull
    FROM pg_attribute AS a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
        AND a.attgenerated = '' AND a.attname <> 'chain_xid' ORDER BY a.attnum"""
_FOLLOWED: Final = """SELECT n.nspname || '.' || c.relname FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.attname = 'chain_xid' AND NOT a.attisdropped AND NOT c.relispartition AND c.relkind IN ('r', 'p')
        AND n.nspname = ANY (%s) ORDER BY 1"""
_CHECKS: Final = """SELECT c.conrelid::regclass::text, c.conname FROM pg_constraint AS c
    JOIN pg_class AS t ON t.oid = c.conrelid JOIN pg_namespace AS n ON n.oid = t.relnamespace
    WHERE c.contype = 'c' AND n.nspname = ANY (%s) ORDER BY t.relispartition"""


def followed_tables(connection: psycopg.Connection[Any]) -> list[str]:
    return [name for (name,) in connection.execute(_FOLLOWED, [list(STREAMS)]).fetchall()]


def without_checks(connection: psycopg.Connection[Any]) -> None:
    """Take the checks of every table away, in a bench's own database."""
    for table, name in connection.execute(_CHECKS, [list(STREAMS)]).fetchall():
        schema, _, bare = table.partition(".")
        where, what = sql.Identifier(schema, bare.strip('"')), sql.Identifier(name)
        connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE").format(where, what))


def fill(connection: psycopg.Connection[Any], table: str, numbers: range) -> None:
    """Append a row for each number, as a superuser with triggers off."""
    names, values = zip(*_values(connection, table), strict=True)
    first = numbers.start + (LAID_OUT_MAX if table in _LAID_OUT else 0)
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(%s::integer, %s::integer) AS n").format(
            sql.Identifier(*table.split(".", 1)),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(values),
        ),
        [first, first + len(numbers) - 1],
    )


def other_value(type_: str, name: str) -> sql.Composable:
    """Another value of a column than it has."""
    column = sql.Identifier(name)
    return sql.SQL(_OTHERS[type_]).format(column)


_OTHERS: Final[Mapping[str, str]] = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({}, '') || 'x'",
    "character varying": "coalesce({}, '') || 'x'",
    "character": "reverse(coalesce({}, 'x'))",
    "smallint": "coalesce({}, 0) + 1000",
    "integer": "coalesce({}, 0) + 100000",
    "bigint": "coalesce({}, 0) + 100000",
    "timestamp with time zone": "coalesce({}, now()) + interval '1 microsecond'",
    "jsonb": "coalesce({}, '{{}}') || '{{\"forged\": true}}'",
    "bytea": "sha256(coalesce({}, ''))",
    "boolean": "NOT coalesce({}, true)",
    "numeric": "coalesce({}, 0) + 0.5",
    "date": "coalesce({}, now()::date) + 1000",
    "text[]": "coalesce({}, ARRAY[]::text[]) || 'x'",
    "xid8": "((({})::text::numeric - 1)::text)::xid8",
}


def column_types(connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
    """The type of each column that `fill` writes, by name."""
    return {name: type_ for name, type_, _ in connection.execute(_COLUMNS, [table]).fetchall()}


def _values(connection: psycopg.Connection[Any], table: str) -> Iterator[tuple[str, sql.Composable]]:
    keys = "SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid" \
        " AND a.attnum = ANY (i.indkey) WHERE i.indisprimary AND i.indrelid = %s::regclass"  # fmt: skip
    key = {name for (name,) in connection.execute(keys, [table]).fetchall()}
    for name, type_, is_nullable in connection.execute(_COLUMNS, [table]).fetchall():
        value = sql.SQL(_VALUES[type_]).format(name=sql.Literal(name))
        if is_nullable and name not in key:
            value = sql.SQL("CASE WHEN mod(n, 3) > 0 THEN {} END").format(value)
        yield name, value


def written_columns(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """The columns that a copy of a row is written with: all that PostgreSQL doesn't compute."""
    query = """SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
        AND attgenerated = '' ORDER BY attnum"""
    return [name for (name,) in connection.execute(query, [table]).fetchall()]
