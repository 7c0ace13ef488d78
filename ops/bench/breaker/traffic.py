"""Simulated traffic of many lanes side by side: one lane is one scope over one stretch of time.

Rates and shares of blocks follow a rhythm of days and weeks. They vary more than chance by the minute, the hour and the
day. There are holidays, growth, campaigns of customers and of fraudsters, and bursts of single accounts, of which the
breaker counts as many payments as the policy lets one account weigh.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_S: Final = 30
STEPS_AN_HOUR: Final = 3600 // STEP_S
STEPS_A_DAY: Final = 24 * STEPS_AN_HOUR
HANDBOOK_SPREAD_S: Final = 20_000
"""Standard deviation of a payment's second of the day, about noon, in the Handbook's stream."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Steps(NamedTuple):
    """Counts by step and lane, each (steps, lanes)."""

    total: Integers
    block: Integers
    escalate: Integers
    errors: Integers
    slow: Integers
    score_sum_ppm: Integers
    score_square_sum_ppm: Integers
    doubt: Integers  # what the model escalates by itself

    @property
    def allow(self) -> Integers:
        return self.total - self.block - self.escalate


class World(NamedTuple):
    """How much what is blocked varies beside chance, the rhythm of the day and the minutes."""

    weekend: float  # times as usual
    holiday: float
    day_sigma: float  # of the days, as logarithms
    hour_sigma: float  # of each hour's step in a walk that falls back by a fifth
    custom: float  # times as usual while customers buy more
    wave: float  # times as usual while fraudsters try


MILD: Final = World(1.08, 1.1, 0.02, 0.015, 0.92, 1.2)
"""Days stray by 2 % and hours by 2.5 %. A wave of fraud raises blocks by a fifth; one that raises them by more than
half trips, because it can't be told from a model that went wrong."""
HARSH: Final = World(1.15, 1.2, 0.04, 0.036, 0.85, 1.35)
"""Days stray by 4 % and hours by 6 %; weekends, holidays and waves weigh about twice as much."""


class Profile(NamedTuple):
    """The lanes' traffic. rate: payments a second at the peak; share: of blocks, of which the mean is about 1."""

    peak_rate: Floats
    base_share: Floats
    is_flat: bool = False  # the rate stays at its peak all day
    is_handbook: bool = False
    account_max: int = 2
    world: World = MILD


DOUBT_PER_BLOCK: Final = 0.8
"""Usual share of what the model escalates by itself, as a part of that of blocks, in the same rhythm and waves."""


class Fault(NamedTuple):
    """A model gone wrong for some seconds: blocks times `factor`, and `added` of what it would not have blocked.

    doubt_factor, doubt_added: the same of what it escalates by itself.
    """

    from_s: Floats  # one for each lane
    factor: float = 1.0
    added: float = 0.0
    until_s: Floats | float = np.inf
    doubt_factor: float = 1.0
    doubt_added: float = 0.0


