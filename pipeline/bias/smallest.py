"""The gap that a sample can show: interval of a ratio of rates, and the smallest ratio that would have been seen."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from models.anytime import PPM, rate_interval

RATIO_MAX: Final = 1_000_000.0
"""Stands for a ratio that nothing bounds."""
_HALVINGS: Final = 60


class Sample(NamedTuple):
    """A segment's payments and events, and those of the rest of the traffic."""

    own: int
    own_events: int
    rest: int
    rest_events: int


def ratio_interval(sample: Sample, alpha: float) -> tuple[float, float]:
    """Return where the segment's rate over the rest's lies, however often somebody looks, with probability 1 - alpha.

    Of all events, the share w that is the segment's says the ratio: w/(1-w) · rest/own.
    """
    if sample.own == 0 or sample.rest == 0:
        return 0.0, RATIO_MAX
    low, high = rate_interval(sample.own_events, sample.own_events + sample.rest_events, alpha)
    return _ratio_of(low, sample), _ratio_of(high, sample)


def _ratio_of(share_ppm: int, sample: Sample) -> float:
    if share_ppm >= PPM:
        return RATIO_MAX
    return min(RATIO_MAX, share_ppm / (PPM - share_ppm) * sample.rest / sample.own)


def smallest_ratio(sample: Sample, ratio: float, needed_nats: float) -> float:
    """Return the smallest true ratio that so many payments would have shown to be above `ratio`, on average.

    At a true ratio r the rest has its events, and the segment r times as many a payment; the expected evidence is the
    divergence of what is from what the null's edge says. RATIO_MAX where no ratio would be seen.
    """
    if sample.own == 0 or sample.rest == 0 or sample.rest_events == 0:
        return RATIO_MAX
    low, high = ratio, RATIO_MAX
    if _expected_nats(sample, ratio, high) < needed_nats:
        return RATIO_MAX
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _expected_nats(sample, ratio, middle) >= needed_nats else (middle, high)
    rate = sample.rest_events / sample.rest
    return high if high * rate <= 1 else RATIO_MAX


def _expected_nats(sample: Sample, ratio: float, true_ratio: float) -> float:
    own_events = true_ratio * sample.own * sample.rest_events / sample.rest
    total = own_events + sample.rest_events
    share, edge = own_events / total, sample.own * ratio / (sample.own * ratio + sample.rest)
    if share <= edge:
        return 0.0
    rest_part = (1 - share) * math.log((1 - share) / (1 - edge)) if share < 1 else 0.0
    return total * (share * math.log(share / edge) + rest_part)
