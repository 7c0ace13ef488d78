"""The model's answers in numbers: how many there were in a span, what is usual, and how far from usual is too far.

Invariants
1. Counts add and subtract exactly; the counts of a span are the difference of two readings of running totals.
2. A baseline holds no hour that was excluded.
3. A comparison never says more than its sample allows: without a baseline, or with one of no answers, nothing is
   significant.

The counts are of the model's own answers, whatever the route. After a trip the model answers in shadow, and the
fallback's outcomes must not hide that it is still wrong. A hard guardrail's block isn't the model's answer, so it isn't
counted.

Floats are allowed here because nothing of this enters a decision's bytes. The breaker state that it leads to is
recorded.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from operator import add, sub
from statistics import fmean
from typing import Final, NamedTuple

from pipeline.domain.decision import Outcome

LATENCY_BOUNDS_MS: Final = (5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1500, 2000, 5000, 10_000)
"""Inclusive upper bounds of the latency histogram's buckets; one more bucket holds the rest."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
BASELINE_MS: Final = 7 * DAY_MS
DISPERSION_FLOOR: Final = 1.3
"""Payments come in bursts, so a share varies more than that of independent answers. Its variance is taken to be at
least 1.3 times the binomial one, however calm the few days were that it was measured on."""

ALL: Final = "all"
_NO_LATENCY: Final = (0,) * (len(LATENCY_BOUNDS_MS) + 1)


class Counts(NamedTuple):
    """Counts of one scope over one span. `errors` are payments that the model was asked about but did not answer."""

    allow: int = 0
    block: int = 0
    escalate: int = 0
    errors: int = 0
    score_sum_ppm: int = 0  # the sum of the fraud probabilities; that of 9 · 10^9 answers is below 2^53
    score_square_sum_ppm: int = 0  # the sum of their squares, as fractions of 1, in millionths
    latency: tuple[int, ...] = _NO_LATENCY  # payments in each bucket of LATENCY_BOUNDS_MS

    @property
    def answered(self) -> int:
        return self.allow + self.block + self.escalate

    def plus(self, other: Counts) -> Counts:
        return _combined(add, self, other)

    def minus(self, other: Counts) -> Counts:
        return _combined(sub, self, other)

    def slower_than(self, bound_ms: int) -> int:
        """Count the payments that took longer than `bound_ms`, which is one of LATENCY_BOUNDS_MS."""
        return sum(self.latency[LATENCY_BOUNDS_MS.index(bound_ms) + 1 :])


class Answer:
    """The model's answer about one payment; the outcome and the probability are None where it failed to answer."""

    def __init__(self, outcome: Outcome | None, fraud_probability_ppm: int | None, segments: Mapping[str, str]) -> None:
        self.outcome, self.fraud_probability_ppm, self.segments = outcome, fraud_probability_ppm, segments


class Hour(NamedTuple):
    """Counts of one scope within one clean hour, or within most of one."""

    start_ms: int
    counts: Counts


class Baseline(NamedTuple):
    """The answers that are usual for a scope. `score_sigma_ppm` is None where too few hours are known."""

    answered: int
    allow: int
    block: int
    correlation: float  # correlation of the answers within an hour beyond chance; 0 when they are independent
    score_mean_ppm: float
    score_sigma_ppm: float | None  # standard deviation of hourly mean scores about the mean of their hour of day
    is_seasonal: bool


def counts_of(answers: Sequence[Answer], latency_ms: int, model_version: str | None) -> dict[str, Counts]:
    """Return a batch's counts by scope.

    `all` counts everything; the model's version and each segment count the answers too. `latency_ms` is the batch's,
    and so that of each of its payments.
    """
    if not answers:
        return {}
    # Many payments share their segments, so each combination is tallied once and then added to its scopes.
    combined: defaultdict[tuple[tuple[str, str], ...], list[int]] = defaultdict(lambda: [0] * 6)
    for answer in answers:
        outcome, probability_ppm = answer.outcome, answer.fraud_probability_ppm
        tally = combined[tuple(answer.segments.items())]
        tally[3 if outcome is None else _COLUMN[outcome]] += 1
        if probability_ppm is not None:
            tally[4] += probability_ppm
            tally[5] += probability_ppm * probability_ppm
    tallies: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for segment_items, tally in combined.items():
        for scope in (ALL, *(segment_scope(name, value) for name, value in segment_items)):
            tallies[scope] = list(map(add, tallies[scope], tally))
    counts = {scope: _counts(tally) for scope, tally in tallies.items()}
    if model_version is not None:
        counts[model_scope(model_version)] = counts[ALL]
    counts[ALL] = counts[ALL]._replace(latency=_histogram(latency_ms, len(answers)))
    return counts


