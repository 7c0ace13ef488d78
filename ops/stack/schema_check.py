"""What becomes of values that somebody means to write with a schema of his own: a report before a release.

A schema is accepted because it is released, and for nothing else (ADR 0004). What the report says of a schema that
isn't is what a release of it would mean: which fields are read, which take a default and what that says, which are not
read, and whether values can be read at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any, Final, NamedTuple

from fastavro import parse_schema, schemaless_writer
from fastavro.utils import generate_many

from pipeline.io.avro.reading import Malformed
from pipeline.io.avro.resolution import Json, Unresolvable, expanded, kind_of, resolution
from pipeline.io.avro.resolving import Resolution
from pipeline.io.avro.schema_files import releases
from pipeline.io.avro.writers import CURRENT, Release, canonical, header_of, schema_of

SAMPLES: Final = 200
_PERMISSIVE: Final = "it has no value, and the schema doesn't say what that means"


class Fate(StrEnum):
    """What becomes of a field or of a value."""

    READ = "READ"
    DEFAULT = "DEFAULT"  # the writer lacks it
    IGNORED = "IGNORED"  # only the writer has it
    REFUSED = "REFUSED"
    SOMETIMES_REFUSED = "SOMETIMES_REFUSED"  # some of its values have no place


class FieldFate(NamedTuple):
    place: str  # dotted, from the record
    fate: Fate
    meaning: str


class Report(NamedTuple):
    """release: the one that the schema is; None where it is none. why: what keeps values from being read, if anything.

    unreadable: of SAMPLES generated values, those that could not be read.
    """

    schema: str
    release: Release | None
    fields: tuple[FieldFate, ...]
    why: str | None
    unreadable: int = 0
    not_by: tuple[Release, ...] = ()
    """Releases that can't read it, or that it can't read; a release of it must be able to do both with each."""

    @property
    def is_accepted(self) -> bool:
        return self.release is not None

    @property
    def is_releasable(self) -> bool:
        is_sound = self.why is None and not self.unreadable and not self.not_by
        return is_sound and all(each.fate is not Fate.REFUSED for each in self.fields)


def checked(name: str, schema: Json) -> Report:
    """Report on a schema that somebody means to write values of `name` with."""
    try:
        writer, reader = expanded(schema), expanded(schema_of(CURRENT[name]))
        up = resolution(schema, schema_of(CURRENT[name]))
    except Unresolvable as error:
        return Report(name, None, (), str(error))
    known = {canonical(schema_of(each)): each for each in _releases(name)}
    release = known.get(canonical(schema))
    fields = tuple(_fates(writer, reader, ""))
    return Report(name, release, fields, None, _unreadable(schema, up), tuple(_strangers(name, schema)))


def _releases(name: str) -> list[Release]:
    return [Release(name, number) for number in releases(name)]


def _strangers(name: str, schema: Json) -> Iterator[Release]:
    for release in _releases(name):
        try:
            resolution(schema, schema_of(release))
            resolution(schema_of(release), schema)
        except Unresolvable:
            yield release


def _unreadable(schema: Json, up: Resolution) -> int:
    """How many of SAMPLES generated values can't be read."""
    parsed, count = parse_schema(schema, {}), 0
    for datum in islice(generate_many(parsed, SAMPLES), SAMPLES):
        stream = io.BytesIO()
        schemaless_writer(stream, parsed, datum)
        try:
            up.resolved(stream.getvalue())
        except Malformed:
            count += 1
    return count


def _fates(writer: Json, reader: Json, place: str) -> Iterator[FieldFate]:
    """The fates of the fields of a record, or of the records of a union, in the reader's order."""
    if isinstance(writer, list) and isinstance(reader, list):
        theirs = {branch.get("name"): branch for branch in reader if isinstance(branch, Mapping)}
        for branch in writer:
            if isinstance(branch, Mapping) and branch.get("name") in theirs:
                yield from _fates(branch, theirs[branch.get("name")], f"{branch['name'].rpartition('.')[2]}.")
        return
    if not (_is_record(writer) and _is_record(reader)):
        return
    written = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        name = f"{place}{field['name']}"
        mine = written.pop(field["name"], None)
        if mine is None:
            yield FieldFate(name, Fate.DEFAULT, f"{field['default']!r}: {field.get('unsaid', _PERMISSIVE)}")
        else:
            yield _fate(name, mine["type"], field["type"])
            yield from _fates(mine["type"], field["type"], f"{name}.")
    for name in written:
        yield FieldFate(f"{place}{name}", Fate.IGNORED, "it is neither read nor kept, and nothing is decided on it")


def _fate(name: str, writer: Json, reader: Json) -> FieldFate:
    if kind_of(writer) == "union" and kind_of(reader) != "union":
        return FieldFate(name, Fate.SOMETIMES_REFUSED, f"every value but {kind_of(reader)} is refused as DECODE_FAILED")
    if kind_of(writer) == kind_of(reader) == "enum":
        lacking = [each for each in writer["symbols"] if each not in reader["symbols"]]
        if lacking:
            said = f"become {reader['default']}" if "default" in reader else "are refused as DECODE_FAILED"
            fate = Fate.READ if "default" in reader else Fate.SOMETIMES_REFUSED
            return FieldFate(name, fate, f"{', '.join(lacking)} {said}")
    return FieldFate(name, Fate.READ, "")


def _is_record(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "record"


def single_object_header(report: Report) -> bytes | None:
    """The framing of values of a schema that is accepted."""
    return None if report.release is None else header_of(report.release)
