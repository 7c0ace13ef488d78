"""Resolution from bytes to bytes, held to fastavro's on whatever both accept."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.utils import generate_many
from hypothesis import given
from hypothesis import strategies as st

from pipeline.io.avro.reading import Malformed
from pipeline.io.avro.resolution import Json, Unresolvable, resolution
from pipeline.io.avro.schema_files import SCHEMAS, releases
from pipeline.io.avro.writers import CURRENT, Release, down_to, schema_of, up_from

SAMPLES = 60
EVERY = [Release(name, number) for name in SCHEMAS for number in releases(name)]


def record(*fields: dict[str, Any], name: str = "R") -> Json:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: Json, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Any) -> Json:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def items(kind: Json) -> Json:
    return {"type": "array", "items": kind}


def entries(kind: Json) -> Json:
    return {"type": "map", "values": kind}


INNER = record(field("x", "long"), name="I")
GROWN = record(
    field("w", "string", default="é"), field("x", "long"), field("y", ["null", "int"], default=None), name="I"
)
FIXED = {"type": "fixed", "name": "F", "size": 3}
CHANGES: dict[str, tuple[Json, Json]] = {
    "nothing": (record(field("a", "long")), record(field("a", "long"))),
    "a field in front": (
        record(field("a", "long")),
        record(field("b", "string", default="xy"), field("a", "long")),
    ),
    "a field in between, and one behind": (
        record(field("a", "long"), field("c", "string")),
        record(
            field("a", "long"),
            field("b", "boolean", default=True),
            field("c", "string"),
            field("d", FIXED, default="abc"),
        ),
    ),
    "a field that only the writer has": (
        record(field("a", "long"), field("b", items("string")), field("c", "bytes")),
        record(field("a", "long"), field("c", "bytes")),
    ),
    "other fields at one place": (
        record(field("a", "long"), field("b", "string")),
        record(field("a", "long"), field("c", "bytes", default="\u00ff")),
    ),
    "fields that moved": (
        record(field("a", "long"), field("b", INNER), field("c", "string")),
        record(field("c", "string"), field("n", "int", default=-7), field("b", GROWN), field("a", "long")),
    ),
    "records in an array": (record(field("a", items(INNER))), record(field("a", items(GROWN)))),
    "records in a map": (record(field("a", entries(INNER))), record(field("a", entries(GROWN)))),
    "a record in a record": (
        record(field("a", record(field("i", INNER), name="O"))),
        record(field("a", record(field("i", GROWN), name="O"))),
    ),
    "a union that grows": (
        record(field("a", ["null", "string"])),
        record(field("a", ["string", "long", "null"])),
    ),
    "a value that may be missing now": (record(field("a", "string")), record(field("a", ["null", "string"]))),
    "records in a union": (record(field("a", ["null", INNER])), record(field("a", ["null", GROWN]))),
    "a union of records": (
        [record(field("a", "long"), name="A"), record(field("b", "long"), name="B")],
        [
            record(field("a", "long"), name="A"),
            record(field("n", "long", default=3), field("b", "long"), name="B"),
            record(field("c", "long"), name="C"),
        ],
    ),
    "an enum that grows": (record(field("a", enum("X", "Y"))), record(field("a", enum("Z", "Y", "X")))),
    "an enum that shrinks to its default": (
        record(field("a", enum("X", "Y", "Z"))),
        record(field("a", enum("Y", "O", default="O"))),
    ),
    "int to long": (record(field("a", "int")), record(field("a", "long"))),
    "defaults of every kind": (
        record(field("a", "long")),
        record(
            field("a", "long"),
            field("b", items("long"), default=[1, -70]),
            field("c", entries("string"), default={"k": "v"}),
            field("d", INNER, default={"x": -2}),
            field("e", enum("X", "Y"), default="Y"),
            field("f", ["null", "long"], default=None),
            field("g", ["long", "null"], default=300),
            field("h", "boolean", default=False),
        ),
    ),
}
REFUSED: dict[str, tuple[Json, Json, str]] = {
    "no default": (record(field("a", "long")), record(field("a", "long"), field("b", "long")), "b is not written"),
    "another type": (record(field("a", "long")), record(field("a", "string")), "a: long is written"),
    "long to int": (record(field("a", "long")), record(field("a", "int")), "a: long is written"),
    "another name": (record(field("a", "long")), record(field("a", "long"), name="S"), "R is written"),
    "another size": (
        record(field("a", FIXED)),
        record(field("a", {**FIXED, "size": 4})),
        "3 bytes are written",
    ),
    "floating point": (record(field("a", "double")), record(field("a", "double")), "double is written"),
    "entries of no bytes": (record(field("a", items("null"))), record(field("a", items("null"))), "no bytes"),
    "symbols that nobody knows": (record(field("a", enum("X"))), record(field("a", enum("Y"))), "none of the symbols"),
    "itself": (
        record(field("a", ["null", "R"])),
        record(field("a", ["null", "R"])),
        "contains itself",
    ),
    "no schema": (record(field("a", "money")), record(field("a", "long")), "no Avro schema"),
    "not a schema at all": ([1, 2], record(field("a", "long")), "no Avro schema"),
}


def encoded(schema: Json, datum: Any) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(schema, {}), datum)
    return stream.getvalue()


def by_fastavro(writer: Json, reader: Json, body: bytes) -> bytes:
    """The body as the reader's schema has it, read and written again by fastavro."""
    parsed = parse_schema(writer, {}), parse_schema(reader, {})
    datum: Any = schemaless_reader(io.BytesIO(body), *parsed, return_record_name=True)
    for record in [reader] if isinstance(reader, dict) else reader:
        fields = datum[1] if isinstance(datum, tuple) else datum
        for each in record["fields"]:  # fastavro 1.12 gives a default of bytes as the text that stands in the schema
            if isinstance(fields.get(each["name"]), str) and each["type"] in ("bytes", FIXED, "fraud.v1.Sha256"):
                fields[each["name"]] = fields[each["name"]].encode("latin-1")
    return encoded(reader, datum)


