"""A table's shape, its rows as bytes, and the key by which people find a row.

A row is the fields that `COPY … (FORMAT binary)` gives of its columns, the key's first: each field's length (4 bytes,
big-endian; -1: NULL) and its bytes. They are the bytes of the database's own types, so 1.0 and 1.00 of a numeric
differ, and so do two spellings of a text. chain_xid, the transaction that wrote the row, is none of these columns: it
stands beside the row, because a database that is restored from a dump gives its rows other ones.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

_LENGTH: Final = struct.Struct(">i")
_EPOCH: Final = datetime(2000, 1, 1)  # PostgreSQL counts from here; all times are in UTC
CHAIN_XID: Final = "chain_xid"


class Column(NamedTuple):
    name: str
    type: str  # as PostgreSQL's format_type writes it


class Shape(NamedTuple):
    """columns: the key's first. key: how many are the key's.

    filled: of each column that an earlier shape lacks, the field that rows of before have; None is NULL.
    """

    table: str
    columns: tuple[Column, ...]
    key: int
    filled: Mapping[str, bytes | None]


def shape_text(shape: Shape) -> bytes:
    filled = {name: None if field is None else field.hex() for name, field in shape.filled.items()}
    fields = {"columns": [list(column) for column in shape.columns], "filled": filled, "key": shape.key}
    return json.dumps({**fields, "table": shape.table}, sort_keys=True, separators=(",", ":")).encode()


def shape_of(text: bytes) -> Shape:
    """Raises ValueError where the text is none."""
    try:
        read = json.loads(text)
        columns = tuple(Column(str(name), str(type_)) for name, type_ in read["columns"])
        filled = {name: None if field is None else bytes.fromhex(field) for name, field in read["filled"].items()}
        shape = Shape(read["table"], columns, read["key"], filled)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the text is no shape") from error
    if shape_text(shape) != text:
        raise ValueError("the text is no shape as it was written")
    return shape


def fields_of(row: bytes) -> list[bytes | None]:
    """The fields of a row, or of a key. Raises ValueError where the bytes are none."""
    at, fields = 0, list[bytes | None]()
    while at < len(row):
        if len(row) - at < _LENGTH.size:
            raise ValueError("the bytes are no row")
        (length,), at = _LENGTH.unpack_from(row, at), at + _LENGTH.size
        if length > len(row) - at:
            raise ValueError("the bytes are no row")
        fields.append(None if length < 0 else row[at : at + length])
        at += max(length, 0)
    return fields


def row_of(fields: Sequence[bytes | None]) -> bytes:
    return b"".join(
        _LENGTH.pack(-1) if field is None else _LENGTH.pack(len(field)) + field for field in fields
    )  # fmt: skip


def key_of(row: bytes, columns: int) -> bytes:
    """The row's first fields. A key holds no NULL."""
    at = 0
    for _ in range(columns):
        at += _LENGTH.size + _LENGTH.unpack_from(row, at)[0]
    return row[:at]


def in_shape(row: bytes, present: Shape, wanted: Shape) -> bytes | None:
    """A row of the present shape as one of an earlier shape; None where a later column holds what nobody filled in."""
    if present.columns == wanted.columns:
        return row
    fields = dict(zip((column.name for column in present.columns), fields_of(row), strict=True))
    names = [column.name for column in wanted.columns]
    later = fields.keys() - set(names)
    if any(name not in present.filled or fields[name] != present.filled[name] for name in later):
        return None
    return row_of([fields[name] for name in names])


def added(before: Shape, after: Shape) -> list[Column]:
    """The columns that `after` has beside those of `before`. Raises ValueError where it lacks or changes one."""
    if before.columns[: before.key] != after.columns[: after.key]:
        raise ValueError("its key is another one")
    if gone := [column.name for column in before.columns if column not in after.columns]:
        raise ValueError(f"its column {gone[0]} is gone, or of another type")
    return [column for column in after.columns if column not in before.columns]


def shown_key(shape: Shape, key: bytes) -> str:
    """The key as people write it, such as `execution_id=…, sequence=3`."""
    return ", ".join(f"{name}={value}" for name, value in shown_fields(shape, key).items())


def shown_fields(shape: Shape, row: bytes) -> dict[str, str | None]:
    """The fields of a row, or of a key, as text; in hexadecimal where the type is none that is known here."""
    return {
        column.name: None if field is None else _SHOWN.get(column.type.partition("(")[0], bytes.hex)(field)
        for column, field in zip(shape.columns, fields_of(row), strict=False)
    }


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
