"""Avro as far as the schema of decisions.v1 uses it, and no further."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Read = Callable[[bytes, int], tuple[Any, int]]


def avro_reader(schema: Any, named: dict[str, Read] | None = None) -> Read:
    """Make a function from bytes and a position to the value there and the position after it."""
    named = {} if named is None else named
    if isinstance(schema, list):
        return _union([avro_reader(branch, named) for branch in schema])
    if isinstance(schema, str):
        return _PRIMITIVES.get(schema) or named[schema.rpartition(".")[2]]
    kind = schema["type"]
    if kind == "record":
        read = _record([(field["name"], avro_reader(field["type"], named)) for field in schema["fields"]])
    elif kind == "enum":
        read = _enum(schema["symbols"])
    elif kind == "fixed":
        read = _fixed(schema["size"])
    elif kind == "array":
        return _array(avro_reader(schema["items"], named))
    elif kind == "map":
        return _map(avro_reader(schema["values"], named))
    else:
        return avro_reader(kind, named)
    named[schema["name"]] = read
    return read


def read_long(content: bytes, at: int) -> tuple[int, int]:
    byte = content[at]
    value, shift, at = byte & 0x7F, 7, at + 1
    while byte > 0x7F:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return (value >> 1) ^ -(value & 1), at


def _bytes(content: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_long(content, at)
    if not 0 <= length <= len(content) - at:
        raise ValueError("a length reaches beyond the record")
    return content[at : at + length], at + length


def _text(content: bytes, at: int) -> tuple[str, int]:
    encoded, at = _bytes(content, at)
    return encoded.decode(), at


_PRIMITIVES: Final[Mapping[str, Read]] = {
    "null": lambda _content, at: (None, at),
    "boolean": lambda content, at: (content[at] != 0, at + 1),
    "int": read_long,
    "long": read_long,
    "bytes": _bytes,
    "string": _text,
}


def _record(fields: Sequence[tuple[str, Read]]) -> Read:
    def read(content: bytes, at: int) -> tuple[dict[str, Any], int]:
        value = {}
        for name, read_field in fields:
            value[name], at = read_field(content, at)
        return value, at

    return read


def _union(branches: Sequence[Read]) -> Read:
    def read(content: bytes, at: int) -> tuple[Any, int]:
        branch, at = read_long(content, at)
        return branches[branch](content, at)

    return read


def _enum(symbols: Sequence[str]) -> Read:
    def read(content: bytes, at: int) -> tuple[str, int]:
        index, at = read_long(content, at)
        return symbols[index], at

    return read


def _fixed(size: int) -> Read:
    return lambda content, at: (content[at : at + size], at + size)


def _array(item: Read) -> Read:
    def read(content: bytes, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            count, at = _block(content, at)
            if count == 0:
                return values, at
            for _ in range(count):
                value, at = item(content, at)
                values.append(value)

    return read


def _map(item: Read) -> Read:
    def read(content: bytes, at: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        while True:
            count, at = _block(content, at)
            if count == 0:
                return values, at
            for _ in range(count):
                name, at = _text(content, at)
                values[name], at = item(content, at)

    return read


def _block(content: bytes, at: int) -> tuple[int, int]:
    """Return how many items follow, and where they begin."""
    count, at = read_long(content, at)
    if count < 0:  # the block says its length in bytes too
        _, at = read_long(content, at)
    if abs(count) > len(content):
        raise ValueError("a block holds more items than the record has bytes")
    return abs(count), at
