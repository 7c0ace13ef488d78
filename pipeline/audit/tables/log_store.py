"""Append-only tables into their streams: each row once, within seconds of its commit, and none never.

Invariants
1. A turn goes from the snapshot of the one before to that of now, and takes the rows that landed between; so nothing
   depends on the order of commits, on sequences or clocks, and no open transaction holds it up.
2. It reads and locks nothing: no row, no table, no advisory lock. What it writes stands outside the database.
3. A database that is behind its stream was restored, or is another one; nothing more is chained until a person says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import Tree, root
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.leaf_files import partitions_of
from pipeline.audit.tables.lines import row_line
from pipeline.audit.tables.row_store import Row, fillings, news, one_snapshot, read_shapes, rows_between
from pipeline.audit.tables.shapes import Shape, added, key_of
from pipeline.audit.tables.snapshots import Snapshot, cut_at
from pipeline.audit.tables.stream_files import Stream
from pipeline.audit.tables.streams import GENERATION, STREAMS, current_partitions
from pipeline.io.postgres import Connection

ROWS_MAX: Final = 20_000
"""Of a table in a turn, but for the rest of one transaction: some tenths of a second, and 3 MB of lines."""
LINES_A_WRITE: Final = 4_096
MARK_ROWS: Final = 5_000
"""Rows between two POSITION lines: so many are read twice after a restart, and each such line takes 1 KB at most."""


class Followed(NamedTuple):
    """rows: chained in this turn. is_behind: more rows wait than a turn takes."""

    rows: int
    is_behind: bool


class TableLog:
    """For one thread. clock_us: microseconds since 1970."""

    def __init__(self, topic: str, directory: Path, clock_us: Callable[[], int]) -> None:
        self._topic, self._directory, self._clock_us = topic, directory, clock_us
        self._streams: dict[str, Stream] = {}

    @property
    def trees(self) -> Mapping[int, Tree]:
        """The tree of each stream's partition."""
        return {stream.partition: stream.tree for stream in self._streams.values()}

    def open(self) -> None:
        """Take the streams. Raises LeafFileBusy, NotContinued, HeadRefused, OSError."""
        self.close()
        try:
            for schema, partition in current_partitions(partitions_of(self._directory, self._topic)).items():
                self._streams[schema] = self._stream(partition)
                if self._streams[schema].tree.size == 0:
                    self._streams[schema].begin(None)
        except BaseException:
            self.close()
            raise

    def begin_anew(self, partition: int, why: str) -> None:
        """End a stream, and begin its next generation, because a person said that the database was restored."""
        old = next(stream for stream in self._streams.values() if stream.partition == partition)
        follows = {
            "partition": partition,
            "tree_size": old.tree.size,
            "root": root(old.tree.frontier).hex(),
            "why": why,
        }
        fresh = self._stream(partition + GENERATION)
        fresh.begin(follows)
        old.close()
        self._streams[old.schema] = fresh

    def follow(self, connection: Connection) -> Followed:
        """Take one turn. Raises NotContinued, DatabaseUnavailable, DatabaseRefused, OSError."""
        rows, is_behind = 0, False
        with one_snapshot(connection) as now:
            present = read_shapes(connection, STREAMS)
            for schema, stream in self._streams.items():
                tables = {name: shape for name, shape in present.items() if name.startswith(f"{schema}.")}
                taken = self._follow(connection, stream, tables, now)
                rows, is_behind = rows + taken.rows, is_behind or taken.is_behind
        return Followed(rows, is_behind)

    def mark(self) -> None:
        """Say where each stream stands, before a head is signed over it."""
        for stream in self._streams.values():
            stream.mark()

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams = {}

    def _stream(self, partition: int) -> Stream:
        return Stream(self._directory, self._topic, partition, self._clock_us)

    def _follow(self, connection: Connection, stream: Stream, present: Mapping[str, Shape], now: Snapshot) -> Followed:
        require_not_behind(stream.schema, stream.snapshot, now)
        _reshape(connection, stream, present)
        found = news(connection, present, stream.snapshot, now, ROWS_MAX)
        is_behind = found.cut is not None and found.cut < now.upper
        upto = cut_at(now, found.cut) if found.cut is not None and is_behind else now
        rows = 0
        for table in sorted(found.tables):
            at, shape = stream.shapes[table]
            with closing(rows_between(connection, shape, stream.snapshot, upto)) as landed:
                lines = _lines(stream, at, shape, landed)
                while part := list(islice(lines, LINES_A_WRITE)):
                    stream.append(part)
                    rows += len(part)
        stream.snapshot = upto
        if not is_behind:
            stream.require_all_met()
        if stream.unmarked >= MARK_ROWS:
            stream.mark()
        return Followed(rows, is_behind)


def require_not_behind(schema: str, chained: Snapshot, now: Snapshot) -> None:
    """Raise NotContinued where the database has not come as far as the stream has seen."""
    if now.upper < chained.upper:
        raise NotContinued(
            f"the database has come to transaction {now.upper}, and the stream of {schema} to {chained.upper}: "
            "if it was restored from a backup, run with --refill"
        )


def _lines(stream: Stream, at: int, shape: Shape, rows: Iterable[Row]) -> Iterator[bytes]:
    for fields, xid in rows:
        key = key_of(fields, shape.key)
        if not stream.has_line(shape, fields, xid, key):
            yield row_line(at, xid, fields, key)


def _reshape(connection: Connection, stream: Stream, present: Mapping[str, Shape]) -> None:
    """Chain the shapes that are new. Raises NotContinued where rows that were chained can't be compared any more."""
    if gone := stream.shapes.keys() - present.keys():
        raise NotContinued(f"{min(gone)} is no longer followed")
    for table, shape in present.items():
        if shape.key == 0:
            raise NotContinued(f"{table} has no primary key, by which its rows could be told apart")
        _, known = stream.shapes.get(table, (0, None))
        if known is None:
            stream.reshape(shape)
        elif known.columns != shape.columns or known.key != shape.key:
            stream.reshape(shape._replace(filled=_filled(connection, known, shape, stream.snapshot)))


def _filled(connection: Connection, known: Shape, shape: Shape, seen: Snapshot) -> dict[str, bytes | None]:
    """What the rows that were chained hold in columns that they did not have then: one value each."""
    try:
        columns = added(known, shape)
    except ValueError as error:
        raise NotContinued(f"{shape.table} is not of the shape that it was chained in: {error}") from error
    filled = dict(known.filled)
    for column in columns:
        found = fillings(connection, shape, column, seen)
        if len(found) > 1:
            raise NotContinued(f"rows of {shape.table} that were chained without {column.name} differ in it")
        filled[column.name] = found[0] if found else None
    return filled
