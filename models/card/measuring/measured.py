"""The measured payments as columns, and the parts of them that a card looks at by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Column
from models.card.measuring.intervals import Flags

SEGMENTS_MAX: Final = 12
"""Declared segments of a card, those that most payments declare: a page that nobody reads to its end says nothing."""
VALUES_MAX: Final = 150
"""Values of a segment, those with most payments; the rest stand together. The United Kingdom has 124 postcode areas."""
CHANNEL: Final = "channel"
AMOUNT_BAND: Final = "amount"
OTHERS: Final = "(all further values)"
_BAND_EDGES_MINOR: Final = (0, 1_000, 10_000, 100_000, 1_000_000)
_BANDS: Final = (None, "below £10", "£10 to £100", "£100 to £1,000", "£1,000 to £10,000", "£10,000 and more")


class Attributes(NamedTuple):
    """The attributes of a payment beside its features. No model sees it but for measuring."""

    channel: str
    kind: str  # of the fraud; "" where the history doesn't say
    segments: tuple[tuple[str, str], ...]  # declared segments by name, sorted


class Measured(NamedTuple):
    """The measured payments: row i of every column is one payment."""

    score_micro: Column
    probability_ppm: Column
    fraud: Flags
    amount_gbp_minor: Column  # below 0 where it isn't known
    event_time_ms: Column
    attributes: tuple[Attributes, ...]  # each once; empty where the history has none
    attribute_of: NDArray[np.int64]  # the payment's index in `attributes`


class Part(NamedTuple):
    """The payments of one value of one segment."""

    segment: str
    value: str | None  # None for payments that don't say
    rows: NDArray[np.intp]


def numbered(attributes: NDArray[np.object_]) -> tuple[tuple[Attributes, ...], NDArray[np.int64]]:
    """Return the different attributes of a column, and each payment's number among them; nothing of an empty one."""
    numbers: dict[Attributes, int] = {}
    of = np.fromiter((numbers.setdefault(each, len(numbers)) for each in attributes), np.int64, len(attributes))
    return tuple(numbers), of


def amount_parts(measured: Measured) -> Iterator[Part]:
    band = np.searchsorted(np.array(_BAND_EDGES_MINOR), measured.amount_gbp_minor, side="right")
    for number, words in enumerate(_BANDS):
        if len(rows := np.flatnonzero(band == number)):
            yield Part(AMOUNT_BAND, words, rows)


def channel_parts(measured: Measured) -> Iterator[Part]:
    yield from _parts(CHANNEL, measured, [each.channel for each in measured.attributes])


def declared_segments(measured: Measured) -> tuple[str, ...]:
    """Return the names of the segments that most payments declare, in order of their name."""
    counts: dict[str, int] = {}
    for number, payments in enumerate(_counts(measured)):
        for name, _ in measured.attributes[number].segments:
            counts[name] = counts.get(name, 0) + payments
    declared = [name for name in counts if counts[name]]
    return tuple(sorted(sorted(declared, key=lambda name: (-counts[name], name))[:SEGMENTS_MAX]))


def declared_parts(measured: Measured, segment: str) -> Iterator[Part]:
    values: list[str | None] = [dict(each.segments).get(segment) for each in measured.attributes]
    # A segment that is called as one of ours is told apart from it.
    yield from _parts(f"declared {segment}" if segment in (CHANNEL, AMOUNT_BAND) else segment, measured, values)


def kinds_of(measured: Measured) -> Mapping[str, NDArray[np.intp]]:
    """Return the frauds of each kind; empty where the history names none."""
    named = [each.kind for each in measured.attributes]
    frauds = np.flatnonzero(measured.fraud)
    if not any(named):
        return {}
    kinds = np.array(named, dtype=object)[measured.attribute_of[frauds]]
    return {kind: frauds[kinds == kind] for kind in sorted(set(kinds.tolist()))}


def _parts(segment: str, measured: Measured, values: list[str] | list[str | None]) -> Iterator[Part]:
    """Yield a part for each value that has payments; `values` has one for each of the attributes."""
    if not values:
        return
    payments: dict[str | None, int] = {}
    for value, count in zip(values, _counts(measured), strict=True):
        payments[value] = payments.get(value, 0) + count
    ranked = sorted((value for value in payments if payments[value]), key=lambda each: (-payments[each], each or ""))
    kept = sorted(ranked[:VALUES_MAX], key=lambda each: (each is None, each or ""))
    number_of: dict[str | None, int] = {value: number for number, value in enumerate(kept)}
    numbers = np.array([number_of.get(value, len(kept)) for value in values])[measured.attribute_of]
    for number, value in enumerate(kept):
        yield Part(segment, value, np.flatnonzero(numbers == number))
    if len(ranked) > len(kept):
        yield Part(segment, OTHERS, np.flatnonzero(numbers == len(kept)))


def _counts(measured: Measured) -> list[int]:
    counts: list[int] = np.bincount(measured.attribute_of, minlength=len(measured.attributes)).tolist()
    return counts
