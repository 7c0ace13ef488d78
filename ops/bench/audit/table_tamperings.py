"""Forgeries in the followed tables by a superuser, drawn by chance, with triggers off and in the caller's transaction.

Which rows a forgery touched is read from the table itself, before and after: every key whose rows are not the same.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ops.bench.audit.table_rows import column_types, other_value, written_columns
from ops.verifier.findings import Finding
from ops.verifier.leaves import read_leaves
from ops.verifier.lines import shape_of, shown_key, snapshot_of
from ops.verifier.tables import Stream, check_table, read_stream
from pipeline.audit.leaf_files import leaf_path, partitions_of
from pipeline.audit.tables.line_files import lines_path
from pipeline.audit.tables.row_store import all_rows, read_shapes
from pipeline.audit.tables.shapes import Shape, key_of, shape_text
from pipeline.audit.tables.streams import STREAMS, TABLES_LOG, schema_of

Touched = frozenset[str]
"""Keys as people write them."""


@dataclass(frozen=True, slots=True)
class Forger:
    """A superuser's connection, one table of it, and chance."""

    connection: psycopg.Connection[Any]
    table: str
    shape: Shape
    types: Mapping[str, str]
    chance: random.Random

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(*self.table.split(".", 1))

    @property
    def keys(self) -> list[str]:
        return [column.name for column in self.shape.columns[: self.shape.key]]

    def rows(self, count: int) -> list[sql.Composable]:
        """Conditions, each for a row of its own."""
        query = sql.SQL("SELECT tableoid, ctid::text FROM {} ORDER BY tableoid, ctid").format(self.name)
        found = self.connection.execute(query).fetchall()
        begin = self.chance.randrange(max(len(found) - count, 0) + 1)
        return [
            sql.SQL("(tableoid = {} AND ctid = {})").format(sql.Literal(part), sql.Literal(place))
            for part, place in found[begin : begin + count]
        ]

    def run(self, statement: str, **parts: sql.Composable) -> int:
        query = sql.SQL(statement).format(table=self.name, **parts)
        return self.connection.execute(query).rowcount


class ChainedTables:
    """The tables as the database holds them in the present transaction, and their streams outside it."""

    def __init__(self, connection: psycopg.Connection[Any], outside: Path) -> None:
        self.connection = connection
        self.shapes = read_shapes(connection, STREAMS)
        self._streams: dict[str, Stream] = {}
        for partition in partitions_of(outside, TABLES_LOG):
            entries = read_leaves(leaf_path(outside, TABLES_LOG, partition))
            stream = read_stream(partition, len(entries), entries, lines_path(outside, TABLES_LOG, partition))
            self._streams[schema_of(partition)] = stream

    def contents(self, table: str) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """The rows of a table by their keys."""
        by_key: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
        for row in all_rows(self.connection, self.shapes[table]):
            by_key[key_of(row.fields, self.shapes[table].key)].append(row)
        return {key: sorted(rows) for key, rows in by_key.items()}

    def touched(self, table: str, before: Mapping[bytes, Sequence[tuple[bytes, bytes]]]) -> Touched:
        after, shape = self.contents(table), shape_of(shape_text(self.shapes[table]))
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        return frozenset(shown_key(shape, key) for key in changed)

    def findings(self, table: str) -> list[Finding]:
        """What the offline verifier says of one table."""
        stream = self._streams[table.partition(".")[0]]
        found = self.connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert found is not None
        rows = [(int.from_bytes(row.xid, "big"), row.fields) for row in all_rows(self.connection, self.shapes[table])]
        shape = shape_of(shape_text(self.shapes[table]))
        return check_table(stream, shape, rows, snapshot_of(found[0]))[0]


def forger_of(tables: ChainedTables, table: str, chance: random.Random) -> Forger:
    types = {**column_types(tables.connection, table), "chain_xid": "xid8"}
    return Forger(tables.connection, table, tables.shapes[table], types, chance)


def located(findings: Sequence[Finding]) -> Touched:
    return frozenset(finding.detail.partition(": ")[0] for finding in findings)


