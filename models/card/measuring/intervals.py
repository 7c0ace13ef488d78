"""Intervals of what was measured. The same counts, scores and seed give the same integers."""

from __future__ import annotations

from math import exp, log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Column
from models.card.facts import Estimate, Rate

PPM: Final = 1_000_000
CONFIDENCE: Final = 0.95
EVENTS_MIN: Final = 10
"""Fewest events on both sides of a ratio together: with fewer, the halves that are added would speak louder."""
FRAUDS_MIN: Final = 20
"""Fewest frauds for an average precision: with fewer, one payment moves it by more than its interval tells."""

Flags = NDArray[np.bool_]


def rate(part: int, whole: int) -> Rate:
    """Return a share with its interval by Wilson's score (1927), which holds for small counts and never leaves 0 to 1.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    assert 0 <= part <= whole, f"{part} of {whole}"
    if whole == 0:
        return Rate(0, 0, None, None, None)
    z = _z(1)
    share, factor = part / whole, 1 + z * z / whole
    middle = (share + z * z / (2 * whole)) / factor
    half = z / factor * sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    low = 0 if part == 0 else max(0, round((middle - half) * PPM))
    high = PPM if part == whole else min(PPM, round((middle + half) * PPM))
    return Rate(part, whole, round(share * PPM), low, high)


def ratio(group: Rate, others: Rate, comparisons: int) -> tuple[int, int, int] | None:
    """Return the others' rate over the group's and its interval, in millionths; None where there is too little to say.

    The interval is Katz's on the logarithm, at a level divided by the number of comparisons (Bonferroni). Half an
    event is added to each count, and one to each whole, so that a rate of nothing has a ratio, too.
    """
    if not group.whole or not others.whole or group.part + others.part < EVENTS_MIN:
        return None
    parts = group.part + 0.5, others.part + 0.5
    wholes = group.whole + 1, others.whole + 1
    middle = log(parts[1] / wholes[1]) - log(parts[0] / wholes[0])
    variance = sum(1 / part - 1 / whole for part, whole in zip(parts, wholes, strict=True))
    half = _z(comparisons) * sqrt(max(variance, 0.0))
    return round(exp(middle) * PPM), round(exp(middle - half) * PPM), round(exp(middle + half) * PPM)


def average_precision(score_micro: Column, fraud: Flags, resamples: int, seed: tuple[int, ...]) -> Estimate:
    """Return the average precision of the ranking with its percentile interval over resampled payments."""
    if fraud.sum() < FRAUDS_MIN or fraud.all():
        return Estimate(None, None, None)
    order = np.argsort(-score_micro, kind="stable")
    ranked, scores = fraud[order].astype(np.float64), score_micro[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores are taken together
    point = _average_precision(np.ones(len(ranked)), ranked, ends)
    generator = np.random.default_rng(seed)
    resampled = []
    for _ in range(resamples):
        weights = np.bincount(generator.integers(0, len(ranked), len(ranked)), minlength=len(ranked))
        resampled.append(_average_precision(weights.astype(np.float64), ranked, ends))
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(round(point * PPM), round(float(low) * PPM), round(float(high) * PPM))


def _average_precision(weights: NDArray[np.float64], ranked: NDArray[np.float64], ends: NDArray[np.intp]) -> float:
    found, seen = np.cumsum(weights * ranked)[ends], np.cumsum(weights)[ends]
    if found[-1] == 0:
        return 0.0
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


def _z(comparisons: int) -> float:
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(comparisons, 1))
