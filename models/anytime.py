"""Intervals that hold at every time at once, however often somebody looks and whenever they stop.

An ordinary 95 % interval is wrong more often than 1 time in 20 where people look at it daily and stop when they like
what they see. These are confidence sequences: with probability 1 - alpha, the truth is inside all of them, at every n.
They depend on sums alone, so that a database can count and any reader can compute them again. Each observation must be
of the same mean given those before it (for a drifting mean they cover the mean over what was seen).

Sources: a rate by the mixture of Bernoulli likelihood ratios (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021, section 3); a mean
of bounded values by the empirical-Bernstein process of the same paper (theorem 4, whose supermartingale rests on Fan,
Grama & Liu 2015, lemma 4.1) and of Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86(1), 2024 (theorem 2), here with a fixed anchor in place of the predicted mean, which leaves it valid and a
function of the sums, and mixed over a fixed grid of bets.

Invariants
1. With no observation the interval is all that is possible.
2. Ends are rounded outwards, and never leave what is possible.
3. At most a share alpha of all sequences of observations ever leave the interval (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

PPM: Final = 1_000_000
_PRIOR: Final = 0.5
"""Both parameters of the mixing Beta distribution (Jeffreys'): narrow where rates are near 0, as rates of fraud are."""
_HALVINGS: Final = 40
"""Steps of a bisection: 2^-40 of its range, 1e-12, is below what an end is moved outwards by."""
_BETS: Final = tuple(0.9 * 0.75**step for step in range(40))
"""The grid of bets, from 0.9 to 1.2e-5: the best bet for n observations lies near 1/sqrt(n), so it serves to 10^9."""
_PRICES: Final = tuple(-math.log1p(-bet) - bet for bet in _BETS)
"""Each bet's price a unit of variation."""
_ROUNDING: Final = 1e-9
"""Part of a range that an end is moved outwards by, for what floats lose in a bisection."""


def rate_interval(successes: int, trials: int, alpha: float) -> tuple[int, int]:
    """Return an interval for the rate of successes, in ppm.

    It holds the rate at every number of trials at once, with probability 1 - alpha.
    """
    assert 0 <= successes <= trials, "Successes are among the trials."
    assert 0 < alpha < 1, "alpha is a probability."
    if trials == 0:
        return 0, PPM
    failures = trials - successes
    mixed = _log_beta(successes + _PRIOR, failures + _PRIOR) - _log_beta(_PRIOR, _PRIOR)
    limit = mixed + math.log(alpha)  # a rate whose log likelihood is at or below it is refuted
    observed = successes / trials

    def is_refuted(rate: float) -> bool:
        return _times_log(successes, rate) + _times_log(failures, 1 - rate) <= limit

    low = _edge(is_refuted, refuted=0.0, kept=observed) if successes else 0.0
    high = _edge(is_refuted, refuted=1.0, kept=observed) if failures else 1.0
    return max(0, math.floor((low - _ROUNDING) * PPM)), min(PPM, math.ceil((high + _ROUNDING) * PPM))


def mean_interval(
    total: float, total_of_squares: float, n: int, low: float, high: float, alpha: float
) -> tuple[float, float]:
    """Return an interval for the mean of values in [low, high], at every n at once, with probability 1 - alpha.

    It is narrow where the values are mostly near 0 (or near `low`, where 0 is no possible value): differences of pairs
    that mostly agree.
    """
    assert low < high, "Values have a range."
    assert 0 < alpha < 1, "alpha is a probability."
    if n == 0:
        return low, high
    spread = high - low
    anchor = 0.0 if low <= 0 <= high else low
    moved = (total - n * anchor) / spread  # the sum of (x - anchor) / spread, each in [-1, 1]
    variation = max(0.0, total_of_squares - 2 * anchor * total + n * anchor * anchor) / (spread * spread)
    slack = _ROUNDING * spread
    below = anchor + spread * _lower(moved, variation, n, alpha / 2) - slack
    above = anchor - spread * _lower(-moved, variation, n, alpha / 2) + slack
    return min(max(low, below), high), max(min(high, above), low)


def difference_interval(more: int, fewer: int, trials: int, alpha: float) -> tuple[int, int]:
    """Return an interval for the mean of paired differences, in ppm: `more` were 1, `fewer` were -1, others 0."""
    assert min(more, fewer) >= 0, "Counts are no less than 0."
    assert more + fewer <= trials, "A pair differs one way or not at all."
    low, high = mean_interval(more - fewer, more + fewer, trials, -1, 1, alpha)
    return max(-PPM, math.floor(low * PPM)), min(PPM, math.ceil(high * PPM))


def _lower(moved: float, variation: float, n: int, alpha: float) -> float:
    """The least mean in [-1, 1] that isn't refuted, of n values whose sum is `moved`, anchored at 0."""
    limit = -math.log(alpha)

    def is_refuted(mean: float) -> bool:
        return _log_wealth(moved - n * mean, variation) >= limit

    if not is_refuted(-1.0):
        return -1.0
    return _edge(is_refuted, refuted=-1.0, kept=max(-1.0, moved / n))  # at the mean itself no bet wins


def _log_wealth(excess: float, variation: float) -> float:
    """Return what bets on a higher mean won: the log of the mixture of exp(bet * excess - psi(bet) * variation)."""
    gains = [bet * excess - price * variation for bet, price in zip(_BETS, _PRICES, strict=True)]
    best = max(gains)
    return best + math.log(math.fsum(math.exp(gain - best) for gain in gains) / len(_BETS))


def _edge(is_refuted: Callable[[float], bool], *, refuted: float, kept: float) -> float:
    """The border between a value that is refuted and one that is kept, from the refuted side."""
    for _ in range(_HALVINGS):
        middle = (refuted + kept) / 2
        if is_refuted(middle):
            refuted = middle
        else:
            kept = middle
    return refuted


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def _times_log(count: int, chance: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(chance) if chance > 0 else -math.inf
