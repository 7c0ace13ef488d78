"""Records that are no payments: framing, fingerprints, structure, strings and numbers spoilt byte by byte."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ops.bench.bad_input.bad_case import (
    INT64_MAX,
    INT64_MIN,
    SHIFTED,
    SOUND,
    STRUCTURAL,
    Case,
    case,
    changed,
    parts,
    sound_value,
    spoilt,
)
from ops.bench.bad_input.wire import (  # fmt: skip
    LONGS,
    OPTIONAL_LONGS,
    OPTIONAL_STRINGS,
    STRINGS,
    framed,
    header_of,
    joined,
    long,
    schema,
    text,
)
from pipeline.domain.refusals import RefusalCode as Code

MEGABYTE: Final = 1 << 20


def bad_bytes() -> Iterator[Case]:
    for group in (_framings, _schemas, _structures, _strings, _numbers):
        yield from group()


# Values that are not even framed


def _framings() -> Iterator[Case]:
    sound = sound_value("framing")
    yield case("tombstone", None, Code.RECORD_EMPTY)
    yield case("empty value", b"", Code.RECORD_EMPTY)
    for name, value in {
        "JSON": json.dumps({**SOUND}).encode(),
        "XML": b"<payment><amount>12345</amount></payment>",
        "text": b"pay 100 to Jane",
        "gzip": gzip.compress(sound, mtime=0),
        "Avro container file": b"Obj\x01" + sound,
        "body without framing": sound[10:],
        "single-object version 2": b"\xc3\x02" + sound[2:],
        "marker's first byte alone": b"\xc3",
        "UTF-8 byte order mark first": b"\xef\xbb\xbf" + sound,
        "all ones": b"\xff" * 200,
    }.items():
        yield case(f"framing: {name}", value, Code.FRAMING_UNKNOWN)
    for name, value in {
        "unknown id": b"\0" + struct.pack(">I", 4711) + sound[10:],
        "id 0": b"\0" + struct.pack(">I", 0) + sound[10:],
        "id 2^32-1": b"\0" + struct.pack(">I", 2**32 - 1) + sound[10:],
        "cut in its id": b"\0\0\0",
        "GUID of nobody": b"\x01" + bytes(16) + sound[10:],
        "cut in its GUID": b"\x01" + bytes(7),
        "single-object marker reversed, which begins as a GUID does": b"\x01\xc3" + sound[2:],
        "nothing but its marker": b"\0",
        "zeros": bytes(200),
    }.items():
        yield case(f"Confluent framing: {name}", value, Code.SCHEMA_UNKNOWN)
    yield case("1 MB of zeros", bytes(MEGABYTE), Code.RECORD_TOO_LARGE)
    yield case("16 KB and a byte", sound + bytes(16 * 1024 + 1 - len(sound)), Code.RECORD_TOO_LARGE)


def _schemas() -> Iterator[Case]:
    """Yield well-formed records of other writer schemas, and fingerprints of no schema."""
    body = sound_value("schemas")[10:]
    for name in ("decision.v1", "dead_letter.v1", "account.v1", "risk_signal.v1", "label.v1", "alert.v1"):
        yield case(f"schema: {name}", framed(body, header_of(schema(name))), Code.SCHEMA_UNKNOWN)
    header = joined({})
    for bit in range(16, 80, 8):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        yield case(f"schema: fingerprint with bit {bit} flipped", bytes(flipped) + body, Code.SCHEMA_UNKNOWN)
    yield case("schema: fingerprint in the other byte order", header[:2] + header[:1:-1] + body, Code.SCHEMA_UNKNOWN)
    yield case("schema: fingerprint of zeros", header[:2] + bytes(8) + body, Code.SCHEMA_UNKNOWN)
    nested = {"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}
    yield case(
        "schema: recursive, 10,000 levels", framed(b"\x02" * 10_000 + b"\0", header_of(nested)), Code.SCHEMA_UNKNOWN
    )
    nulls = {"type": "array", "items": "null"}
    yield case("schema: array of 2^40 nulls", framed(long(2**40) + b"\0", header_of(nulls)), Code.SCHEMA_UNKNOWN)
    for field in SOUND:
        for kind, (avro_type, encoded) in _WRONG_TYPES.items():
            value = framed(b"".join({**parts("schemas", {}), field: encoded}.values()), _altered(field, avro_type))
            yield case(f"schema: {field} written as {kind}", value, Code.SCHEMA_UNKNOWN)


def _altered(field: str, avro_type: Any) -> bytes:
    """Return the header of records that are written with one field of another type."""
    transaction = schema("transaction.v1")
    transaction["fields"] = [
        {"name": field, "type": avro_type} if f["name"] == field else f for f in transaction["fields"]
    ]
    return header_of(transaction)


_WRONG_TYPES: Final[Mapping[str, tuple[Any, bytes]]] = {
    "NaN": ("double", struct.pack("<d", float("nan"))),
    "infinity": ("double", struct.pack("<d", float("inf"))),
    "null": ("null", b""),
    "boolean": ("boolean", b"\x01"),
    "array": ({"type": "array", "items": "long"}, b"\x02\x02\0"),
}


# Bytes under the right fingerprint that make no payment


def _structures() -> Iterator[Case]:
    whole = sound_value("structure")
    for length in range(1, len(whole)):
        code = Code.FRAMING_UNKNOWN if length < 2 else Code.SCHEMA_UNKNOWN if length < 10 else Code.DECODE_FAILED
        yield case(f"truncated to {length} bytes", whole[:length], code)
    for name, tail in {"a zero": b"\0", "a second payment": whole, "1 KB of text": b"x" * 1024}.items():
        yield case(f"followed by {name}", whole + tail, Code.TRAILING_BYTES)
    for field in SOUND:
        rest = {name: encoded for name, encoded in parts("structure", {}).items() if name != field}
        yield case(f"missing: {field}", joined(rest), *SHIFTED)
        for kind in ("NaN", "infinity", "array"):
            yield spoilt(f"pinned schema, {field} as {kind}", field, _WRONG_TYPES[kind][1], *SHIFTED)
    yield case("recursion under the pinned schema", framed(b"\x02" * 10_000 + b"\0"), *SHIFTED)
    yield case("fields in reverse order", framed(b"".join([*parts("structure", {}).values()][::-1])), *SHIFTED)


_BAD_UTF8: Final = {
    "a lone continuation byte": b"\x80abc",
    "an overlong slash": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "a cut sequence": b"abc\xe2\x82",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
    "Latin-1": "Jürgen".encode("latin-1"),
}


def _strings() -> Iterator[Case]:
    for field in (*STRINGS, *OPTIONAL_STRINGS):
        branch = b"\x02" if field in OPTIONAL_STRINGS else b""
        for name, encoded in _BAD_UTF8.items():
            yield spoilt(f"{field} holds {name}", field, branch + text(encoded), Code.DECODE_FAILED)
        for name, length in {"-1": -1, "2^31": 2**31, "2^62": 2**62, "-2^63": INT64_MIN}.items():
            yield spoilt(f"{field} of length {name}", field, branch + long(length) + b"abc", Code.DECODE_FAILED)
        yield spoilt(f"{field} of 1 MB", field, branch + text("a" * MEGABYTE), Code.RECORD_TOO_LARGE)


def _numbers() -> Iterator[Case]:
    for field in (*OPTIONAL_STRINGS, *OPTIONAL_LONGS):
        for index in (-1, 2, 2**40):
            yield spoilt(f"{field} of union branch {index}", field, long(index) + b"\x02a", *STRUCTURAL)
    for index in (-1, -8, 8, 2**31):
        yield spoilt(f"channel number {index}", "channel", long(index), *STRUCTURAL)
    for field in LONGS:
        yield spoilt(f"{field} of 80 bits", field, long(2**79), *SHIFTED)
        yield spoilt(f"{field} that never ends", field, b"\xff" * 40, *SHIFTED)
    for amount in (-1, -12_345, INT64_MIN, INT64_MAX, 10**11 + 1, 2**53, 2**53 + 1):
        yield changed(f"amount_minor {amount}", Code.AMOUNT_OUT_OF_RANGE, amount_minor=amount)
