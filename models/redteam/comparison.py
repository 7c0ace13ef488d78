"""A version against the one before it, under the same seed and budget, in pairs.

Invariants
1. Both are measured with the finds on either, in the same scenes.
2. A rise is reported where it is beyond the limit and beyond chance, both; the bound on chance is for all attacks
   together (Bonferroni). So a version compared with itself has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from models.redteam.search import Searched, search
from models.redteam.statistics import PPM, sign_test_ppm
from models.redteam.strategies.strategy import Strategy
from models.redteam.strategies.table import STRATEGIES
from models.redteam.target import Target
from models.redteam.trials import Attacked, Effort, worst_of
from pipeline.decide.rollout.limits import PPM_A_PERCENT, RedTeamLimits

NOTHING_SEARCHED: Final[Mapping[str, Searched]] = {}


class Pair(NamedTuple):
    """One attack against both versions."""

    before: Attacked
    after: Attacked
    chance_ppm: int  # of as many trials in which more got through, were the versions as strong
    evasion_chance_ppm: int  # the same of trials that evade

    @property
    def name(self) -> str:
        return self.after.strategy.name

    @property
    def through_rise_minor(self) -> int:
        return self.after.worst.through_minor - self.before.worst.through_minor


class Compared(NamedTuple):
    pairs: tuple[Pair, ...]
    limits: RedTeamLimits

    @property
    def findings(self) -> tuple[str, ...]:
        """One sentence for each attack that evades the later version more; empty where none does."""
        limit_ppm = _chance_ppm_max(len(self.pairs), self.limits)
        return tuple(sentence for pair in self.pairs for sentence in _findings(pair, self.limits, limit_ppm))

    @property
    def trials_needed(self) -> int:
        """Trials that must all go one way before anything can be reported; with fewer, an attack says nothing."""
        return trials_needed(len(self.pairs), self.limits)


def trials_needed(attacks: int, limits: RedTeamLimits) -> int:
    """Return how many trials an attack needs, beside so many attacks, to be able to show a rise at all."""
    limit_ppm, needed = _chance_ppm_max(attacks, limits), 1
    while sign_test_ppm(needed, 0) > limit_ppm:
        needed += 1
    return needed


def compared(
    before: Target,
    after: Target,
    effort: Effort,
    strategies: Sequence[Strategy] = STRATEGIES,
    *,
    searched: Mapping[str, Searched] = NOTHING_SEARCHED,
) -> Iterator[Pair]:
    """searched: what searches of `before` with the same effort found, by attack; it is searched where they are none."""
    assert before.world is after.world, "versions are compared in one world"
    for strategy in strategies:
        own = effort.for_attack(strategy.name)
        earlier = searched.get(strategy.name) or search(strategy, before, own.budget)
        later = search(strategy, after, own.budget)
        finds = list({tuple(find.choices.items()): find for find in (*earlier.finds, *later.finds)}.values())
        first = worst_of(strategy, before, earlier, finds, own.trials)
        yield _pair(first, worst_of(strategy, after, later, finds, own.trials))


def _chance_ppm_max(attacks: int, limits: RedTeamLimits) -> int:
    return limits.chance_percent * PPM_A_PERCENT // max(attacks, 1)


def _pair(before: Attacked, after: Attacked) -> Pair:
    pairs = list(zip(before.worst.courses, after.worst.courses, strict=True))
    through = [later.through_minor - earlier.through_minor for earlier, later in pairs]
    evaded = [int(later.is_evasion) - int(earlier.is_evasion) for earlier, later in pairs]
    return Pair(before, after, _chance_ppm(through), _chance_ppm(evaded))


def _chance_ppm(differences: Sequence[int]) -> int:
    return sign_test_ppm(sum(each > 0 for each in differences), sum(each < 0 for each in differences))


def _findings(pair: Pair, limits: RedTeamLimits, limit_ppm: int) -> Iterator[str]:
    before, after, trials = pair.before, pair.after, len(pair.after.worst.courses)
    rise_ppm = after.share.ppm - before.share.ppm
    if rise_ppm > limits.rise_points * PPM_A_PERCENT and pair.evasion_chance_ppm <= limit_ppm:
        yield (
            f"{pair.name} evades it in {after.evaded} of {trials} trials, and the version before in {before.evaded}: "
            f"{rise_ppm / 10_000:+.0f} points, where {limits.rise_points} are allowed"
        )
    allowed_minor = max(before.worst.through_minor * limits.rise_percent // 100, limits.rise_gbp_minor * trials)
    if pair.through_rise_minor > allowed_minor and pair.chance_ppm <= limit_ppm:
        yield (
            f"{pair.name} gets £{after.worst.through_minor // 100:,} through it in {trials} trials, and "
            f"£{before.worst.through_minor // 100:,} through the version before; the chance of that between equals "
            f"is {pair.chance_ppm / PPM:.4f}"
        )
