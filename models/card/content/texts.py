"""Pieces of text that several sections are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.artefact.strict import Json
from models.card.content.blocks import Code, Inline
from models.card.words import UNKNOWN, moment, percent, pounds


def flattened(value: Json, name: str) -> Iterator[tuple[str, str]]:
    """Yield each leaf of a JSON value with its path, in order."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from flattened(value[key], f"{name}.{key}")
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, each in enumerate(value):
            yield from flattened(each, f"{name}.{number}")
    elif isinstance(value, list):
        yield name, ", ".join(leaf(name, each) for each in value)
    else:
        yield name, leaf(name, value)


def leaf(name: str, value: Json) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value).lower() if isinstance(value, bool) else str(value)
    above, _, last = name.rpartition(".")
    if above.endswith("monotone"):  # `last` is a feature's name, whose unit says nothing of a direction
        return "rising" if value > 0 else "falling"
    if last.endswith("_ms") and value > 10**11:
        return moment(value)
    if last.endswith("_ppm") or "_ppm_" in last:
        return percent(value)
    return pounds(value) if last.endswith("_minor") else f"{value:,}" if last != "seed" else str(value)


def shown_metric(name: str, value: int) -> str:
    return percent(value) if "_ppm" in name else f"{value:,}"


def share(part: int, whole: int) -> str:
    return percent(part * 1_000_000 // whole) if whole else "none to count"


def named(names: Sequence[str], between_: str = ", ") -> list[Inline]:
    if not names:
        return ["none"]
    parts: list[Inline] = []
    for number, name in enumerate(names):
        parts += [between_, Code(name)] if number else [Code(name)]
    return parts
