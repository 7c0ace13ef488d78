"""Baselines: what is usual for a scope, how far from usual a count is, and how far is too far.

Invariants
1. A baseline holds no hour that was excluded.
2. A baseline of no answers is none.

Floats are allowed here because nothing of this enters a decision's bytes. The breaker state that it leads to is
recorded.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import Counts, score_mean_ppm, total_of

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
BASELINE_MS: Final = 7 * DAY_MS
_SPARE_HOURS_MIN: Final = 24
"""Least degrees of freedom. With 24 the estimate of σ is within 30 % in 19 of 20 cases."""


class Hour(NamedTuple):
    """Counts of one scope within one clean hour, or within most of one."""

    start_ms: int
    counts: Counts


class Usual(NamedTuple):
    """What is usual of a share: `counted` of `answered` answers."""

    counted: int
    answered: int
    correlation: float  # within an hour beyond chance
    is_seasonal: bool
    level: float = 1.0  # times as much as usual in the last clean hours


class Baseline(NamedTuple):
    """The answers that are usual for a scope. `score_sigma_ppm` is None where too few hours are known.

    doubts: None where it isn't known what the model escalates by itself, as in hours of before that was counted.
    """

    answered: int
    allow: int
    block: int
    correlation: float  # correlation of the answers within an hour beyond chance; 0 when they are independent
    score_mean_ppm: float
    score_sigma_ppm: float | None  # standard deviation of hourly mean scores about the mean of their hour of day
    is_seasonal: bool
    block_level: float = 1.0  # times as much as usual was blocked in the last clean hours; the cumulative sum heeds it
    stop_level: float = 1.0  # the same of what wasn't allowed
    doubts: Usual | None = None


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
    blocks = _correlation([(hour.counts.answered, hour.counts.block) for hour in recent])
    found = _baseline(total, blocks, hourly_score_sigma_ppm(hours), is_seasonal=True)
    return found._replace(doubts=_doubts_of(recent, days_minimum=days_minimum, sample_minimum=sample_minimum))


def _doubts_of(hours: Sequence[Hour], *, days_minimum: int, sample_minimum: int) -> Usual | None:
    """Return what is usual of the model's own escalations, by the hours that tell of them."""
    known = [(hour.counts.doubt_known, hour.counts.doubt) for hour in hours if hour.counts.doubt_known]
    if len(known) < days_minimum or sum(total for total, _ in known) < sample_minimum:
        return None
    return Usual(sum(doubt for _, doubt in known), sum(total for total, _ in known), _correlation(known), True)


def blended(first: Baseline, second: Baseline, weight: float) -> Baseline:
    """Return `first` with its shares and its mean moved towards those of `second` by `weight`, from 0 to 1."""

    def between(own: float, other: float) -> float:
        return own + (other - own) * weight

    doubts = first.doubts
    if doubts is not None and second.doubts is not None:
        beside = second.doubts.counted * doubts.answered / second.doubts.answered
        doubts = doubts._replace(counted=round(between(doubts.counted, beside)))
    return first._replace(
        doubts=doubts,
        allow=round(between(first.allow, second.allow * first.answered / second.answered)),
        block=round(between(first.block, second.block * first.answered / second.answered)),
        score_mean_ppm=between(first.score_mean_ppm, second.score_mean_ppm),
    )


def trailing_baseline(total: Counts, *, sample_minimum: int) -> Baseline | None:
    """Return a baseline of what came just before, for when there is too little history for a seasonal one."""
    if total.answered < sample_minimum:
        return None
    doubts = None
    if total.doubt_known >= sample_minimum:
        doubts = Usual(total.doubt, total.doubt_known, 0.0, is_seasonal=False)
    return _baseline(total, 0.0, None, is_seasonal=False)._replace(doubts=doubts)


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


def _baseline(total: Counts, correlation: float, sigma_ppm: float | None, *, is_seasonal: bool) -> Baseline:
    mean_ppm = score_mean_ppm(total)
    return Baseline(total.answered, total.allow, total.block, correlation, mean_ppm, sigma_ppm, is_seasonal)


def _correlation(hours: Sequence[tuple[int, int]]) -> float:
    """Return the intra-class correlation within an hour, by the moments of a beta-binomial (Williams, 1982).

    hours: the size of each, and how many of it were blocked, or doubted.
    """
    found = [(size, count) for size, count in hours if size]
    sizes = [size for size, _ in found]
    share = sum(count for _, count in found) / sum(sizes)
    if len(sizes) < 2 or share in (0.0, 1.0):
        return 0.0
    chi_square = sum((count - size * share) ** 2 / (size * share * (1 - share)) for size, count in found)
    excess = chi_square / (len(sizes) - 1) - 1
    return min(max(0.0, excess / max(fmean(sizes) - 1, 1.0)), 1.0)
