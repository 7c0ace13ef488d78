"""Evidence that one part of the traffic has an event more often than the rest, at every look at once.

Invariants
1. However often somebody looks, in however many segments, and however the rate of all traffic moves, a year without a
   gap has a false alert with the chance that the policy says, at most.
2. One minute adds at most a third of what an alert needs, so a burst is never a gap.

In one minute `own` payments of a segment have `own_events`, `rest` others have `rest_events`. The null is: the
segment's rate is at most `ratio` times the rest's. Let w be the segment's share of the events under the null at its
edge, w = own·ratio / (own·ratio + rest), and v > w the share under an alternative. Then

    e = (v/w)^own_events · ((1-v)/(1-w))^rest_events

has an expectation of at most 1 under the null, whatever the rates are: with 1 + x <= exp(x), it is at most
exp(rate·(own·ratio·(v/w - 1) + rest·((1-v)/(1-w) - 1))) = exp(0). So it is an e-value of a composite null that needs no
model of the rates' level: their rhythm over the day and the week, holidays and campaigns cancel. The product over
minutes is a test martingale, and reaches 1/alpha with a chance of at most alpha, ever (Ville). Ratios of likelihoods as
evidence under continuous looking: Robbins 1970; Shafer 2021; Ramdas, Grünwald, Vovk & Shafer 2023.

A gap may begin at any minute. A product is therefore begun at every minute, and the greatest of all that are open is a
cumulative sum that is never below 0. The alpha of a year is split evenly over every minute at which one begins, every
segment, measure and alternative (Bonferroni): segments overlap (an age band and a postcode share customers) and
measures are made of one another, so no correction that takes independence for granted would hold; and since evidence
is a logarithm, splitting over 10^9 costs 21 nats, a minute or two of a gap that matters.
"""

from __future__ import annotations

import math
from typing import Final

MINUTES_A_YEAR: Final = 366 * 24 * 60
STEPS: Final = (1.3, 2.5, 8.0)
"""Alternatives, as multiples of the null's ratio: a slow gap, a plain one and a gross one, each with its own sum."""
DISPERSION: Final = 1.5
"""Evidence is raised to the power 1/1.5: payments of one account, and of one wave, resemble each other. An e-value
raised to a power below 1 is one still (Jensen)."""
PARTS: Final = 3
"""Least number of minutes that an alert takes."""


def alert_nats(year_risk_percent: int, segments: int, measures: int) -> float:
    """Return the evidence that an alert needs, in nats, where so many segments are judged on so many measures."""
    tries = max(segments, 1) * measures * len(STEPS) * MINUTES_A_YEAR
    return math.log(tries * 100 / year_risk_percent)


def minute_nats(own: int, own_events: int, rest: int, rest_events: int, ratio: float, step: float) -> float:
    """Return the log of one minute's e-value, tempered, against the null that the ratio of rates is at most `ratio`."""
    if own == 0 or rest == 0:
        return 0.0  # nothing to compare
    as_usual, sought = own * ratio, own * ratio * step
    toward = step * (as_usual + rest) / (sought + rest)  # v/w
    against = (as_usual + rest) / (sought + rest)  # (1-v)/(1-w)
    return (own_events * math.log(toward) + rest_events * math.log(against)) / DISPERSION


def cumulated(sums: tuple[float, ...], added: tuple[float, ...], needed: float) -> tuple[float, ...]:
    """Return the sums after a minute; each adds no more than its part of what is needed, and none falls below 0."""
    most = needed / PARTS
    return tuple([max(0.0, sum_ + min(more, most)) for sum_, more in zip(sums, added, strict=True)])


def over_nats(own: int, own_events: int, rest: int, rest_events: int, ratio: float, usual: float) -> float:
    """Return the log-likelihood ratio that a segment is as usual again, against that it is at the null's edge."""
    if own == 0 or rest == 0 or usual >= ratio:
        return 0.0
    return minute_nats(own, own_events, rest, rest_events, ratio, usual / ratio)
