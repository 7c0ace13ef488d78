"""Whether what is decided on still looks like what the model was taught on.

The population stability index of two histograms is the sum of (q - p)·ln(q/p) over their bins. The usual reading (0.1
is some drift, 0.2 is drift) forgets the sample: where nothing has changed, the index of n payments against m of
training is about (1/n + 1/m) times a chi-square variable with one degree of freedom fewer than there are bins
(Yurdakul & Naranjo, "Statistical properties of the population stability index", Journal of Risk Model Validation
14(4), 2020). So 60 payments reach 0.2 by chance alone, and 4,000,000 never. Drift here is an index of the policy's
limit *on top of* what chance reaches, once in a year that has `year_risk_percent` for all features and days together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import NormalDist
from typing import Final, NamedTuple

from pipeline.bias.drift.reference import Histogram
from pipeline.bias.drift.settings import DriftSettings

DAYS_A_YEAR: Final = 366
_EMPTY: Final = 0.5
"""Added to every bin: a bin that was empty on one side would make the index infinite."""


class Verdict(StrEnum):
    DRIFTED = "DRIFTED"
    STABLE = "STABLE"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"


class Stability(NamedTuple):
    """One feature's, or the score's. `chance` is what chance reaches at this sample, `limit` what is drift."""

    name: str
    verdict: Verdict
    payments: int
    stability: float
    chance: float
    limit: float


def judged(name: str, reference: Histogram, counts: Sequence[int], looks: int, settings: DriftSettings) -> Stability:
    """Judge one histogram. looks: how many are looked at in one day."""
    payments, taught = sum(counts), sum(reference.counts)
    policy_limit = settings.stability_limit_milli / 1000
    if payments < settings.minimum_sample or taught < settings.minimum_sample:
        return Stability(name, Verdict.NOT_ENOUGH_DATA, payments, 0.0, math.inf, math.inf)
    index = stability_index(reference.counts, counts)
    bins = sum(1 for pair in zip(reference.counts, counts, strict=True) if any(pair))
    risk = settings.year_risk_percent / 100 / (DAYS_A_YEAR * looks)
    chance = (1 / payments + 1 / taught) * chi_square_quantile(max(bins - 1, 1), risk)
    limit = policy_limit + chance
    if index >= limit:
        return Stability(name, Verdict.DRIFTED, payments, index, chance, limit)
    verdict = Verdict.STABLE if chance <= policy_limit else Verdict.NOT_ENOUGH_DATA
    return Stability(name, verdict, payments, index, chance, limit)


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if b or a]
    total_before = sum(b for b, _ in pairs) + _EMPTY * len(pairs)
    total_after = sum(a for _, a in pairs) + _EMPTY * len(pairs)
    shares = [((b + _EMPTY) / total_before, (a + _EMPTY) / total_after) for b, a in pairs]
    return math.fsum((q - p) * math.log(q / p) for p, q in shares)


def chi_square_quantile(degrees: int, risk: float) -> float:
    """Return what a chi-square variable exceeds with the chance `risk` (Wilson & Hilferty's approximation, 1931).

    With one degree, where that is too high, it is a normal variable's square.
    """
    if degrees == 1:
        return NormalDist().inv_cdf(1 - risk / 2) ** 2
    z = NormalDist().inv_cdf(1 - risk)
    ninth = 2 / (9 * degrees)
    return float(degrees * max(0.0, 1 - ninth + z * math.sqrt(ninth)) ** 3)
