"""Records as plain values for JSON: hashes in hexadecimal, features by their names, everything else as it is."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.decision import InputSnapshot
from pipeline.domain.features import FEATURES
from pipeline.domain.in_force import DecisionRecord


def plain_record(record: DecisionRecord) -> dict[str, object]:
    """A record of `decisions.v1` with its fields in the schema's order, and its kind as `record`."""
    return {**_by_name(record._fields, record), "record": type(record).__name__}


def plain(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case InputSnapshot():
            by_name = dict(zip(FEATURES, value.features, strict=True))
            return {**_by_name(value._fields, value), "features": by_name}
        case Mapping():
            return plain(value)
        case tuple() if (names := getattr(value, "_fields", None)) is not None:
            return _by_name(names, value)
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def _by_name(names: tuple[str, ...], values: tuple[object, ...]) -> dict[str, object]:
    return {name: _plain(value) for name, value in zip(names, values, strict=True)}
