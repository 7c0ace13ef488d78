"""A payment's bytes, field by field, so that a bench can spoil any one of them.

The Avro is written by hand on purpose: an encoder refuses to write what has to be tried here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, to_parsing_canonical_form

import schemas

SINGLE_OBJECT: Final = b"\xc3\x01"
CHANNELS: Final = ("OTHER", "CARD", "FASTER_PAYMENT", "BACS", "CHAPS", "SEPA", "SWIFT", "INTERNAL")

Parts = dict[str, bytes]
"""Field names → their Avro encodings, in the schema's order."""


def long(number: int) -> bytes:
    """Encode a number in zigzag and variable length; beyond 64 bits no reader should accept it."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def text(characters: str | bytes) -> bytes:
    encoded = characters if isinstance(characters, bytes) else characters.encode("utf-8", "surrogatepass")
    return long(len(encoded)) + encoded


def optional(encoded: bytes | None) -> bytes:
    return b"\0" if encoded is None else b"\x02" + encoded


def segments(entries: Mapping[str, str]) -> bytes:
    block = b"".join(text(name) + text(value) for name, value in entries.items())
    return long(len(entries)) + block + b"\0" if entries else b"\0"


def parts_of(payment: Mapping[str, Any]) -> Parts:
    """Return the encodings of a sound payment's fields; a field that it doesn't give has the schema's default."""
    parts: Parts = {}
    for field in _FIELDS:
        name = field["name"]
        value = payment.get(name, field.get("default"))
        if name in STRINGS:
            parts[name] = text(value)
        elif name in LONGS:
            parts[name] = long(value)
        elif name in OPTIONAL_STRINGS:
            parts[name] = optional(None if value is None else text(value))
        elif name in OPTIONAL_LONGS:
            parts[name] = optional(None if value is None else long(value))
        elif name == "channel":
            parts[name] = long(CHANNELS.index(value))
        else:
            parts[name] = segments(value)
    return parts


def framed(body: bytes, header: bytes | None = None) -> bytes:
    return (transaction_header() if header is None else header) + body


def joined(parts: Parts) -> bytes:
    return framed(b"".join(parts.values()))


@lru_cache
def transaction_header() -> bytes:
    return header_of(schema("transaction.v1"))


def header_of(avsc: Any) -> bytes:
    return SINGLE_OBJECT + bytes.fromhex(fingerprint(to_parsing_canonical_form(avsc), "CRC-64-AVRO"))


def schema(name: str) -> Any:
    return json.loads(Path(schemas.__path__[0], f"{name}.avsc").read_text(encoding="utf-8"))


_FIELDS: Final = tuple(schema("transaction.v1")["fields"])


def _fields_of(*types: object) -> tuple[str, ...]:
    """Return the payment's fields of one of these Avro types, in the schema's order."""
    return tuple(field["name"] for field in _FIELDS if field["type"] in types)


STRINGS: Final = _fields_of("string")
OPTIONAL_STRINGS: Final = _fields_of(["null", "string"])
LONGS: Final = _fields_of("long", "int")
OPTIONAL_LONGS: Final = _fields_of(["null", "long"])
