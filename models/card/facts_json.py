"""Facts as canonical JSON and back. Reading checks every type against the fields of `facts`, and guesses nothing."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from models.artefact.strict import Json, canonical, parsed, refuse
from models.card.facts import CardFacts


def facts_text(facts: CardFacts) -> str:
    """Return the facts on one line of canonical JSON."""
    return canonical(_written(facts)).decode().rstrip("\n")


def read_facts(text: str) -> CardFacts:
    """Raises ModelRefused where the text isn't what `facts_text` writes."""
    read = _read(CardFacts, parsed(text.encode() + b"\n", "facts"), "facts")
    assert isinstance(read, CardFacts)
    return read


def _written(value: Any) -> Json:
    if dataclasses.is_dataclass(value):
        return {field.name: _written(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return {name: _written(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): _written(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_written(each) for each in value]
    assert value is None or isinstance(value, bool | int | str), f"a fact is a {type(value).__name__}"
    return value


def _read(wanted: Any, value: Json, place: str) -> Any:
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        options = [each for each in typing.get_args(wanted) if each is not type(None)]
        # Among the facts' fields, only JSON itself has a choice of more than one type and None.
        return value if len(options) > 1 or value is None else _read(options[0], value, place)
    if typing.get_origin(wanted) is tuple:
        return _read_tuple(wanted, value, place)
    if typing.get_origin(wanted) is Mapping:
        return _read_mapping(wanted, value, place)
    if wanted in (bool, int, str):
        return value if type(value) is wanted else refuse(f"'{place}' is no {wanted.__name__}")
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return wanted(value) if value in list(wanted) else refuse(f"'{place}' is no {wanted.__name__}")
    return _read_record(wanted, value, place)


def _read_tuple(wanted: Any, value: Json, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        refuse(f"'{place}' is not a list")
    inner = typing.get_args(wanted)[0]
    return tuple(_read(inner, each, place) for each in value)


def _read_mapping(wanted: Any, value: Json, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        refuse(f"'{place}' is not an object")
    inner = typing.get_args(wanted)[1]
    return {name: _read(inner, each, f"{place}.{name}") for name, each in value.items()}


def _read_record(wanted: Any, value: Json, place: str) -> Any:
    hints = typing.get_type_hints(wanted)
    if not isinstance(value, dict) or value.keys() != hints.keys():
        refuse(f"'{place}' doesn't have the fields of a {wanted.__name__}")
    return wanted(**{name: _read(hint, value[name], f"{place}.{name}") for name, hint in hints.items()})
