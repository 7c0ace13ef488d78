"""Rows of followed tables as the database gives them, by the snapshots between which they became visible."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final, NamedTuple

from psycopg import sql

from pipeline.audit.tables.shapes import CHAIN_XID, Column, Shape, fields_of
from pipeline.audit.tables.snapshots import Snapshot, landed, snapshot_of
from pipeline.io.postgres import Connection, failures_named, statements

_SQL: Final = statements("pipeline.audit.tables", "tables")
_HEADER_BYTES: Final = 19
"""Of a binary COPY: its signature, flags, and the length of an extension that there is none of."""
_END: Final = b"\xff\xff"
_COUNT_BYTES: Final = 2
_XID_BYTES: Final = 8
_LENGTH_BYTES: Final = 4


class Row(NamedTuple):
    """A row's fields, without its transaction; and that, as 8 bytes."""

    fields: bytes
    xid: bytes


class News(NamedTuple):
    """tables: those with rows to take. cut: the transaction before which the batch ends, where all are too many."""

    tables: frozenset[str]
    cut: int | None


@contextmanager
def one_snapshot(connection: Connection) -> Iterator[Snapshot]:
    """A transaction that only reads, and what it sees. Raises DatabaseUnavailable, DatabaseRefused."""
    with failures_named(), connection.transaction():
        connection.execute(_SQL["begin"])
        connection.execute(_SQL["no_time_limit"])
        found = connection.execute(_SQL["snapshot"]).fetchone()
        assert found is not None, "it is one row"
        yield snapshot_of(found[0])


def read_shapes(connection: Connection, schemas: Sequence[str]) -> dict[str, Shape]:
    """The present shape of every followed table of these schemas, by its name; none says what was filled in."""
    found = connection.execute(_SQL["columns"], {"schemas": list(schemas)}).fetchall()
    shapes = {}
    for table, rows in groupby(found, key=lambda row: row[0]):
        columns = list(rows)
        key = sum(place is not None for *_, place in columns)
        shapes[table] = Shape(table, tuple(Column(name, type_) for _, name, type_, _ in columns), key, {})
    return shapes


def news(connection: Connection, tables: Iterable[str], before: Snapshot, after: Snapshot, rows: int) -> News:
    """Which tables have rows that landed between. `rows`: a batch of a table, but for the rest of a transaction."""
    each = [_of_table("news_of_table", table) for table in tables]
    if not each:
        return News(frozenset(), None)
    where = {"from": str(before.upper), "to": str(after.upper), "landed": _array(landed(before, after)), "rows": rows}
    found = connection.execute(sql.SQL(" UNION ALL ").join(each), where).fetchall()
    cuts = [int(xid) + 1 for _, _, xid in found if xid is not None]
    return News(frozenset(name for name, has_rows, _ in found if has_rows), min(cuts, default=None))


def rows_between(connection: Connection, shape: Shape, before: Snapshot, after: Snapshot) -> Generator[Row, None, None]:
    """A table's rows that landed between. Whoever stops before the last closes it, or the connection waits."""
    return _rows(
        connection,
        _composed(
            "copy_rows",
            shape,
            from_xid=sql.Literal(str(before.upper)),
            to_xid=sql.Literal(str(max(after.upper, before.upper))),
            in_flight=sql.Literal(_array(after.in_flight)),
            landed=sql.Literal(_array(landed(before, after))),
        ),
    )


def fillings(connection: Connection, shape: Shape, column: Column, seen: Snapshot) -> list[bytes | None]:
    """What the rows that `seen` saw hold in that column: the different fields, two of them at most."""
    query = _composed(
        "copy_fillings",
        shape,
        column=sql.Identifier(column.name),
        to_xid=sql.Literal(str(seen.upper)),
        in_flight=sql.Literal(_array(seen.in_flight)),
    )
    return [fields_of(row[_COUNT_BYTES:])[0] for row in _copied(connection, query)]


def tables_ahead(connection: Connection, tables: Iterable[str]) -> list[str]:
    """The tables with a row whose transaction was never given."""
    each = [_of_table("yet_to_come_of_table", table) for table in tables]
    if not each:
        return []
    found = connection.execute(sql.SQL(" UNION ALL ").join(each)).fetchall()
    return [name for name, is_ahead in found if is_ahead]


def all_rows(connection: Connection, shape: Shape) -> Generator[Row, None, None]:
    return _rows(connection, _composed("copy_table", shape))


def rows_with(connection: Connection, shape: Shape, wanted: Mapping[str, str]) -> Generator[Row, None, None]:
    """The rows in which columns of the shape have these values, as text."""
    each = [sql.SQL("{}::text = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in wanted.items()]
    return _rows(connection, _composed("copy_one", shape, wanted=sql.SQL(" AND ").join(each)))


def _rows(connection: Connection, query: sql.Composed) -> Generator[Row, None, None]:
    end = -(_LENGTH_BYTES + _XID_BYTES)
    for row in _copied(connection, query):
        yield Row(row[_COUNT_BYTES:end], row[-_XID_BYTES:])


def _copied(connection: Connection, query: sql.Composed) -> Generator[bytes, None, None]:
    is_first = True
    with connection.cursor().copy(query) as copy:
        for block in copy:
            row = bytes(block)[_HEADER_BYTES:] if is_first else bytes(block)
            is_first = False
            if row != _END:
                yield row


def _of_table(statement: str, table: str) -> sql.Composed:
    return _template(statement).format(name=sql.Literal(table), table=_identifier(table))


def _composed(statement: str, shape: Shape, **parts: sql.Composable) -> sql.Composed:
    names = [*(column.name for column in shape.columns), CHAIN_XID]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    return _template(statement).format(columns=columns, table=_identifier(shape.table), **parts)


def _template(statement: str) -> sql.SQL:
    return sql.SQL(_SQL[statement].decode())


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _array(xids: Iterable[int]) -> str:
    return "{" + ",".join(map(str, xids)) + "}"
