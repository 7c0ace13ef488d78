"""The life of a payment as one timeline: what several records say, each with its own clock, in one order.

Invariants
1. Nothing is lost or made up: a timeline holds the moments that it was given, each once.
2. Order is by time, except that a strand keeps its own order: what one record numbers stays so, even where its clock
   went back in between.
3. Moments of one time stand in the order of Thread, then of strand and sequence; so any order of gathering gives the
   same timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple


class Thread(StrEnum):
    """The part of a payment's life that a moment belongs to; in the order in which one causes the next."""

    DECISION = "DECISION"
    ROLLBACK = "ROLLBACK"
    AUDIT = "AUDIT"
    REVIEW = "REVIEW"
    EXECUTION = "EXECUTION"


_RANK: Final = {thread: rank for rank, thread in enumerate(Thread)}


class Money(NamedTuple):
    """The money that a moment moved."""

    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency: str


class Moment(NamedTuple):
    """`what` is a sentence, `by` its author, `where` the place that it is recorded in. `strand`: which case, plan or
    record of the thread; `sequence` orders the strand."""

    at_ms: int
    kind: str
    what: str
    by: str
    where: str
    money: Money | None = None
    thread: Thread = Thread.DECISION
    strand: str = ""
    sequence: int = 0


def strung(thread: Thread, strand: str, moments: Iterable[Moment]) -> Iterator[Moment]:
    """The moments of one strand, which come in its order."""
    for sequence, moment in enumerate(moments):
        yield moment._replace(thread=thread, strand=strand, sequence=sequence)


def timeline(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    """The moments in order; see the invariants."""
    strands: dict[tuple[Thread, str], list[Moment]] = {}
    for moment in moments:
        strands.setdefault((moment.thread, moment.strand), []).append(moment)
    placed = [pair for strand in strands.values() for pair in _placed(strand)]
    return tuple(moment for _, moment in sorted(placed, key=_key))


def _placed(strand: list[Moment]) -> Iterator[tuple[int, Moment]]:
    """Each with the time that it stands at: never before what its strand has before it."""
    ordered = sorted(strand, key=lambda each: each.sequence)
    return zip(accumulate((each.at_ms for each in ordered), max), ordered, strict=True)


def _key(placed: tuple[int, Moment]) -> tuple[int, int, str, int]:
    at_ms, moment = placed
    return at_ms, _RANK[moment.thread], moment.strand, moment.sequence