def model_scope(version: str) -> str:
    return f"model:{version}"


def segment_scope(name: str, value: str) -> str:
    return f"segment:{name}={value}"


def baseline_of(
    same_hours: Sequence[Hour], hours: Sequence[Hour], now_ms: int, *, days_minimum: int, sample_minimum: int
) -> Baseline | None:
    """Return the seasonal baseline of the `same_hours` of the last 7 days; None with too few hours or answers.

    `hours` are all the clean hours of those days; they tell how far hourly means usually stray.
    """
    recent = [hour for hour in same_hours if now_ms - BASELINE_MS - HOUR_MS <= hour.start_ms < now_ms]
    total = total_of(hour.counts for hour in recent)
    if len(recent) < days_minimum or total.answered < sample_minimum:
        return None
    return _baseline(total, _correlation(recent), hourly_score_sigma_ppm(hours), is_seasonal=True)


def blended(first: Baseline, second: Baseline, weight: float) -> Baseline:
    """Return `first` with its shares and its mean moved towards those of `second` by `weight`, from 0 to 1."""

    def between(own: float, other: float) -> float:
        return own + (other - own) * weight

    return first._replace(
        allow=round(between(first.allow, second.allow * first.answered / second.answered)),
        block=round(between(first.block, second.block * first.answered / second.answered)),
        score_mean_ppm=between(first.score_mean_ppm, second.score_mean_ppm),
    )


def trailing_baseline(total: Counts, *, sample_minimum: int) -> Baseline | None:
    """Return a baseline of what came just before, for when there is too little history for a seasonal one."""
    if total.answered < sample_minimum:
        return None
    return _baseline(total, 0.0, None, is_seasonal=False)