def bodies(schema: Json) -> Iterator[bytes]:
    for datum in islice(generate_many(parse_schema(schema, {}), SAMPLES), SAMPLES):
        yield encoded(schema, datum)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_resolved_as_fastavro_does(change: tuple[Json, Json]) -> None:
    writer, reader = change
    steps = resolution(writer, reader)
    for body in bodies(writer):
        assert by_fastavro(writer, reader, body) == steps.resolved(body)


@pytest.mark.parametrize("release", EVERY, ids=str)
def test_every_release_is_resolved_to_the_current_one_and_back_as_fastavro_does(release: Release) -> None:
    written, current = schema_of(release), schema_of(CURRENT[release.schema])
    for body in bodies(written):
        resolved = up_from(release).resolved(body)
        assert by_fastavro(written, current, body) == resolved
        assert body == down_to(release).resolved(resolved)


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_could_only_be_guessed_is_refused_in_words(refused: tuple[Json, Json, str]) -> None:
    writer, reader, says = refused
    with pytest.raises(Unresolvable, match=says):
        resolution(writer, reader)


def test_a_value_that_the_reader_has_no_place_for_is_malformed() -> None:
    steps = resolution(record(field("a", ["null", "string"])), record(field("a", "string")))
    assert b"\x02x" == steps.resolved(b"\x02\x02x")
    with pytest.raises(Malformed, match="not known here"):
        steps.resolved(b"\x00")
    symbols = resolution(record(field("a", enum("X", "Y"))), record(field("a", enum("X"))))
    with pytest.raises(Malformed, match="not known here"):
        symbols.resolved(b"\x02")


def test_bytes_behind_a_record_stay_behind_it() -> None:
    steps = resolution(record(field("a", "long")), record(field("a", "long"), field("b", "long", default=1)))
    assert b"\x04\x02\xff" == steps.resolved(b"\x04\xff")


def test_a_field_is_found_where_it_stands() -> None:
    release = Release("decision.v1", 1)
    for body in bodies(schema_of(release)):
        if body[0] == 0:
            fields: Any = schemaless_reader(io.BytesIO(body), parse_schema(schema_of(release)), None)
            begin, end = up_from(release).span(body, "model_hash")
            assert fields["model_hash"] == body[begin:end]


@pytest.mark.parametrize("name", ["decision.v1", "transaction.v1", "execution.v1"])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_no_spoilt_byte_does_more_than_being_refused(name: str, place: float, byte: int, cut: bool) -> None:
    release = Release(name, 1)
    body = bytearray(next(bodies(schema_of(release))))
    at = int(place * len(body))
    body[at] = byte
    spoilt = bytes(body[:at] if cut else body)
    try:
        up_from(release).resolved(spoilt)
    except Malformed:
        return


def test_the_planted_changes_are_changes() -> None:
    changed = [steps for steps in (resolution(*change) for change in CHANGES.values()) if not steps.step.stays()]
    assert len(CHANGES) - 2 == len(changed), "but for the first, and int to long"
    assert json.dumps(CHANGES)
