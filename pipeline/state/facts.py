"""Facts that context states about an entity (a declared month, fraud reports), and how they are withdrawn.

Invariants
1. Of the statements that are not withdrawn, the newest holds; of two as new, the one that is later in the log.
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


class _Fact(NamedTuple):
    observed_at_ms: int
    value: int
    stated: LogPlace
    withdrawn: LogPlace  # by the last withdrawal


_NOWHERE: Final = LogPlace(0, 0)
"""Before the place of any record."""


class Facts:
    """The facts of one kind, by entity. `absent` is the value where nothing was stated, or it was withdrawn."""

    def __init__(self, absent: int) -> None:
        self._nothing = _Fact(-1, absent, _NOWHERE, _NOWHERE)
        self._facts: dict[Hashable, _Fact] = {}

    def __getitem__(self, entity: Hashable) -> int:
        return self._facts.get(entity, self._nothing).value

    def state(self, entity: Hashable, value: int, observed_at_ms: int, place: LogPlace) -> None:
        held = self._facts.get(entity, self._nothing)
        is_older = (observed_at_ms, place) < (held.observed_at_ms, held.stated)
        if held.withdrawn < place and not (is_older and _is_possible(held)):
            self._facts[entity] = _Fact(observed_at_ms, value, place, held.withdrawn)

    def withdraw(self, entity: Hashable, place: LogPlace) -> None:
        held = self._facts.get(entity, self._nothing)
        if held.withdrawn < place:
            left = held if place < held.stated else self._nothing
            self._facts[entity] = left._replace(withdrawn=place)


def _is_possible(fact: _Fact) -> bool:
    return fact.observed_at_ms <= fact.stated.log_time_ms + FUTURE_TOLERANCE_MS
