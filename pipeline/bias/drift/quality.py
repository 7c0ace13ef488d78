"""An estimate of how good a model's answers are before labels come.

A calibrated probability says how often payments of this score are fraud. So the expected number of frauds among what
was blocked is the sum of their probabilities, and precision and recall follow (confidence-based performance
estimation: Guillory et al., "Predicting with confidence on unseen distributions", ICCV 2021, and NannyML's CBPE).

Assumption: the calibration still holds, which is to say that payments of one score are fraud as often as they were in
training. The estimate notices that other payments come; it can't notice a new scheme of fraud that the model takes for
honest. The interval is of chance alone, and says nothing of that assumption. Only labels do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

PPM: Final = 1_000_000
CONFIDENCE_PERCENT: Final = 95
FRAUDS_MIN: Final = 20.0
"""Expected frauds below which nothing is estimated: with fewer, the normal approximation is none."""
_Z: Final = NormalDist().inv_cdf(0.5 + CONFIDENCE_PERCENT / 200)


class ScoreSums(NamedTuple):
    """Sums over payments that a model answered. Variances are of Σ p·(1-p), in ppm as well."""

    payments: int = 0
    probability_ppm: int = 0
    variance_ppm: int = 0
    stopped: int = 0  # what the model blocked
    stopped_probability_ppm: int = 0
    stopped_variance_ppm: int = 0

    def plus(self, other: ScoreSums) -> ScoreSums:
        return ScoreSums(*[mine + more for mine, more in zip(self, other, strict=True)])


class Estimate(NamedTuple):
    """A share in ppm, with the interval that chance makes."""

    ppm: int
    low_ppm: int
    high_ppm: int


class Quality(NamedTuple):
    expected_frauds: int
    precision: Estimate | None  # None where there is too little to estimate it by
    recall: Estimate | None


def sums_of(probabilities_ppm: Sequence[int], blocked: Sequence[bool]) -> ScoreSums:
    total = variance = stopped = stopped_total = stopped_variance = 0
    for probability, is_blocked in zip(probabilities_ppm, blocked, strict=True):
        spread = probability * (PPM - probability) // PPM
        total, variance = total + probability, variance + spread
        if is_blocked:
            stopped, stopped_total, stopped_variance = (
                stopped + 1,
                stopped_total + probability,
                stopped_variance + spread,
            )
    return ScoreSums(len(probabilities_ppm), total, variance, stopped, stopped_total, stopped_variance)


def expected_quality(sums: ScoreSums) -> Quality:
    frauds, caught = sums.probability_ppm / PPM, sums.stopped_probability_ppm / PPM
    if frauds < FRAUDS_MIN:
        return Quality(round(frauds), None, None)
    caught_variance = sums.stopped_variance_ppm / PPM
    missed_variance = (sums.variance_ppm - sums.stopped_variance_ppm) / PPM
    recall = caught / frauds
    recall_variance = ((1 - recall) ** 2 * caught_variance + recall**2 * missed_variance) / frauds**2
    precision = None
    if sums.stopped:
        precision = _estimate(caught / sums.stopped, caught_variance / sums.stopped**2)
    return Quality(round(frauds), precision, _estimate(recall, recall_variance))


def _estimate(share: float, variance: float) -> Estimate:
    reach = _Z * math.sqrt(max(variance, 0.0))
    low, high = max(0.0, share - reach), min(1.0, share + reach)
    return Estimate(round(share * PPM), math.floor(low * PPM), math.ceil(high * PPM))
