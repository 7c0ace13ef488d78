"""Simulated traffic by the minute, as counts of segments: the rates of a bank at 50 payments a second.

Nothing here is even. Traffic follows the hour and the weekday, the share blocked the hour and waves of some hours that
meet everybody. Segments differ honestly in how often they are blocked, and stray from that for hours at a time, each on
its own. A part of the events comes in pairs, as one account's do. Counts are of payments that count (`AccountWeights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.bias.counting import COLUMNS, Column, Counted

MINUTES_A_DAY: Final = 1440
BLOCKED: Final = 0.02
ESCALATED: Final = 0.01
HONEST_PART: Final = 0.3
"""Of what is stopped; a person's review or a label says so."""
PAIRED_PART: Final = 0.3
"""Of the events that come two at once, of one account."""
POSTCODES: Final = 121
AGE_BANDS: Final = 5
CHANNELS: Final = 5
STRAY_SIGMA: Final = 0.06
STRAY_MOST: Final = 0.1
"""By which a segment's rates stray from its own usual for hours, as a logarithm: some 6 %, a tenth at most. So no
segment fares worse than the rest by the fifth that the policy lets pass, and an alert in such a year is false."""
STRAY_HOURS: Final = 6
WAVE_SIGMA: Final = 0.25
SUSPECT: Final = 0
"""The postcode that goes wrong; it has 2 % of the traffic."""
SUSPECT_SHARE: Final = 0.02

Numbers = NDArray[np.float64]


class Wrong(NamedTuple):
    """What is wrong in a minute: the share of the suspect's honest payments that is blocked on top of the usual."""

    suspect_extra: float = 0.0


class Simulated:
    """Minutes of traffic, one after the other, from one seed."""

    def __init__(self, seed: int, rate_per_s: float = 50.0, honest_sigma: float = 0.3) -> None:
        """honest_sigma: by which segments differ in how often they are stopped, with reason."""
        self._random = np.random.default_rng(seed)
        self._rate = rate_per_s
        self._groups = [
            _Group(self._random, CHANNELS, None, honest_sigma),
            _Group(self._random, AGE_BANDS, None, honest_sigma),
            _Group(self._random, POSTCODES, SUSPECT_SHARE, honest_sigma),
        ]
        self._wave = 0.0
        self._minute = 0

    @property
    def scopes(self) -> tuple[str, ...]:
        names = ("channel:{}", "segment:age_band={}", "segment:postcode_area={}")
        sizes = (CHANNELS, AGE_BANDS, POSTCODES)
        return tuple(name.format(place) for name, size in zip(names, sizes, strict=True) for place in range(size))

    def differ(self, postcode: int, ratio: float) -> str:
        """Let a postcode be stopped so many times as often as others, with reason; return its scope."""
        self._groups[2].usual[postcode] = ratio
        return f"segment:postcode_area={postcode}"

    @property
    def suspect(self) -> str:
        return f"segment:postcode_area={SUSPECT}"

    def minute(self, wrong: Wrong = Wrong()) -> Counted:  # noqa: B008 - immutable
        """Return the next minute's counts, the total first."""
        if self._minute % 60 == 0:
            self._wave = _stray(self._random, self._wave, WAVE_SIGMA)
            for group in self._groups:
                group.stray(self._random)
        day, of_day = divmod(self._minute, MINUTES_A_DAY)
        self._minute += 1
        rhythm = 1 - 0.75 * np.cos(2 * np.pi * (of_day - 240) / MINUTES_A_DAY)
        weekday = 0.75 if day % 7 >= 5 else 1.1
        payments = int(self._random.poisson(self._rate * 60 * rhythm * weekday))
        level = (1 + 0.3 * np.sin(2 * np.pi * of_day / MINUTES_A_DAY)) * np.exp(self._wave)
        # Every attribute divides the same events, so that the rest of a segment is what really is left.
        events = [self._events(payments, rate * level) for rate in (BLOCKED, ESCALATED)]
        false_stops = int(self._random.binomial(sum(single + 2 * pairs for single, pairs in events), HONEST_PART))
        parts = [group.split(self._random, payments, events, false_stops) for group in self._groups]
        counts = np.zeros((1 + CHANNELS + AGE_BANDS + POSTCODES, COLUMNS), np.int64)
        counts[1:] = np.concatenate(parts)
        if wrong.suspect_extra:
            self._go_wrong(counts, wrong.suspect_extra)
        counts[0] = counts[1 : 1 + CHANNELS].sum(axis=0)
        # A small segment has fewer payments than events in some minute where both are drawn apart.
        counts[:, Column.PAYMENTS] = np.maximum(counts[:, Column.PAYMENTS], counts[:, 1:3].sum(axis=1))
        return counts

    def _events(self, payments: int, rate: float) -> tuple[int, int]:
        """How many come alone, and how many pairs."""
        events = int(self._random.binomial(payments, min(rate, 1.0)))
        pairs = int(self._random.binomial(events, PAIRED_PART)) // 2
        return events - 2 * pairs, pairs

    def _go_wrong(self, counts: Counted, share: float) -> None:
        """Block more of the suspect's payments; the other groups have these, too, by their sizes."""
        row = 1 + CHANNELS + AGE_BANDS + SUSPECT
        allowed = counts[row, Column.PAYMENTS] - counts[row, Column.BLOCKED] - counts[row, Column.ESCALATED]
        more = int(self._random.binomial(max(int(allowed), 0), share))
        counts[row, Column.BLOCKED] += more
        for group, first in ((self._groups[0], 1), (self._groups[1], 1 + CHANNELS)):
            counts[first : first + len(group.shares), Column.BLOCKED] += self._random.multinomial(more, group.shares)


class _Group:
    """The values of one attribute. Every payment has one of them."""

    def __init__(self, random: np.random.Generator, size: int, first_share: float | None, sigma: float) -> None:
        shares = random.lognormal(0, 0.8, size)
        if first_share is not None:
            shares[0] = shares[1:].sum() * first_share / (1 - first_share)
        self.shares: Numbers = shares / shares.sum()
        self.usual = random.lognormal(0, sigma, size)
        self.usual[0] = 1.0 if first_share is not None else self.usual[0]
        self._strays = np.zeros(size)

    def stray(self, random: np.random.Generator) -> None:
        keep = 1 - 1 / STRAY_HOURS
        self._strays = keep * self._strays + STRAY_SIGMA * np.sqrt(1 - keep**2) * random.normal(size=len(self.shares))

    def split(
        self, random: np.random.Generator, payments: int, events: Sequence[tuple[int, int]], false_stops: int
    ) -> Counted:
        counts = np.zeros((len(self.shares), COLUMNS), np.int64)
        counts[:, Column.PAYMENTS] = random.multinomial(payments, self.shares)
        weights = self.shares * self.usual * np.exp(np.clip(self._strays, -STRAY_MOST, STRAY_MOST))
        weights /= weights.sum()
        for column, (single, pairs) in zip((Column.BLOCKED, Column.ESCALATED), events, strict=True):
            counts[:, column] = random.multinomial(single, weights) + 2 * random.multinomial(pairs, weights)
        # Where a segment is stopped more with reason, its false stops don't grow with it.
        counts[:, Column.FALSE_STOPS] = random.multinomial(false_stops, self.shares)
        return counts


def _stray(random: np.random.Generator, before: float, sigma: float) -> float:
    keep = 1 - 1 / STRAY_HOURS
    return float(keep * before + sigma * np.sqrt(1 - keep**2) * random.normal())
