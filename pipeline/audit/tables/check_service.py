"""The check before the tables' streams are continued: heads, leaves, lines and rows, and what stands on topics.

Bounded before anything is signed, newest first; in whole in the background and by `fraud audit check`. A window is what
stands between two POSITION lines: the rows that the database has of it must be those that the lines say, no fewer, no
more and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.audit.chain import Tree
from pipeline.audit.continuing.bounds import Bounds, Looked, NotContinued
from pipeline.audit.continuing.check_service import Continued
from pipeline.audit.continuing.head_files import Place, require_leaves, vetted_heads
from pipeline.audit.continuing.outside_topics import OutsideLog, Trees
from pipeline.audit.tables.line_files import Lines, lines_path, parsed_position, parsed_shape
from pipeline.audit.tables.lines import LineKind, RowLine, kind_of, row_line_of
from pipeline.audit.tables.log_store import require_not_behind
from pipeline.audit.tables.row_store import Row, one_snapshot, read_shapes, rows_between, tables_ahead
from pipeline.audit.tables.shapes import Shape, in_shape, key_of, shown_key
from pipeline.audit.tables.snapshots import Snapshot
from pipeline.audit.tables.streams import schema_of
from pipeline.io.postgres import Connection
from pipeline.keys.key_sets import KeySet

WINDOW_ROWS: Final = 20_000
"""Rows that are held against their lines at a time: some 10 MB."""
Chained = dict[tuple[str, bytes], tuple[Shape, RowLine]]
"""By table and key: the shape in which a row was chained, and its line."""


class TableContinuation:
    """For one thread. keys: read anew for each check. rest: called now and then."""

    def __init__(
        self,
        topic: str,
        directory: Path,
        keys: Callable[[], KeySet],
        outside: OutsideLog,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._topic, self._directory, self._keys = topic, directory, keys
        self._outside, self._rest = outside, rest

    def check(
        self,
        connection: Connection,
        trees: Mapping[int, Tree],
        bounds: Bounds,
        *,
        is_still: bool,
        with_rows: bool = True,
    ) -> Continued:
        """Raise NotContinued at the first thing that doesn't fit.

        is_still: nobody chains meanwhile. with_rows: also hold the rows against their lines. Raises also
        KeySetRefused, BrokerFailed and the like, DatabaseUnavailable, DatabaseRefused.
        """
        sizes = {partition: tree.size for partition, tree in trees.items()}
        keys = self._keys()
        stands = Trees(self._topic, self._directory, sizes, may_be_ahead=not is_still)
        outside = self._outside.held_against(stands, keys, bounds)
        looked, share = Looked(anchors=outside.anchors, statements=outside.statements), bounds.share(len(trees))
        for partition, tree in sorted(trees.items()):
            place = Place(self._directory, self._topic, partition)
            vetted = vetted_heads(place, keys, outside.seen_ms.get(partition, {}), share.heads)
            leaves = require_leaves(place, vetted.heads, tree, share.leaves)
            signed = vetted.heads[-1].head.tree_size if vetted.heads else 0
            # What only a revoked key vouches for is held against the rows, whatever the bounds say.
            begin = tree.size - share.rows if vetted.vouched == signed else min(tree.size - share.rows, vetted.vouched)
            rows = self.require_rows(connection, partition, begin, tree.size) if with_rows else 0
            looked = looked.plus(Looked(len(vetted.heads), leaves, rows))
        return Continued(looked, outside)

    def require_rows(self, connection: Connection, partition: int, begin: int, end: int) -> int:
        """Hold the lines of entries [begin, end), or from somewhat before, against the rows; return how many rows.

        Raises what `check` does.
        """
        lines = Lines(self._directory, self._topic, partition)
        window = _Window(connection, lines, partition, end)
        count, mark = 0, lines.last_mark(max(begin, 0))
        window.upto = window.since = mark.position.snapshot
        path = lines_path(self._directory, self._topic, partition)
        for entry, line in lines.between(mark.behind, end):
            kind = kind_of(line)
            if kind is LineKind.ROW:
                window.add(line)
                count += 1
            elif kind is LineKind.SHAPE:
                window.shapes[entry.offset] = parsed_shape(path, line, entry.offset)
            elif kind is LineKind.POSITION:
                window.mark(parsed_position(path, line).snapshot)
                self._rest()
        window.close()
        return count


class _Window:
    """Lines that are yet to be held against rows. since, upto: the snapshots between which the marked ones landed."""

    def __init__(self, connection: Connection, lines: Lines, partition: int, end: int) -> None:
        self._connection, self._lines, self._schema = connection, lines, schema_of(partition)
        self.since = self.upto = Snapshot()
        self.shapes: dict[int, Shape] = {}
        self._marked: Chained = {}
        self._behind: Chained = {}
        self._filled = self._latest_filled(end)

    def add(self, line: bytes) -> None:
        row = row_line_of(line)
        shape = self._shape(row.shape_at)
        where = shape.table, row.key
        if where in self._marked or where in self._behind:
            raise NotContinued(f"the row of {shape.table} with {shown_key(shape, row.key)} was chained twice")
        self._behind[where] = shape, row

    def mark(self, snapshot: Snapshot) -> None:
        self._marked |= self._behind
        self._behind, self.upto = {}, snapshot
        if len(self._marked) >= WINDOW_ROWS:
            self._compare(self._marked, self.since, self.upto)
            self.since = self.upto

    def close(self) -> None:
        self._compare(self._marked, self.since, self.upto)
        self._compare(self._behind, self.upto, None)

    def _compare(self, chained: Chained, since: Snapshot, upto: Snapshot | None) -> None:
        """Hold rows that landed between against their lines. upto: None: now; rows may be there that have none yet."""
        with one_snapshot(self._connection) as now:
            require_not_behind(self._schema, upto or since, now)
            present = read_shapes(self._connection, [self._schema])
            if ahead := tables_ahead(self._connection, present):
                raise NotContinued(f"{ahead[0]} has a row of a transaction that is yet to come")
            for table, shape in present.items():
                filled = shape._replace(filled=self._filled.get(table, {}))
                with closing(rows_between(self._connection, filled, since, upto or now)) as landed:
                    for row in landed:
                        _require_same(filled, row, chained, is_all=upto is not None)
        for (table, key), (shape, _) in chained.items():
            raise NotContinued(f"the row of {table} with {shown_key(shape, key)} is missing")

    def _shape(self, at: int) -> Shape:
        if at not in self.shapes:
            self.shapes[at] = self._lines.shape(at)
        return self.shapes[at]

    def _latest_filled(self, end: int) -> dict[str, Mapping[str, bytes | None]]:
        """What rows from before hold in columns that were added, as far as the stream has come."""
        mark = self._lines.last_mark(end)
        shapes = [self._shape(at) for at in mark.position.shapes.values()]
        for entry, line in self._lines.between(mark.behind, end):
            if kind_of(line) is LineKind.SHAPE:
                self.shapes[entry.offset] = self._lines.shape(entry.offset)
                shapes.append(self.shapes[entry.offset])
        return {shape.table: shape.filled for shape in shapes}


def _require_same(shape: Shape, row: Row, chained: Chained, *, is_all: bool) -> None:
    key = key_of(row.fields, shape.key)
    known = chained.pop((shape.table, key), None)
    if known is None:
        if is_all:
            raise NotContinued(f"the row of {shape.table} with {shown_key(shape, key)} was never chained")
        return
    was, line = known
    same = in_shape(row.fields, shape, was)
    if same is None or (hashlib.sha256(same).digest(), row.xid) != (line.row, line.xid):
        raise NotContinued(f"the row of {shape.table} with {shown_key(shape, key)} is not as it was chained")
