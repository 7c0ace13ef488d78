"""Facts that context states about an entity (a declared month, fraud reports), and how they are withdrawn.

Invariants
1. Of the statements that are not withdrawn, the newest holds; of two as new, the one that is later in the log.
   Within a partition the offset says which record is later, because clocks of brokers differ and those of publishers
   run backwards. Log time says it only between partitions.
2. A withdrawal takes back every statement before it in the log, and none after it, in whichever order they are read:
   live, read again, or replayed beside the live reading. (A replay hands in withdrawals first.)
3. A statement that is newer than its own record can be pins nothing: any later one replaces it.

newest.lua does the same in Redis.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from pipeline.domain.refusals import FUTURE_TOLERANCE_MS


class LogPlace(NamedTuple):
    """The place of a context record among those of its entity, in the log's order."""

    log_time_ms: int
    offset: int
    partition: int = 0
    incarnation: int = 0  # of the topic: a topic that was made anew counts its offsets from 0 again

    def is_before(self, other: LogPlace) -> bool:
        """Return whether a record here stands before one there; NOWHERE is before every record."""
        if NOWHERE in (self, other):
            return other != NOWHERE
        if self.partition != other.partition:
            return (self.log_time_ms, self.partition) < (other.log_time_ms, other.partition)
        return (self.incarnation, self.offset) < (other.incarnation, other.offset)


NOWHERE: Final = LogPlace(0, 0)


class _Fact(NamedTuple):
    observed_at_ms: int
    value: int
    stated: LogPlace
    withdrawn: LogPlace  # by the last withdrawal


class Facts:
    """The facts of one kind, by entity. `absent` is the value where nothing was stated, or it was withdrawn."""

    def __init__(self, absent: int) -> None:
        self._nothing = _Fact(-1, absent, NOWHERE, NOWHERE)
        self._facts: dict[Hashable, _Fact] = {}

    def __getitem__(self, entity: Hashable) -> int:
        return self._facts.get(entity, self._nothing).value

    def state(self, entity: Hashable, value: int, observed_at_ms: int, place: LogPlace) -> None:
        held = self._facts.get(entity, self._nothing)
        is_older = observed_at_ms < held.observed_at_ms or (
            observed_at_ms == held.observed_at_ms and place.is_before(held.stated)
        )
        if held.withdrawn.is_before(place) and not (is_older and _is_possible(held)):
            self._facts[entity] = _Fact(observed_at_ms, value, place, held.withdrawn)

    def withdraw(self, entity: Hashable, place: LogPlace) -> None:
        held = self._facts.get(entity, self._nothing)
        if held.withdrawn.is_before(place):
            left = held if place.is_before(held.stated) else self._nothing
            self._facts[entity] = left._replace(withdrawn=place)


def _is_possible(fact: _Fact) -> bool:
    return fact.observed_at_ms <= fact.stated.log_time_ms + FUTURE_TOLERANCE_MS