class Traffic:
    """A day at a time, in order."""

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile, self._random = profile, np.random.default_rng(seed)
        self._doubts = np.random.default_rng([seed, 1])  # of its own, so that the others are drawn as without it
        self._lanes = len(profile.peak_rate)
        self._day = self._random.integers(0, 365, self._lanes)
        self._drifted = np.zeros(self._lanes)  # of the hour, as a logarithm

    def day(self, fault: Fault | None = None, steps: int = STEPS_A_DAY, from_step: int = 0) -> Steps:
        """Return the next day's steps, or its first ones. from_step: of the day, for each lane alike."""
        seconds = ((from_step + np.arange(steps)) * STEP_S)[:, None]
        rate, share = self._usual(seconds, steps)
        total = self._random.poisson(rate * STEP_S)
        usual = np.minimum(share, 0.9)
        wrong = usual if fault is None else _wrong(usual, seconds, fault, fault.factor, fault.added)
        block = self._random.binomial(total, wrong)
        doubtful = usual * DOUBT_PER_BLOCK
        if fault is not None:
            doubtful = _wrong(doubtful, seconds, fault, fault.doubt_factor, fault.doubt_added)
        doubt = self._doubts.binomial(total - block, doubtful)
        total, block, doubt = self._with_bursts(total, block, doubt, steps)
        escalate = self._random.binomial(total - block, 0.03)
        errors, slow = self._random.binomial(total, 0.0002), self._random.binomial(total, 0.001)
        scores = self._scores(total, wrong)
        self._day = self._day + 1
        squares = (total * 0.0104 * 1_000_000).astype(np.int64)
        return Steps(total, block, escalate, errors, slow, scores, squares, doubt)

    def _usual(self, seconds: Integers, steps: int) -> tuple[Floats, Floats]:
        profile, day, random, world = self._profile, self._day, self._random, self._profile.world
        hours = seconds / 3600 % 24
        daily = 0.55 - 0.45 * np.cos((hours - 3) * np.pi / 12)
        if profile.is_handbook:
            daily = np.exp(-0.5 * ((hours * 3600 - 43_200) / HANDBOOK_SPREAD_S) ** 2)
        if profile.is_flat:
            daily = np.ones_like(daily)
        is_weekend, is_holiday = day % 7 >= 5, day % 365 % 37 == 36
        volume = (1 + 0.2 * day / 365) / 1.2 * np.where(is_weekend, 0.75, 1.0) * np.where(is_holiday, 0.5, 1.0)
        mix = np.where(is_weekend, world.weekend, 1.0) * np.where(is_holiday, world.holiday, 1.0)
        mix = mix * random.lognormal(0, world.day_sigma, self._lanes)
        rhythm = 1 + 0.388 * np.cos((hours - 2) * np.pi / 12)
        busy, fraud = self._campaigns(steps, random)
        minutes = random.gamma(100, 0.01, (steps // 2 + 1, self._lanes)).repeat(2, axis=0)[:steps]
        rate = profile.peak_rate * daily * (1.0 if profile.is_flat else volume * np.where(busy, 1.6, 1.0))
        share = profile.base_share * rhythm * mix * minutes * self._hourly(steps)
        return rate, share * np.where(busy, world.custom, 1.0) * np.where(fraud, world.wave, 1.0)

    def _hourly(self, steps: int) -> Floats:
        """Return what the hours stray by: a slow walk about 1."""
        blocks = []
        for _ in range(steps // STEPS_AN_HOUR + 1):
            self._drifted = 0.8 * self._drifted + self._random.normal(0, self._profile.world.hour_sigma, self._lanes)
            blocks.append(np.exp(self._drifted))
        return np.repeat(np.array(blocks), STEPS_AN_HOUR, axis=0)[:steps]

    def _campaigns(self, steps: int, random: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return when customers buy more than usual and when fraudsters try, about once a month each, for hours."""
        at = np.arange(steps)[:, None]
        found = []
        for hours_max in (12, 6):
            begins = random.integers(0, STEPS_A_DAY, self._lanes)
            lasts = random.integers(STEPS_AN_HOUR, hours_max * STEPS_AN_HOUR, self._lanes)
            comes = random.random(self._lanes) < 1 / 30
            found.append(comes & (at >= begins) & (at < begins + lasts))
        return found[0], found[1]

    def _with_bursts(
        self, total: Integers, block: Integers, doubt: Integers, steps: int
    ) -> tuple[Integers, Integers, Integers]:
        """Add bursts of single accounts that the model blocks, four a day, by what an account may weigh.

        As many accounts have it escalate as much; those payments are among the others.
        """
        comes = self._random.random((steps, self._lanes)) < 4 / STEPS_A_DAY
        added = comes * self._profile.account_max
        doubted = (self._doubts.random((steps, self._lanes)) < 4 / STEPS_A_DAY) * self._profile.account_max
        return total + added, block + added, np.minimum(doubt + doubted, total - block)

    def _scores(self, total: Integers, share: Floats) -> Integers:
        mean_ppm = 20_000 * share / 0.0245
        noise = self._random.normal(0, 1, total.shape) * np.sqrt(total) * 100_000
        return np.maximum(total * mean_ppm + noise, 0).astype(np.int64)


def _wrong(usual: Floats, seconds: Integers, fault: Fault, factor: float, added: float) -> Floats:
    """Return the shares with the fault; a step in which it begins has a part of it."""
    begun = np.clip((seconds + STEP_S - fault.from_s) / STEP_S, 0.0, 1.0)
    part = begun - np.clip((seconds + STEP_S - fault.until_s) / STEP_S, 0.0, 1.0)
    wrong = np.minimum(usual * factor, 0.95)
    wrong = wrong + added * (1 - wrong)
    return usual + (wrong - usual) * part
