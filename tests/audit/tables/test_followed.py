"""Which tables are followed, and that nobody but the database says of which transaction a row is."""

from __future__ import annotations

import psycopg
import pytest

from ops.bench.audit.table_rows import followed_tables
from pipeline.audit.tables.row_store import read_shapes
from pipeline.audit.tables.streams import LEFT_OUT, STREAMS
from pipeline.io.postgres import Connection, connect
from tests.servers import url_as

APPEND_ONLY = """SELECT n.nspname || '.' || c.relname FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgname = 'refuse_change' AND NOT c.relispartition"""
WRITERS = """SELECT r.rolname, n.nspname || '.' || c.relname FROM pg_roles AS r, pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.attname = 'chain_xid' AND r.rolname LIKE 'fraud\\_%' AND NOT r.rolsuper
        AND (has_column_privilege(r.oid, c.oid, a.attnum, 'INSERT')
            OR has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE'))"""


def test_every_append_only_table_is_followed_or_left_out_with_a_reason(owner: Connection) -> None:
    append_only = {name for (name,) in owner.execute(APPEND_ONLY).fetchall()}
    followed = set(followed_tables(owner))
    assert append_only == followed | LEFT_OUT.keys()
    assert not followed & LEFT_OUT.keys()
    assert len(followed) >= 25


def test_every_schema_with_a_followed_table_has_a_stream(owner: Connection) -> None:
    every = owner.execute("""SELECT DISTINCT n.nspname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE a.attname = 'chain_xid' AND c.relkind IN ('r', 'p')""")
    assert {schema for (schema,) in every.fetchall()} == set(STREAMS)


def test_every_followed_table_has_a_key_and_the_audit_role_may_read_it(owner: Connection, database_url: str) -> None:
    shapes = read_shapes(owner, STREAMS)
    assert set(followed_tables(owner)) == shapes.keys()
    assert [] == [table for table, shape in shapes.items() if shape.key == 0]
    with connect(url_as(database_url, "fraud_audit"), "test") as audit:
        assert shapes == read_shapes(audit, STREAMS)
        for table in shapes:
            audit.execute(f"SELECT FROM {table}".encode())


def test_no_role_may_write_a_row_s_transaction(owner: Connection) -> None:
    assert [] == owner.execute(WRITERS).fetchall()


def test_a_service_can_t_backdate_a_row(owner: Connection, database_url: str) -> None:
    row = "('a', 'GBP', 0, now()"
    with connect(url_as(database_url, "fraud_treasurer"), "test") as treasurer:
        columns = "account_id, currency, overdraft_limit_minor, opened_at"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            treasurer.execute(f"INSERT INTO ledger.account ({columns}, chain_xid) VALUES {row}, '7')".encode())
        treasurer.execute(f"INSERT INTO ledger.account ({columns}) VALUES {row})".encode())
        own = treasurer.execute("SELECT chain_xid::text, xmin::text FROM ledger.account").fetchone()
    assert own is not None
    assert int(own[0]) % 2**32 == int(own[1])
