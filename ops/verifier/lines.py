"""The lines of a table's stream, and rows as an export has them; docs/audit.md says how they are written."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

ROW, SHAPE, POSITION, BEGINNING = 1, 2, 3, 4
_HEAD: Final = struct.Struct(">IB")
_ROW: Final = struct.Struct(">QQ32s")
_EXPORTED: Final = struct.Struct(">IQ")
_LENGTH: Final = struct.Struct(">i")
_EPOCH: Final = datetime(2000, 1, 1)  # as PostgreSQL, in UTC


class Line(NamedTuple):
    at: int
    kind: int
    content: bytes
    leaf: bytes


class RowLine(NamedTuple):
    shape_at: int
    xid: int
    row: bytes  # SHA-256
    key: bytes


class Shape(NamedTuple):
    """columns: name and type of each, the key's first. filled: the fields of columns that were added since."""

    table: str
    columns: Sequence[tuple[str, str]]
    key: int
    filled: Mapping[str, bytes | None]


class Snapshot(NamedTuple):
    upper: int
    in_flight: frozenset[int]

    def sees(self, xid: int) -> bool:
        return xid < self.upper and xid not in self.in_flight


def read_lines(path: Path) -> dict[int, Line]:
    """The whole lines by where they begin; what follows the last of them was cut short."""
    content, at, found = path.read_bytes() if path.exists() else b"", 0, {}
    while at + _HEAD.size <= len(content):
        length, kind = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length
        if end > len(content):
            break
        line = content[at:end]
        found[at] = Line(at, kind, line[_HEAD.size :], hashlib.sha256(b"\4" + line).digest())
        at = end
    return found


def leaf_of_shape(at: int, text: bytes) -> bytes:
    content = at.to_bytes(8, "big") + text
    return hashlib.sha256(b"\4" + _HEAD.pack(len(content), SHAPE) + content).digest()


def key_of(row: bytes, columns: int) -> bytes:
    """The first fields of a row, which are its key."""
    at = 0
    for _ in range(columns):
        at += 4 + max(int.from_bytes(row[at : at + 4], "big", signed=True), 0)
    return row[:at]


def leaf_of_row(shape_at: int, xid: int, row: bytes, key: bytes) -> bytes:
    content = _ROW.pack(shape_at, xid, hashlib.sha256(row).digest()) + key
    return hashlib.sha256(b"\4" + _HEAD.pack(len(content), ROW) + content).digest()


def row_line(line: Line) -> RowLine:
    """Raises ValueError."""
    try:
        shape_at, xid, row = _ROW.unpack_from(line.content)
    except struct.error as error:
        raise ValueError("it is no line of a row") from error
    return RowLine(shape_at, xid, row, line.content[_ROW.size :])


def shape_of(text: bytes | Mapping[str, Any]) -> Shape:
    """Raises ValueError."""
    try:
        read = json.loads(text) if isinstance(text, bytes) else text
        columns = [(str(name), str(type_)) for name, type_ in read["columns"]]
        filled = {name: None if field is None else bytes.fromhex(field) for name, field in read["filled"].items()}
        return Shape(str(read["table"]), columns, int(read["key"]), filled)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no shape") from error


def shape_at(at: int, content: bytes) -> Shape:
    """Read the shape whose line begins there. Raises ValueError."""
    if content[:8] != at.to_bytes(8, "big"):
        raise ValueError("it is the shape of another place")
    return shape_of(content[8:])


def snapshot_of(text: str) -> Snapshot:
    """Raises ValueError."""
    _, upper, in_flight = text.split(":")
    return Snapshot(int(upper), frozenset(int(xid) for xid in in_flight.split(",") if xid))


def exported_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Transaction and fields of each row. Raises ValueError."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        if at + _EXPORTED.size > len(content):
            raise ValueError(f"{path} is cut short")
        length, xid = _EXPORTED.unpack_from(content, at)
        at += _EXPORTED.size + length
        if at > len(content):
            raise ValueError(f"{path} is cut short")
        yield xid, content[at - length : at]


def fields_of(row: bytes) -> list[bytes | None]:
    """Raises ValueError."""
    at, fields = 0, list[bytes | None]()
    while at < len(row):
        if len(row) - at < _LENGTH.size:
            raise ValueError("a row is cut short")
        (length,), at = _LENGTH.unpack_from(row, at), at + _LENGTH.size
        if length > len(row) - at:
            raise ValueError("a row is cut short")
        fields.append(None if length < 0 else row[at : at + length])
        at += max(length, 0)
    return fields


def joined(fields: Sequence[bytes | None]) -> bytes:
    return b"".join(_LENGTH.pack(-1) if each is None else _LENGTH.pack(len(each)) + each for each in fields)


def in_shape(row: bytes, present: Shape, wanted: Shape) -> bytes | None:
    """A row as it was in an earlier shape; None where a column that was added holds what nobody filled in."""
    if list(present.columns) == list(wanted.columns):
        return row
    fields = dict(zip((name for name, _ in present.columns), fields_of(row), strict=True))
    names = [name for name, _ in wanted.columns]
    if any(name not in fields for name in names):
        return None
    later = fields.keys() - set(names)
    if any(name not in present.filled or fields[name] != present.filled[name] for name in later):
        return None
    return joined([fields[name] for name in names])


def shown(shape: Shape, row: bytes) -> dict[str, str | None]:
    """The fields of a row or a key as text."""
    return {
        name: None if field is None else _SHOWN.get(type_.partition("(")[0], bytes.hex)(field)
        for (name, type_), field in zip(shape.columns, fields_of(row), strict=False)
    }


def shown_key(shape: Shape, key: bytes) -> str:
    return ", ".join(f"{name}={value}" for name, value in shown(shape, key).items())


def _integer(field: bytes) -> str:
    return str(int.from_bytes(field, "big", signed=True))


def _text(field: bytes) -> str:
    return field.decode("utf-8", "backslashreplace")


def _time(field: bytes) -> str:
    at_us = int.from_bytes(field, "big", signed=True)
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).isoformat() + "Z"
    except OverflowError:
        return f"{at_us} µs from 2000"


def _uuid(field: bytes) -> str:
    return str(UUID(bytes=field)) if len(field) == 16 else field.hex()


_SHOWN: Final[Mapping[str, Callable[[bytes], str]]] = {
    "smallint": _integer,
    "integer": _integer,
    "bigint": _integer,
    "uuid": _uuid,
    "text": _text,
    "character varying": _text,
    "character": _text,
    "boolean": lambda field: "true" if field == b"\1" else "false",
    "timestamp with time zone": _time,
    "jsonb": lambda field: _text(field[1:]),
}
