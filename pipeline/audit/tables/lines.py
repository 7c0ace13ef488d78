"""The lines of a stream: one a leaf. A leaf binds its line; the line of a row binds the row, its key and its shape.

    ROW        where the shape's line begins (8 bytes), the row's transaction (8), SHA-256 of the row (32), its key
    SHAPE      where this line begins (8 bytes), and a table's columns as shape_text writes them
    POSITION   JSON: the snapshot of which every row stands before it, and where the line of each table's shape begins
    BEGINNING  JSON: the first line of a stream, and what it follows after the database was restored

Each begins with the length of its content (4 bytes) and its kind (1). Numbers are big-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.audit.tables.snapshots import Snapshot, snapshot_of, snapshot_text

HEAD_BYTES: Final = 5
_HEAD: Final = struct.Struct(">IB")
_AT: Final = struct.Struct(">Q")
_ROW: Final = struct.Struct(">Q8s32s")
CONTENT_BYTES_MAX: Final = 2**24
"""Keys take some tens of bytes, a position some hundreds."""


class LineKind(IntEnum):
    ROW = 1
    SHAPE = 2
    POSITION = 3
    BEGINNING = 4


class RowLine(NamedTuple):
    """shape_at: where the line of the shape begins. xid: the transaction, as 8 bytes. row: its SHA-256."""

    shape_at: int
    xid: bytes
    row: bytes
    key: bytes


class Position(NamedTuple):
    """shapes: where the line of each table's shape begins."""

    snapshot: Snapshot
    shapes: Mapping[str, int]


def leaf_of(line: bytes) -> bytes:
    """RFC 6962's leaf hash, but for its first byte, which no other kind of hash of ours has."""
    return hashlib.sha256(b"\4" + line).digest()


def line_of(kind: LineKind, content: bytes) -> bytes:
    assert len(content) <= CONTENT_BYTES_MAX, "a reader refuses a longer one"
    return _HEAD.pack(len(content), kind) + content


def row_line(shape_at: int, xid: bytes, row: bytes, key: bytes) -> bytes:
    """`row`: its bytes."""
    return line_of(LineKind.ROW, _ROW.pack(shape_at, xid, hashlib.sha256(row).digest()) + key)


def shape_line(at: int, text: bytes) -> bytes:
    """at: where the line begins, so that its leaf proves which rows name it. text: of the shape."""
    return line_of(LineKind.SHAPE, _AT.pack(at) + text)


def shape_text_of(line: bytes, at: int) -> bytes:
    """The text of the shape whose line begins there. Raises ValueError."""
    content = content_of(line)
    if kind_of(line) is not LineKind.SHAPE or content[: _AT.size] != _AT.pack(at):
        raise ValueError("the line is none of a shape that begins there")
    return content[_AT.size :]


def position_line(position: Position) -> bytes:
    fields = {"shapes": dict(position.shapes), "snapshot": snapshot_text(position.snapshot)}
    return line_of(LineKind.POSITION, json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def beginning_line(schema: str, generation: int, follows: Mapping[str, object] | None) -> bytes:
    """`follows`: the head of the generation before that was the last; None of the first generation."""
    fields = {"follows": follows, "generation": generation, "schema": schema}
    return line_of(LineKind.BEGINNING, json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def length_of(head: bytes) -> int:
    """The length of the line that begins so. Raises ValueError."""
    length, _ = _HEAD.unpack_from(head)
    if length > CONTENT_BYTES_MAX:
        raise ValueError("a line is longer than any that is written")
    return HEAD_BYTES + int(length)


def kind_of(line: bytes) -> LineKind:
    """Raises ValueError."""
    return LineKind(line[HEAD_BYTES - 1])


def content_of(line: bytes) -> bytes:
    return line[HEAD_BYTES:]


def row_line_of(line: bytes) -> RowLine:
    """Raises ValueError."""
    try:
        shape_at, xid, row = _ROW.unpack_from(line, HEAD_BYTES)
    except struct.error as error:
        raise ValueError("the line is none of a row") from error
    return RowLine(shape_at, xid, row, line[HEAD_BYTES + _ROW.size :])


def position_of(line: bytes) -> Position:
    """Raises ValueError."""
    try:
        read = json.loads(content_of(line))
        shapes = {str(table): int(at) for table, at in read["shapes"].items()}
        return Position(snapshot_of(read["snapshot"]), shapes)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the line is no position") from error


def lines_of(content: bytes) -> Iterator[bytes]:
    """Whole lines, one after the other. Raises ValueError where the last is cut short."""
    at = 0
    while at < len(content):
        if len(content) - at < HEAD_BYTES:
            raise ValueError("the last line is cut short")
        end = at + length_of(content[at : at + HEAD_BYTES])
        if end > len(content):
            raise ValueError("the last line is cut short")
        yield content[at:end]
        at = end
