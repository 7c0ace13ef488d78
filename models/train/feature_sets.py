"""The choice among sets of features: what they share, with or without each group that has to earn its place.

Invariants
1. The choice follows from the average precisions on validation periods, and no chance is in it.
2. The fewest groups win, unless the best set is ahead by more than may be noise. Where that can't be told, no lead is
   taken for true.
3. Of sets with as many groups the one with the better mean wins, and of equals the first.

Two sets are judged on the same payments, so most of what makes periods and payments differ falls out of their
difference. What may be noise in it is the greater of two: PAYMENTS_ERRORS standard errors by leaving out each of SLICES
slices of consecutive payments in turn (the jackknife of blocks; Künsch, 1989), since frauds come in runs, and what is
left out together is not counted as if it were independent; and one standard error by the periods. Of these there are
few, and a group whose worth grows from period to period, as the state fills, scatters there without being noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]  # it ships without types

GROUPS_MAX: Final = 4
"""Most groups: each doubles the sets, and a set is learned once a period."""
SLICES: Final = 10
"""Slices of a validation period: enough to tell a standard error, each long enough to hold runs of frauds."""
PAYMENTS_ERRORS: Final = 2
"""The usual rule (Breiman and others, 1984) asks for one standard error; but the best of several sets that are all no
better is often ahead by that, and a group that isn't needed silences the model where its features can't be known (ADR
0041)."""
PPM: Final = 1_000_000

Features = tuple[str, ...]
Groups = Mapping[str, Features]


class Precision(NamedTuple):
    """The average precision on one validation period, in millionths."""

    whole_ppm: int
    without_ppm: tuple[int | None, ...]  # with each slice left out; None where no fraud is left, or nothing else


class FeatureSet(NamedTuple):
    groups: tuple[str, ...]
    features: Features


class Weighed(NamedTuple):
    """One set, held against the best."""

    set: FeatureSet
    precisions: tuple[Precision, ...]  # by period
    behind_ppm: int  # of the mean of the best one
    noise_ppm: int | None  # so much of that may be noise; None where it can't be told

    @property
    def mean_ppm(self) -> int:
        return mean_ppm(self.precisions)


class Choice(NamedTuple):
    weighed: tuple[Weighed, ...]
    place: int  # of the chosen one

    @property
    def chosen(self) -> FeatureSet:
        return self.weighed[self.place].set


def feature_sets(features: Features, groups: Groups) -> list[FeatureSet]:
    """Return every set, those with fewer groups first; each keeps the order of `features`."""
    assert len(groups) <= GROUPS_MAX, "the sets are bounded"
    found = []
    for count in range(len(groups) + 1):
        for names in itertools.combinations(groups, count):
            left_out = {name for group, held in groups.items() if group not in names for name in held}
            found.append(FeatureSet(names, tuple(name for name in features if name not in left_out)))
    return found


def precision_of(
    fraud: NDArray[np.bool_], score: NDArray[np.generic], weight: NDArray[np.float64] | None = None
) -> Precision:
    """Judge the scores of a period's payments, which are in order of time."""
    place = np.arange(len(fraud)) * SLICES // max(len(fraud), 1)
    parts = [place != each for each in range(SLICES)]
    whole = _average_precision_ppm(fraud, score, weight)
    assert whole is not None, "a period has a fraud"
    without = (
        _average_precision_ppm(fraud[part], score[part], None if weight is None else weight[part]) for part in parts
    )
    return Precision(whole, tuple(without))


def choice(sets: Sequence[FeatureSet], precisions: Sequence[Sequence[Precision]]) -> Choice:
    """Choose among sets, by their average precisions in the same periods. Where there is no period: the first set."""
    if not precisions or not precisions[0]:
        return Choice(tuple(Weighed(each, (), 0, None) for each in sets), 0)
    best = max(precisions, key=mean_ppm)
    weighed = tuple(
        Weighed(each, tuple(own), mean_ppm(best) - mean_ppm(own), noise_ppm(best, own))
        for each, own in zip(sets, precisions, strict=True)
    )
    enough = [
        place for place, each in enumerate(weighed) if each.noise_ppm is None or each.behind_ppm <= each.noise_ppm
    ]
    place = min(enough, key=lambda each: (len(sets[each].groups), weighed[each].behind_ppm))
    return Choice(weighed, place)


def mean_ppm(precisions: Sequence[Precision]) -> int:
    return sum(each.whole_ppm for each in precisions) // len(precisions)


def noise_ppm(first: Sequence[Precision], other: Sequence[Precision]) -> int | None:
    """Return how much of the difference of two means over the same periods may be noise, rounded up."""
    pairs = list(zip(first, other, strict=True))
    by_slices = [_slices_variance(one, two) for one, two in pairs]
    if any(each is None for each in by_slices):
        return None
    within = sum(each for each in by_slices if each is not None) / len(pairs) ** 2
    between = 0.0
    if len(pairs) > 1:
        between = float(np.var([one.whole_ppm - two.whole_ppm for one, two in pairs], ddof=1)) / len(pairs)
    return math.ceil(max(PAYMENTS_ERRORS * math.sqrt(within), math.sqrt(between)))


def _slices_variance(one: Precision, two: Precision) -> float | None:
    differences = [
        left - right
        for left, right in zip(one.without_ppm, two.without_ppm, strict=True)
        if left is not None and right is not None
    ]
    if len(differences) < len(one.without_ppm):
        return None
    return float(np.var(differences)) * (len(differences) - 1)


def _average_precision_ppm(
    fraud: NDArray[np.bool_], score: NDArray[np.generic], weight: NDArray[np.float64] | None
) -> int | None:
    if fraud.all() or not fraud.any():
        return None
    return round(float(average_precision_score(fraud, score, sample_weight=weight)) * PPM)