def total_of(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for some in counts:
        total = total.plus(some)
    return total


def difference(later: Counts, earlier: Counts) -> Counts:
    """Return the counts between two readings of running totals; zeros where the totals were lost in between."""
    counts = later.minus(earlier)
    return counts if min(*counts[:6], *counts.latency) >= 0 else Counts()


def hourly_score_sigma_ppm(hours: Sequence[Hour]) -> float | None:
    """Return the standard deviation of hourly mean scores about the mean of their hour of day.

    It is None with fewer than 24 degrees of freedom. It is taken of hourly means. Single scores would not do, because
    no mean strays by a σ of those; nor would one-minute means about a flat mean, which alarm every busy evening, 60
    minutes a day.
    """
    means: defaultdict[int, list[float]] = defaultdict(list)
    for start_ms, counts in hours:
        if counts.answered:
            means[hour_of_day(start_ms)].append(counts.score_sum_ppm / counts.answered)
    spare = sum(len(group) - 1 for group in means.values())
    if spare < _SPARE_HOURS_MIN:
        return None
    squares = sum((mean - fmean(group)) ** 2 for group in means.values() for mean in group)
    return math.sqrt(squares / spare)


def hour_of_day(at_ms: int) -> int:
    return at_ms // HOUR_MS % 24


def proportion_z(successes: int, total: int, baseline_successes: int, baseline: Baseline) -> float:
    """Return the two-proportion z, its variances inflated for answers that come in bursts; 0 if nothing can be said."""
    baseline_total = baseline.answered
    if total == 0 or baseline_total == 0:
        return 0.0
    pooled = (successes + baseline_successes) / (total + baseline_total)
    variance = pooled * (1 - pooled) * (_dispersion(total, baseline) / total + DISPERSION_FLOOR / baseline_total)
    if variance == 0:
        return 0.0
    return (successes / total - baseline_successes / baseline_total) / math.sqrt(variance)


def drift_z(counts: Counts, baseline: Baseline) -> float:
    """Measure how far the mean score is from usual, against chance and against how far hourly means usually stray."""
    assert baseline.score_sigma_ppm is not None
    if counts.answered == 0:
        return 0.0
    chance_ppm2 = DISPERSION_FLOOR * _score_variance_ppm2(counts) / counts.answered
    spread = math.sqrt(baseline.score_sigma_ppm**2 + chance_ppm2)
    return 0.0 if spread == 0 else (score_mean_ppm(counts) - baseline.score_mean_ppm) / spread


def score_mean_ppm(counts: Counts) -> float:
    return counts.score_sum_ppm / counts.answered


def shifted(cumulated: float, successes: int, total: int, usual: float, sought: float, baseline: Baseline) -> float:
    """Return the CUSUM after one more sample: summed log-likelihood ratios of `sought` over `usual`, never below 0.

    Both are shares in (0, 1). The ratio is divided by the dispersion, because a burst is not evidence. See Page,
    "Continuous inspection schemes", Biometrika 41 (1954).
    """
    ratio = successes * math.log(sought / usual) + (total - successes) * math.log((1 - sought) / (1 - usual))
    return max(0.0, cumulated + ratio / _dispersion(total, baseline))


_COLUMN: Final = {Outcome.ALLOW: 0, Outcome.BLOCK: 1, Outcome.ESCALATE: 2}
_SPARE_HOURS_MIN: Final = 24
"""Least degrees of freedom. With 24 the estimate of σ is within 30 % in 19 of 20 cases."""


def _combined(operation: Callable[[int, int], int], first: Counts, second: Counts) -> Counts:
    allow, block, escalate, errors, score_sum, score_squares = map(operation, first[:6], second[:6])
    is_plain = second.latency == _NO_LATENCY  # true of every scope but `all`; this spares two thirds of the work
    latency = first.latency if is_plain else tuple(map(operation, first.latency, second.latency))
    return Counts(allow, block, escalate, errors, score_sum, score_squares, latency)


def _counts(tally: list[int]) -> Counts:
    allow, block, escalate, errors, score_sum_ppm, score_square_sum_ppm2 = tally
    return Counts(allow, block, escalate, errors, score_sum_ppm, score_square_sum_ppm2 // 1_000_000)


def _histogram(latency_ms: int, payments: int) -> tuple[int, ...]:
    buckets = [0] * len(_NO_LATENCY)
    buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] = payments
    return tuple(buckets)


def latency_p99_ms(counts: Counts) -> int | None:
    """Return the lowest bound that at least 99 % of the payments keep to; None where it is beyond the last bound."""
    needed = sum(counts.latency) * 99
    for bound_ms, below in zip(LATENCY_BOUNDS_MS, accumulate(counts.latency), strict=False):
        if below * 100 >= needed:
            return bound_ms
    return None


def _baseline(total: Counts, correlation: float, sigma_ppm: float | None, *, is_seasonal: bool) -> Baseline:
    mean_ppm = score_mean_ppm(total)
    return Baseline(total.answered, total.allow, total.block, correlation, mean_ppm, sigma_ppm, is_seasonal)


def _correlation(hours: Sequence[Hour]) -> float:
    """Return the intra-class correlation of blocks in an hour, by the moments of a beta-binomial (Williams, 1982)."""
    sizes = [hour.counts.answered for hour in hours if hour.counts.answered]
    blocks = [hour.counts.block for hour in hours if hour.counts.answered]
    share = sum(blocks) / sum(sizes)
    if len(sizes) < 2 or share in (0.0, 1.0):
        return 0.0
    chi_square = sum(
        (block - size * share) ** 2 / (size * share * (1 - share)) for block, size in zip(blocks, sizes, strict=True)
    )
    excess = chi_square / (len(sizes) - 1) - 1
    return min(max(0.0, excess / max(fmean(sizes) - 1, 1.0)), 1.0)


def _dispersion(total: int, baseline: Baseline) -> float:
    return max(DISPERSION_FLOOR, 1 + (total - 1) * baseline.correlation)


def _score_variance_ppm2(counts: Counts) -> float:
    mean_square_ppm2 = counts.score_square_sum_ppm / counts.answered * 1_000_000
    return max(0.0, mean_square_ppm2 - score_mean_ppm(counts) ** 2)
