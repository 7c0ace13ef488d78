"""Strict reading of JSON: integers only, canonical bytes only, and every shape stated."""

from __future__ import annotations

import itertools
import json
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import NONE

FEATURE_VALUE_MAX: Final = 2**53

Json = None | int | str | list["Json"] | dict[str, "Json"]


class ModelRefused(ValueError):
    """The model in a directory can't be served; the message is one sentence for the person who put it there."""


class VersionMissing(ModelRefused):
    """The registry holds no version of that name, or can hold none: nothing was looked at."""


def canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def refuse(reason: str) -> NoReturn:
    raise ModelRefused(reason)


def parsed(content: bytes, name: str) -> Json:
    try:
        value: Json = json.loads(content, parse_float=_number_refused, parse_constant=_number_refused)
        is_canonical = canonical(value) == content
    except ModelRefused as error:
        raise ModelRefused(f"'{name}' holds a number that is not an integer") from error
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"'{name}' is not JSON") from error
    if not is_canonical:
        refuse(f"'{name}' is not canonical JSON (sorted keys, no spaces, no key twice)")
    return value


def _number_refused(text: str) -> NoReturn:
    refuse(text)


def mapping(value: Json, place: str, keys: set[str]) -> dict[str, Json]:
    if not isinstance(value, dict):
        refuse(f"'{place}' is not an object")
    if different := sorted(keys ^ value.keys()):
        refuse(f"'{place}' has an unknown key or lacks one: '{different[0]}'")
    return value


def array(value: Json, place: str) -> list[Json]:
    if not isinstance(value, list):
        refuse(f"'{place}' is not a list")
    return value


def integers(value: Json, place: str, magnitude_max: int) -> list[int]:
    return [integer(number, place, magnitude_max) for number in array(value, place)]


def integer(value: Json, place: str, magnitude_max: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > magnitude_max:
        refuse(f"{place} is not an integer between -{magnitude_max} and {magnitude_max}")
    return value


def feature_value(value: Json, place: str) -> int:
    number = integer(value, place, FEATURE_VALUE_MAX)
    if number < NONE:
        refuse(f"{place} is below {NONE}")
    return number


def increasing(value: Json, place: str, magnitude_max: int) -> NDArray[np.int64]:
    numbers = integers(value, place, magnitude_max)
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        refuse(f"{place} is not above the edge before")
    return np.array(numbers, dtype=np.int64)
