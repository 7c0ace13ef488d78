"""One stream of table rows, to be written: its leaf file, its lines, its tree, and where it stands.

Invariants
1. A line is on the disk before its leaf, and its leaf before the row counts as chained.
2. A POSITION line stands behind every row that its snapshot sees. Rows behind it landed since, and whoever goes on from
   it meets them again: those that have a line already must be as that says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.audit.chain import Entry, Tree, grown
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.leaf_files import LeafFile, latest_head
from pipeline.audit.tables.line_files import LineFile, Lines, lines_path, parsed_shape
from pipeline.audit.tables.lines import (
    LineKind,
    Position,
    RowLine,
    beginning_line,
    kind_of,
    leaf_of,
    position_line,
    row_line_of,
    shape_line,
)
from pipeline.audit.tables.shapes import Shape, in_shape, shape_text, shown_key
from pipeline.audit.tables.snapshots import Snapshot
from pipeline.audit.tables.streams import GENERATION, schema_of

ENTRIES_A_READ: Final = 65_536


class Stream:
    """Locked until `close`.

    snapshot: every row that it sees has a line. shapes: the present one of each table, and where its line begins.
    """

    def __init__(self, directory: Path, topic: str, partition: int, clock_us: Callable[[], int]) -> None:
        """Raises LeafFileBusy, NotContinued, HeadRefused, OSError."""
        self.partition, self.schema = partition, schema_of(partition)
        self._directory, self._topic, self._clock_us = directory, topic, clock_us
        self._leaves = LeafFile(directory, topic, partition)
        try:
            self._path, size = lines_path(directory, topic, partition), self._leaves.size
            last = self._leaves.read(size - 1, size)[0] if size else None
            self._lines = LineFile(self._path, last)
        except BaseException:
            self._leaves.close()
            raise
        try:
            self.tree = self._whole_tree()
            self._resume(Lines(directory, topic, partition))
        except BaseException:
            self.close()
            raise

    def begin(self, follows: Mapping[str, object] | None) -> None:
        """Write the first line."""
        assert self.tree.size == 0, "a stream begins once"
        self.append([beginning_line(self.schema, self.partition // GENERATION, follows)])

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Chain lines, and return where each begins."""
        begins, at_us = self._lines.append(lines), self._clock_us()
        entries = [Entry(at, at_us, leaf_of(line)) for at, line in zip(begins, lines, strict=True)]
        self._leaves.append(entries)
        self.tree = grown(self.tree, entries)
        return begins

    def reshape(self, shape: Shape) -> None:
        """Chain a table's new shape."""
        (at,) = self.append([shape_line(self._lines.size, shape_text(shape))])
        self.shapes[shape.table] = at, shape

    def has_line(self, shape: Shape, row: bytes, xid: bytes, key: bytes) -> bool:
        """Whether a row has its line from before a restart. Raises NotContinued where that says otherwise."""
        if not self._unmarked or (known := self._unmarked.pop((shape.table, key), None)) is None:
            return False
        was, line = known
        same = in_shape(row, shape, was)
        if same is None or (hashlib.sha256(same).digest(), xid) != (line.row, line.xid):
            raise NotContinued(f"the row of {shape.table} with {shown_key(shape, key)} is not as it was chained")
        return True

    def require_all_met(self) -> None:
        """Raise NotContinued where a row that has a line from before a restart was not there."""
        for (table, key), (shape, _) in self._unmarked.items():
            raise NotContinued(f"the row of {table} with {shown_key(shape, key)} is missing")

    @property
    def unmarked(self) -> int:
        """How many lines stand behind the last POSITION line."""
        return self.tree.size - self._marked

    def mark(self) -> None:
        """Chain where the stream stands, if anything came since that was said last.

        Lines of a predecessor whose rows were not met again yet stand in the way, so nothing is said before.
        """
        if self.unmarked and not self._unmarked:
            shapes = {table: at for table, (at, _) in self.shapes.items()}
            self.append([position_line(Position(self.snapshot, shapes))])
            self._marked = self.tree.size

    def close(self) -> None:
        self._lines.close()
        self._leaves.close()

    def _whole_tree(self) -> Tree:
        signed = latest_head(self._directory, self._topic, self.partition, self._leaves.size)
        tree = Tree() if signed is None else signed.tree
        for begin in range(tree.size, self._leaves.size, ENTRIES_A_READ):
            tree = grown(tree, self._leaves.read(begin, begin + ENTRIES_A_READ))
        return tree

    def _resume(self, lines: Lines) -> None:
        """From the last POSITION line: the shapes that it names, and the lines behind it."""
        self._marked, position = lines.last_mark(self._leaves.size)
        self.snapshot: Snapshot = position.snapshot
        self.shapes: dict[str, tuple[int, Shape]] = {
            table: (at, lines.shape(at)) for table, at in position.shapes.items()
        }
        shapes = {at: shape for at, shape in self.shapes.values()}
        self._unmarked: dict[tuple[str, bytes], tuple[Shape, RowLine]] = {}
        for entry, line in lines.between(self._marked, self._leaves.size):
            kind = kind_of(line)
            if kind is LineKind.SHAPE:
                shape = shapes[entry.offset] = parsed_shape(self._path, line, entry.offset)
                self.shapes[shape.table] = entry.offset, shape
            elif kind is LineKind.ROW:
                self._remember(row_line_of(line), shapes)

    def _remember(self, row: RowLine, shapes: Mapping[int, Shape]) -> None:
        shape = shapes.get(row.shape_at)
        if shape is None:
            raise NotContinued(f"{self._path} has a row of a shape that does not stand before it")
        self._unmarked[shape.table, row.key] = shape, row