def edit_column(forger: Forger) -> bool:
    """Change one column of one row, be it a key's, or its transaction."""
    column = forger.chance.choice(list(forger.types))
    value, (row,) = other_value(forger.types[column], column), forger.rows(1)
    return forger.run("UPDATE {table} SET {column} = {value} WHERE {row}", column=sql.Identifier(column), value=value,
                      row=row) > 0  # fmt: skip


def respell(forger: Forger) -> bool:
    """Write the same number otherwise in a document, which PostgreSQL holds to be equal."""
    documents = [name for name, type_ in forger.types.items() if type_ == "jsonb"]
    if not documents:
        return False
    column, (row,) = sql.Identifier(forger.chance.choice(documents)), forger.rows(1)
    change = "UPDATE {table} SET {column} = regexp_replace({column}::text, '([0-9]+)', '\\1.0')::jsonb"
    return forger.run(change + " WHERE {row} AND {column} IS NOT NULL", column=column, row=row) > 0


def delete_row(forger: Forger) -> bool:
    (row,) = forger.rows(1)
    return forger.run("DELETE FROM {table} WHERE {row}", row=row) > 0


def delete_run(forger: Forger) -> bool:
    rows = forger.rows(forger.chance.randint(2, 10))
    return forger.run("DELETE FROM {table} WHERE {rows}", rows=sql.SQL(" OR ").join(rows)) > 0


def empty(forger: Forger) -> bool:
    forger.run("TRUNCATE {table} CASCADE")
    return True


def insert_row(forger: Forger) -> bool:
    """Slip a row in beside another, as if it had been written with it."""
    changed = forger.keys[-1]
    return _copy(forger, {changed: other_value(forger.types.get(changed, "bigint"), changed)})


def repeat_row(forger: Forger) -> bool:
    """Write a row once more, as it is."""
    return _copy(forger, {})


def exchange_rows(forger: Forger) -> bool:
    """Exchange what two rows say; their keys stay where they are."""
    said = [name for name in forger.types if name not in forger.keys and name != "chain_xid"]
    rows = forger.rows(2)
    _without_uniqueness(forger)
    if not said or len(rows) < len("ab"):
        return False
    columns = sql.SQL(", ").join(map(sql.Identifier, said))
    return forger.run(
        "UPDATE {table} SET ({columns}) = (SELECT {columns} FROM {table} AS other WHERE ({rows}) AND "
        "(other.tableoid, other.ctid) <> ({table}.tableoid, {table}.ctid)) WHERE {rows}",
        columns=columns,
        rows=sql.SQL(" OR ").join(rows),
    ) > 0  # fmt: skip


TAMPERINGS: Final[tuple[Callable[[Forger], bool], ...]] = (
    edit_column, edit_column, edit_column, respell, delete_row, delete_run, empty, insert_row, repeat_row,
    exchange_rows,
)  # fmt: skip
"""All forgeries; each says whether it could be done in this table. Edits come three times as often."""


def _copy(forger: Forger, changes: Mapping[str, sql.Composable]) -> bool:
    _without_uniqueness(forger)
    (row,) = forger.rows(1)
    every = written_columns(forger.connection, forger.table)
    values = [changes.get(name, sql.Identifier(name)) for name in every]
    return forger.run(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {table} WHERE {row}",
        columns=sql.SQL(", ").join(map(sql.Identifier, every)),
        values=sql.SQL(", ").join(values),
        row=row,
    ) > 0  # fmt: skip


def _without_uniqueness(forger: Forger) -> None:
    """Take away what would keep a superuser from it; they can put it back."""
    constraints = "SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u') AND conrelid = %s::regclass"
    for (name,) in forger.connection.execute(constraints, [forger.table]).fetchall():
        forger.run("ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE", name=sql.Identifier(name))
    indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisunique AND indrelid = %s::regclass"
    for (name,) in forger.connection.execute(indexes, [forger.table]).fetchall():
        forger.connection.execute(sql.SQL("DROP INDEX {} CASCADE").format(sql.Identifier(*name.split(".", 1))))
