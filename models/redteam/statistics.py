"""The statistics of trials: intervals for a share, and exact one-sided tests of pairs."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final, NamedTuple

PPM: Final = 1_000_000
_Z: Final = 1.959964


class Share(NamedTuple):
    """A share in millionths, with Wilson's interval of 95 %."""

    ppm: int
    low_ppm: int
    high_ppm: int


def wilson(hits: int, trials: int) -> Share:
    """E. B. Wilson, Probable inference, 1927. Of no trials nothing is known: 0 to 1."""
    if trials == 0:
        return Share(0, 0, PPM)
    share, square = hits / trials, _Z * _Z
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return Share(round(share * PPM), round(low * PPM) if hits else 0, round(high * PPM) if hits < trials else PPM)


def sign_test_ppm(rises: int, falls: int) -> int:
    """Return the chance, in millionths and rounded up, of so many rises or more were rises and falls as likely.

    Exact: the upper tail of a binomial of one half. Pairs that are equal say nothing and are left out.
    """
    pairs = rises + falls
    tail = Fraction(sum(math.comb(pairs, count) for count in range(rises, pairs + 1)), 2**pairs)
    return math.ceil(tail * PPM)
