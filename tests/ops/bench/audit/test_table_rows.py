"""The values that the tamper bench forges with."""

from __future__ import annotations

import pytest
from psycopg import sql

from ops.bench.audit.table_rows import column_types, followed_tables, other_value
from pipeline.io.postgres import Connection

TYPES = {
    "bigint",
    "boolean",
    "bytea",
    "character varying",
    "date",
    "integer",
    "jsonb",
    "numeric",
    "smallint",
    "text",
    "text[]",
    "timestamp with time zone",
    "uuid",
}


def test_every_type_of_a_followed_table_is_tried_below(owner: Connection) -> None:
    used = {type_ for table in followed_tables(owner) for type_ in column_types(owner, table).values()}
    assert used <= TYPES | {"character", "xid8"}


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_a_forged_value_is_another_than_any_that_stands_there_and_than_none(owner: Connection, type_: str) -> None:
    owner.execute(sql.SQL("CREATE TEMPORARY TABLE forged (held {})").format(sql.SQL(type_)))
    owner.execute("INSERT INTO forged VALUES (NULL)")
    forge = sql.SQL("UPDATE forged SET held = {} RETURNING held").format(other_value(type_, "held"))
    seen = [owner.execute(forge).fetchone() for _ in range(3)]
    assert (None,) not in seen
    assert seen[0] != seen[1] != seen[2]
