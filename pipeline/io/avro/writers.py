"""Who may have written a value: every release of every schema, by the framing that its values begin with.

A value names its writer's schema in one of three ways, and the body follows:
- single-object encoding: C3 01 and the schema's fingerprint, 8 bytes (Apache Avro specification);
- Confluent framing: 00 and the registry's id, 4 bytes;
- Confluent's schema GUID: 01 and 16 bytes. It is sent in a header of the record, `__value_schema_id`, whose bytes
  pipeline.io.kafka puts in front of the value, so that everything that keeps a value keeps its schema with it.

Invariants
1. A value of a schema that isn't released, or under an id that isn't pinned, is nobody's (ADR 0004).
2. An id is pinned to one release, never to whatever is current: after an upgrade it means what it meant before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.io.avro.resolution import Json, resolution
from pipeline.io.avro.resolving import Resolution
from pipeline.io.avro.schema_files import SCHEMAS, released_text, releases

SINGLE_OBJECT: Final = b"\xc3\x01"
CONFLUENT_ID: Final = b"\x00"
CONFLUENT_GUID: Final = b"\x01"
HEADER_BYTES: Final[Mapping[bytes, int]] = {SINGLE_OBJECT: 10, CONFLUENT_ID: 5, CONFLUENT_GUID: 17}
_ID_MAX: Final = 2**32 - 1

ConfluentIds = Mapping[str, int | str | Sequence[int | str]]
"""By NAME/RELEASE the ids (integers) and GUIDs (texts) that a registry gave to that release; the first integer of a
current release is the one that is written."""


class Framing(StrEnum):
    SINGLE_OBJECT = "single-object"
    CONFLUENT = "confluent"


class Release(NamedTuple):
    """One release of a schema; release 2 of transaction.v1 is written transaction.v1/2."""

    schema: str
    number: int

    def __str__(self) -> str:
        return f"{self.schema}/{self.number}"


class Writers:
    """The headers of all releases. Raises ValueError where the ids don't fit."""

    def __init__(self, written: Framing, confluent_ids: ConfluentIds) -> None:
        pinned = dict(_pinned(confluent_ids))
        first = {_release(key): _first_id(ids) for key, ids in confluent_ids.items()}
        if written is Framing.CONFLUENT and (lacking := [r for r in CURRENT.values() if first.get(r) is None]):
            raise ValueError(f"it has no id (an integer) of {', '.join(map(str, lacking))}")
        self.written = {
            name: header_of(release)
            if written is Framing.SINGLE_OBJECT
            else CONFLUENT_ID + struct.pack(">I", first[release])
            for name, release in CURRENT.items()
        }
        by_header = dict(fingerprinted())
        by_header.update(pinned)
        self.current = {header: r.schema for header, r in by_header.items() if is_read_as_it_is(r)}
        self.earlier = {header: r for header, r in by_header.items() if not is_read_as_it_is(r)}


CURRENT: Final = {name: Release(name, releases(name)[-1]) for name in SCHEMAS}


@lru_cache
def fingerprinted() -> Mapping[bytes, Release]:
    """The headers of single-object encoding; of releases with one fingerprint the last counts."""
    return {header_of(Release(name, number)): Release(name, number) for name in SCHEMAS for number in releases(name)}


@lru_cache
def header_of(release: Release) -> bytes:
    return SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical(schema_of(release)), "CRC-64-AVRO"))


def canonical(schema: Json) -> str:
    """The schema in Avro's parsing canonical form, which its fingerprint is of."""
    return str(to_parsing_canonical_form(schema))


def schema_of(release: Release) -> Any:
    return json.loads(released_text(release.schema, release.number))


@lru_cache
def features_known(number: int) -> tuple[str, ...]:
    """The features that a release of decision.v1 lists, in its order."""
    decision = schema_of(Release("decision.v1", number))[0]
    features = _field_type(_field_type(decision, "snapshot"), "features")
    return tuple(str(field["name"]) for field in features["fields"])


def _field_type(record: Json, name: str) -> Json:
    return next(field["type"] for field in record["fields"] if field["name"] == name)


@lru_cache
def is_read_as_it_is(release: Release) -> bool:
    """Whether its values have the bytes of the current release; it may differ in words and defaults."""
    return header_of(release) == header_of(CURRENT[release.schema])


@lru_cache
def up_from(release: Release) -> Resolution:
    """From a release to the current one."""
    return resolution(schema_of(release), schema_of(CURRENT[release.schema]))


@lru_cache
def down_to(release: Release) -> Resolution:
    """From the current release to an earlier one."""
    return resolution(schema_of(CURRENT[release.schema]), schema_of(release))


@lru_cache
def resolution_of_itself(release: Release) -> Resolution:
    """Changes nothing; it finds fields in the bytes of a release."""
    return resolution(schema_of(release), schema_of(release))


def split(value: bytes) -> tuple[bytes, bytes] | None:
    """The header of a value and the body behind it; None where it has no framing that is known."""
    length = HEADER_BYTES[SINGLE_OBJECT] if value[:2] == SINGLE_OBJECT else HEADER_BYTES.get(value[:1])
    return None if length is None else (value[:length], value[length:])


def _pinned(confluent_ids: ConfluentIds) -> Iterator[tuple[bytes, Release]]:
    seen: dict[bytes, Release] = {}
    for key, ids in confluent_ids.items():
        release = _release(key)
        for each in [ids] if isinstance(ids, int | str) else ids:
            header = _confluent_header(each)
            if header in seen and header_of(seen[header]) != header_of(release):
                raise ValueError(f"{each} is given to {seen[header]} and to {release}")
            seen[header] = release
            yield header, release


def _release(key: str) -> Release:
    """Read NAME/RELEASE. A name alone would mean another release after an upgrade than before."""
    name, _, number = key.partition("/")
    if name not in SCHEMAS:
        raise ValueError(f"there is no schema {name[:64]}; there are {', '.join(SCHEMAS)}")
    if number not in map(str, releases(name)):
        raise ValueError(f"it must name a release as {CURRENT[name]}, where it names {key[:64]}")
    return Release(name, int(number))


def _first_id(ids: int | str | Sequence[int | str]) -> int | None:
    listed = [ids] if isinstance(ids, int | str) else ids
    return next((each for each in listed if isinstance(each, int)), None)


def _confluent_header(each: int | str) -> bytes:
    if isinstance(each, str):
        try:
            return CONFLUENT_GUID + UUID(each).bytes
        except ValueError as error:
            raise ValueError(f"{each[:64]!r} is no GUID of a schema") from error
    if isinstance(each, bool) or not 0 <= each <= _ID_MAX:
        raise ValueError(f"{each} is no id of a schema")
    return CONFLUENT_ID + struct.pack(">I", each)
