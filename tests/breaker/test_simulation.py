"""A seeded month of traffic through the pure breaker: what must not trip doesn't, what must does, in minutes.

5 to 50 payments/s in a daily cycle, 1.5 to 3.4 % of them blocked in another, more varied than chance (a gamma of 10 %
a minute), and scores to match.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.breaker import BreakerRecord, History, ScopeReading, Watch, advance, hours_touched
from pipeline.breaker.answer_counts import Counts, difference
from pipeline.domain.decision import BreakerState
from tests.breaker.given import DEFAULTS, START_MS, record

STEP_S = DEFAULTS.evaluation_interval_s
STEPS_AN_HOUR, STEPS_A_DAY = 3600 // STEP_S, 86_400 // STEP_S
WINDOW_STEPS, ERROR_STEPS = DEFAULTS.window_s // STEP_S, DEFAULTS.error_window_s // STEP_S
SCOPE = "model:m1"


def traffic(
    steps: int, seed: int, from_step: int = 0, block_factor: float = 1.0, score_factor: float = 1.0, peak: int = 50
) -> list[Counts]:
    """Return the counts of each step. Blocked payments raise the mean score too, as far as `score_factor` says."""
    random = np.random.default_rng(seed)
    hour = (from_step + np.arange(steps)) / STEPS_AN_HOUR % 24
    rate = peak * (0.55 - 0.45 * np.cos((hour - 3) * np.pi / 12))
    share = 0.0245 + 0.0095 * np.cos((hour - 2) * np.pi / 12)
    minutes = random.gamma(100, 0.01, steps // (60 // STEP_S) + 1).repeat(60 // STEP_S)[:steps]
    total = random.poisson(rate * STEP_S)
    block = random.binomial(total, np.minimum(share * minutes * block_factor, 1))
    escalate = random.binomial(total - block, 0.03)
    mean_ppm = 20_000 * (share / 0.0245) * score_factor
    score = np.maximum(total * mean_ppm + random.normal(0, 1, steps) * np.sqrt(total) * 100_000, 0).astype(int)
    return [
        Counts(int(n - b - e), int(b), int(e), 0, int(s), int(n * 0.0104 * 1_000_000))
        for n, b, e, s in zip(total, block, escalate, score, strict=True)
    ]


class Sighting(NamedTuple):
    step: int
    after: BreakerRecord


class Simulation:
    def __init__(self) -> None:
        self.history, self.record, self.watch = History(), record(), Watch()
        self.totals = [Counts()]
        self.excluded: set[tuple[str, int]] = set()
        self.history.add(START_MS, {SCOPE: Counts()})

    def feed(self, steps: list[Counts]) -> None:
        """Add to the history alone; nothing is judged."""
        for counts in steps:
            self._count(counts)

    def run(self, steps: list[Counts], stop_at_trip: bool = False) -> list[Sighting]:
        seen = []
        for counts in steps:
            now_ms = self._count(counts)
            advanced = advance(self.record, self.watch, self._reading(now_ms), now_ms, DEFAULTS)
            self.watch = advanced.watch
            if self.record.state is not BreakerState.CLOSED:
                self._exclude(now_ms, now_ms)
            if advanced.transition is not None:
                self.record = advanced.transition.after
                seen.append(Sighting(len(self.totals) - 1, self.record))
                self._exclude(now_ms - DEFAULTS.window_s * 1000, now_ms)
                if stop_at_trip:
                    break
        return seen

    def _count(self, counts: Counts) -> int:
        self.totals.append(self.totals[-1].plus(counts))
        step = len(self.totals) - 1
        now_ms = START_MS + step * STEP_S * 1000
        if step % STEPS_AN_HOUR == 0:
            self.history.add(now_ms, {SCOPE: self.totals[-1]})
        return now_ms

    def _reading(self, now_ms: int) -> ScopeReading:
        now, before = self.totals[-1], self.totals[-1 - WINDOW_STEPS]
        return ScopeReading(
            difference(now, before),
            difference(now, self.totals[-1 - ERROR_STEPS]),
            difference(now, self.totals[-2]),
            self.history.seasonal(SCOPE, now_ms, DEFAULTS),
            None,
            None,
            probes=self._probes(difference(now, self.totals[-2])),
        )

    def _probes(self, span: Counts) -> Counts:
        """Return what the model answers of a span at the present share."""
        share = self.record.share_percent / 100
        allow, block, escalate = (round(count * share) for count in span[:3])
        return Counts(allow, block, escalate)

    def _exclude(self, from_ms: int, to_ms: int) -> None:
        self.excluded.update(hours_touched(SCOPE, from_ms, to_ms))
        self.history.exclude(frozenset(self.excluded))


@pytest.fixture(scope="module")
def week() -> list[Counts]:
    return traffic(7 * STEPS_A_DAY, seed=1)


@pytest.mark.parametrize("peak", [50, 5])
def test_nothing_trips_in_30_ordinary_days(peak):
    simulation = Simulation()
    simulation.feed(traffic(7 * STEPS_A_DAY, seed=1, peak=peak))
    assert simulation.run(traffic(30 * STEPS_A_DAY, seed=2, peak=peak)) == []


def minutes_to_trip(week: list[Counts], trials: int, **shift: float) -> list[float]:
    """Measure how long a shift takes to trip, at `trials` moments spread over the eighth day, an hour at most each."""
    minutes = []
    for trial in range(trials):
        simulation = Simulation()
        offset = trial * STEPS_A_DAY // trials
        simulation.feed(week + traffic(offset, seed=100 + trial, from_step=0))
        begun = len(simulation.totals) - 1
        seen = simulation.run(traffic(STEPS_AN_HOUR, seed=200 + trial, from_step=offset, **shift), stop_at_trip=True)
        minutes.append((seen[0].step - begun) * STEP_S / 60 if seen else 60.0)
    return minutes


def test_block_rate_times_3_trips_within_5_minutes(week):
    minutes = minutes_to_trip(week, 9, block_factor=3.0)
    assert (median(minutes) <= 5, max(minutes) <= 10) == (True, True), minutes


def test_block_rate_times_2_trips_within_minutes(week):
    minutes = minutes_to_trip(week, 9, block_factor=2.0)
    assert (median(minutes) <= 5, max(minutes) <= 20) == (True, True), minutes


def test_doubled_scores_trip_as_drift(week):
    minutes = minutes_to_trip(week, 9, score_factor=2.0)
    assert (median(minutes) <= 5, max(minutes) <= 20) == (True, True), minutes


def test_trips_while_the_model_is_wrong_and_recovers_when_it_is_right(week):
    simulation = Simulation()
    simulation.feed(week)
    wrong = traffic(2 * STEPS_AN_HOUR, seed=3, block_factor=12.0)
    states = [sighting.after.state for sighting in simulation.run(wrong)]
    assert states[0] is BreakerState.OPEN
    assert set(states) == {BreakerState.OPEN}  # its shadow is wrong: it is never put on probation
    right = simulation.run(traffic(3 * STEPS_AN_HOUR, seed=4, from_step=2 * STEPS_AN_HOUR))
    assert [sighting.after.state for sighting in right] == [*[BreakerState.HALF_OPEN] * 3, BreakerState.CLOSED]
    next_days = traffic(3 * STEPS_A_DAY, seed=5, from_step=5 * STEPS_AN_HOUR)
    assert simulation.run(next_days) == []  # the incident is not in the baseline
