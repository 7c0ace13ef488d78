"""The trials of an attack: its best finds, carried out in scenes that the search has not seen.

Invariants
1. Trial n of an attack is the same scene for every version, so versions are compared in pairs.
2. A version is measured by the find that takes most from it, whichever version it was found on. So a search that had
   better luck on one version makes no other look stronger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from models.redteam.deciding import Course
from models.redteam.search import SEARCHED, Carried, Find, Searched, carried_out, search
from models.redteam.statistics import Share, wilson
from models.redteam.strategies.strategy import Choices, Strategy
from models.redteam.strategies.table import STRATEGIES
from models.redteam.target import Target

HEAVY: Final = frozenset({"trip-breaker", "dilute-breaker"})
"""Attacks of hundreds of payments under a watching breaker: half a second a plan, where others take 20 ms."""
HEAVY_SHARE: Final = 4
LEAST: Final = 3


class Effort(NamedTuple):
    budget: int  # choices that a search tries
    trials: int

    def for_attack(self, name: str) -> Effort:
        if name not in HEAVY:
            return self
        return Effort(max(self.budget // HEAVY_SHARE, LEAST), max(self.trials // HEAVY_SHARE, LEAST))


QUICK: Final = Effort(budget=16, trials=12)
FULL: Final = Effort(budget=120, trials=40)


class Tried(NamedTuple):
    """What came of one find's trials, in their order."""

    choices: Choices
    carried: tuple[Carried, ...]

    @property
    def courses(self) -> list[Course]:
        return [each.course for each in self.carried]

    @property
    def through_minor(self) -> int:
        return sum(course.through_minor for course in self.courses)

    @property
    def net_minor(self) -> int:
        return sum(course.net_minor for course in self.courses)


class Attacked(NamedTuple):
    """What an attack does to a version; money in pence, over all trials."""

    strategy: Strategy
    searched: Searched
    worst: Tried  # the find that takes most

    @property
    def evaded(self) -> int:
        return sum(course.is_evasion for course in self.worst.courses)

    @property
    def share(self) -> Share:
        return wilson(self.evaded, len(self.worst.courses))

    @property
    def cheapest(self) -> Carried | None:
        """Of all the plans that were carried out and succeeded, the one that cost least."""
        succeeded = [each for each in self.worst.carried if each.course.is_success]
        found = succeeded if self.searched.cheapest is None else [self.searched.cheapest, *succeeded]
        return min(found, key=lambda each: (each.course.cost_minor, -each.course.through_minor), default=None)

    @property
    def richest(self) -> Carried | None:
        succeeded = [each for each in self.worst.carried if each.course.is_success]
        found = succeeded if self.searched.richest is None else [self.searched.richest, *succeeded]
        return max(found, key=lambda each: each.course.net_minor, default=None)


def attacked(target: Target, effort: Effort, strategies: Sequence[Strategy] = STRATEGIES) -> Iterable[Attacked]:
    for strategy in strategies:
        own = effort.for_attack(strategy.name)
        searched = search(strategy, target, own.budget)
        yield worst_of(strategy, target, searched, searched.finds, own.trials)


def worst_of(strategy: Strategy, target: Target, searched: Searched, finds: Iterable[Find], trials: int) -> Attacked:
    """Try all finds on the target, and keep the one that takes most."""
    tried = [_tried(strategy, target, find.choices, trials) for find in finds]
    return Attacked(strategy, searched, max(tried, key=lambda each: (each.net_minor, each.through_minor)))


def _tried(strategy: Strategy, target: Target, choices: Choices, trials: int) -> Tried:
    scenes = range(SEARCHED, SEARCHED + trials)
    return Tried(choices, tuple(carried_out(strategy, target, choices, scene) for scene in scenes))
