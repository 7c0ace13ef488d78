"""A stream's file of lines, beside its leaf file: DIRECTORY/rows/TOPIC-PPPP.rows.

An entry of the leaf file says where its line begins. Lines are on the disk before their entries, so after a crash the
file may hold lines that no entry names; they are cut off. Whoever holds the lock of the leaf file writes this one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pipeline.audit.chain import ENTRY_BYTES, Entry
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.leaf_files import leaf_path, read_entries
from pipeline.audit.tables.lines import (
    HEAD_BYTES,
    LineKind,
    Position,
    kind_of,
    leaf_of,
    length_of,
    position_of,
    shape_text_of,
)
from pipeline.audit.tables.shapes import Shape, shape_of
from pipeline.audit.tables.snapshots import Snapshot

READ_BYTES: Final = 1 << 20
LINES_A_LOOK: Final = 4_096


class Lines:
    """A stream's lines, to be read. What its leaf does not prove raises NotContinued.

    The writer may be adding to it.
    """

    def __init__(self, directory: Path, topic: str, partition: int) -> None:
        self._path = lines_path(directory, topic, partition)
        self._leaves = leaf_path(directory, topic, partition)

    def between(self, begin: int, end: int) -> Iterator[tuple[Entry, bytes]]:
        """Entries [begin, end) of the leaf file with their lines, in order."""
        if begin == end:
            return
        with self._opened() as file:
            for entry in read_entries(self._leaves, begin, end):
                if file.tell() != entry.offset:
                    file.seek(entry.offset)
                yield entry, _proved(self._path, entry, _read(self._path, file.read, entry.offset))

    def shape(self, at: int) -> Shape:
        """The shape whose line begins there."""
        entry = self._entry(at)
        with self._opened() as file:
            file.seek(at)
            return parsed_shape(self._path, _proved(self._path, entry, _read(self._path, file.read, at)), at)

    def shapes_of(self, table: str, end: int) -> Iterator[tuple[int, Shape]]:
        """The shapes of a table before the entry `end`: the latest first, then from the oldest on."""
        mark = self.last_mark(end)
        latest = mark.position.shapes.get(table)
        if latest is not None:
            yield latest, self.shape(latest)
        for entry, line in self.between(0, end):
            if kind_of(line) is LineKind.SHAPE and entry.offset != latest:
                shape = parsed_shape(self._path, line, entry.offset)
                if shape.table == table:
                    yield entry.offset, shape

    def filled(self, table: str, end: int) -> Mapping[str, bytes | None]:
        """What rows from before hold in columns that were added to a table."""
        latest = self.last_mark(end).position.shapes.get(table)
        return {} if latest is None else self.shape(latest).filled

    def last_mark(self, end: int) -> Mark:
        """The last POSITION line before the entry `end`."""
        while end > 0:
            begin = max(end - LINES_A_LOOK, 0)
            lines = list(self.between(begin, end))
            for index in range(len(lines) - 1, -1, -1):
                if kind_of(lines[index][1]) is LineKind.POSITION:
                    return Mark(begin + index + 1, parsed_position(self._path, lines[index][1]))
            end = begin
        return Mark(0, Position(Snapshot(), {}))

    def _entry(self, at: int) -> Entry:
        """The entry of the line that begins there; offsets rise, so it is found by halving."""
        low, high = 0, self._leaves.stat().st_size // ENTRY_BYTES
        while low < high:
            middle = (low + high) // 2
            (entry,) = read_entries(self._leaves, middle, middle + 1)
            if entry.offset == at:
                return entry
            low, high = (middle + 1, high) if entry.offset < at else (low, middle)
        raise NotContinued(f"{self._leaves} has no entry of the line at {at}")

    def _opened(self) -> BinaryIO:
        try:
            return self._path.open("rb", READ_BYTES)
        except OSError as error:
            raise NotContinued(f"{self._path} can't be read ({type(error).__name__})") from error


class Mark(NamedTuple):
    """behind: the index of the entry after the mark. Where there is no mark, that is the first."""

    behind: int
    position: Position


class LineFile:
    """One stream's, to be written. size: its length in bytes."""

    def __init__(self, path: Path, last: Entry | None) -> None:
        """last: the leaf file's last entry. Raises NotContinued where its line is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.size = 0 if last is None else last.offset + len(self._line(last))
        except NotContinued:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, self.size)

    def append(self, lines: Sequence[bytes]) -> list[int]:
        """Return where each begins, once they are on the disk."""
        begins, at = [], self.size
        for line in lines:
            begins.append(at)
            at += len(line)
        content = memoryview(b"".join(lines))
        while content:
            content = content[os.write(self._descriptor, content) :]
        os.fdatasync(self._descriptor)
        self.size = at
        return begins

    def close(self) -> None:
        os.close(self._descriptor)

    def _line(self, entry: Entry) -> bytes:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(entry.offset)
            return _proved(self.path, entry, _read(self.path, file.read, entry.offset))


def lines_path(directory: Path, topic: str, partition: int) -> Path:
    return directory / "rows" / f"{topic}-{partition:04}.rows"


def parsed_shape(path: Path, line: bytes, at: int) -> Shape:
    """The shape whose line begins there. Raises NotContinued."""
    try:
        return shape_of(shape_text_of(line, at))
    except ValueError as error:
        raise NotContinued(f"{path} holds no shape at {at}") from error


def parsed_position(path: Path, line: bytes) -> Position:
    """Raises NotContinued."""
    try:
        return position_of(line)
    except ValueError as error:
        raise NotContinued(f"{path} holds a position that can't be read") from error


def _read(path: Path, read: Callable[[int], bytes], at: int) -> bytes:
    """The line that begins where `read` goes on."""
    head = read(HEAD_BYTES)
    try:
        length = length_of(head)
    except (ValueError, struct.error) as error:
        raise NotContinued(f"{path} has no line at {at}") from error
    return head + read(length - HEAD_BYTES)


def _proved(path: Path, entry: Entry, line: bytes) -> bytes:
    if leaf_of(line) != entry.leaf:
        raise NotContinued(f"the line at {entry.offset} of {path} is not the one that its leaf is of")
    return line
