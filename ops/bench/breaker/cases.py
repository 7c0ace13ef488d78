"""Faults that were once found in the breaker, each as a case that must hold. They run the breaker's own code."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ops.bench.breaker.slow_broker import BATCHES, COMMIT_S, seconds_of_deciding
from pipeline.breaker import (
    SEGMENT_OTHER,
    BreakerRecord,
    BreakerSettings,
    Cause,
    History,
    Routing,
    ScopeReading,
    Transition,
    Watch,
    advance,
)
from pipeline.breaker.alerts import breaker_alert
from pipeline.breaker.answer_counts import ALL, Answer, Counts, counts_of, difference
from pipeline.breaker.detecting.account_weights import AccountWeights
from pipeline.breaker.settings import SEGMENTS_MAX, breaker_settings_of
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.io.settings import Settings

START_MS: Final = 1_800_000_000_000 - 1_800_000_000_000 % 86_400_000
STEP_S: Final = 30
NEW, OLD = "model:new", "model:old"


class Case(NamedTuple):
    holds: bool
    told: str


class World:
    """One version under real evaluations every STEP_S: running totals, history, watch and state."""

    def __init__(self, settings: BreakerSettings, version: str = NEW) -> None:
        self.settings, self.version, self.scopes = settings, version, (ALL, version)
        self.history, self.totals = History(), [dict.fromkeys((ALL, OLD, NEW), Counts())]
        self.record = BreakerRecord(version, BreakerState.CLOSED, 0, 0, 0, Cause("never tripped", "monitor"))
        self.watch = Watch()
        self.made: list[Transition] = []
        self.history.add(START_MS, self.totals[0])

    @property
    def now_ms(self) -> int:
        return START_MS + (len(self.totals) - 1) * STEP_S * 1000

    def count(self, counts: Counts, version: str) -> None:
        """Let a step pass in which `version` answers."""
        last = self.totals[-1]
        self.totals.append({**last, ALL: last[ALL].plus(counts), version: last[version].plus(counts)})
        if self.now_ms % 3_600_000 == 0:
            self.history.add(self.now_ms, self.totals[-1])

    def evaluate(self) -> Transition | None:
        advanced = advance(self.record, self.watch, self._reading(), self.now_ms, self.settings)
        self.watch = advanced.watch
        if advanced.transition is not None:
            self.record = advanced.transition.after
            self.made.append(advanced.transition)
        return advanced.transition

    def minutes_to_trip(self, steps: Sequence[Counts]) -> float | None:
        for place, counts in enumerate(steps):
            self.count(counts, self.version)
            if self.evaluate() is not None:
                return (place + 1) * STEP_S / 60
        return None

    def _reading(self) -> ScopeReading:
        settings, history, scope = self.settings, self.history, self.version
        now, none = self.totals[-1], Counts()
        window, errors = (self._before(seconds) for seconds in (settings.window_s, settings.error_window_s))
        before_ms = self.now_ms - settings.window_s * 1000
        seasonal = history.seasonal(scope, self.now_ms, settings)
        everywhere = history.seasonal(ALL, self.now_ms, settings)
        inherited = history.inherited(scope, self.now_ms, before_ms, window, settings)
        trailing = history.trailing(scope, self.now_ms, before_ms, window.get(scope, none), settings)
        return ScopeReading(
            difference(now[scope], window[scope]),
            difference(now[scope], errors[scope]),
            difference(now[scope], self._before(STEP_S)[scope]),
            seasonal,
            everywhere,
            trailing,
            inherited,
        )

    def _before(self, seconds: int) -> dict[str, Counts]:
        return self.totals[max(len(self.totals) - 1 - seconds // STEP_S, 0)]


def traffic(steps: int, per_s: float, share: float, seed: int = 1) -> list[Counts]:
    random = np.random.default_rng(seed)
    total = random.poisson(per_s * STEP_S, steps)
    block = random.binomial(total, share)
    return [
        Counts(int(n - b), int(b), 0, 0, int(n) * 20_000, int(n * 0.0104 * 1_000_000))
        for n, b in zip(total, block, strict=True)
    ]


def shipped() -> BreakerSettings:
    return breaker_settings_of(Settings.model_construct().policy_path.read_bytes())


def one_account() -> Case:
    """Finding 1: one account at 2 payments a second amid 10 a second tripped the model for everybody."""
    settings = shipped()
    trips = {}
    for most in (settings.account_window_max, 100):
        world = World(replace(settings, account_window_max=most) if most < 100 else settings)
        for counts in traffic(24 * 120, 10, 0.02):
            world.count(counts, NEW)
        window_ms = (settings.window_s + settings.evaluation_interval_s) * 1000
        weights, random = AccountWeights(secrets.token_bytes(16)), np.random.default_rng(2)
        steps = []
        for step in range(2 * 120):
            answers = [
                Answer(Outcome.BLOCK if random.random() < 0.02 else Outcome.ALLOW, 20_000, {}, None, f"{step}-{number}")
                for number in range(10 * STEP_S)
            ]
            answers += [Answer(Outcome.BLOCK, 900_000, {}, None, "the one")] * (2 * STEP_S)
            counted = weights.counted(answers, most, window_ms, world.now_ms + step * STEP_S * 1000)
            counted = counted if most < 100 else answers
            steps.append(counts_of(counted, 5, len(answers), "new", settings.declares)[NEW])
        trips[most] = world.minutes_to_trip(steps)
    weighed, unweighed = trips[settings.account_window_max], trips[100]
    told = f"weighed: {_told(weighed)}; with all of its payments counted: {_told(unweighed)}"
    return Case(weighed is None and unweighed is not None, told)


def made_up_segments() -> Case:
    """Finding 2: 32 payments with made-up segments filled the 256 places for ever."""
    settings = shipped()
    real = {"postcode_area": "SW"}
    batch = [Answer(Outcome.ALLOW, 1, {f"s{part}": f"{number}" for part in range(8)}) for number in range(1_000)]
    counts = counts_of([*batch, Answer(Outcome.BLOCK, 1, real)], 5, 1_001, "new", settings.declares)
    scopes = {scope for scope in counts if scope.startswith("segment:")}
    holds = scopes == {SEGMENT_OTHER, "segment:postcode_area=SW"} and counts["segment:postcode_area=SW"].block == 1
    return Case(holds, f"8,000 made-up values make {len(scopes) - 1} scope, of at most {SEGMENTS_MAX} declared ones")


def new_version() -> Case:
    """Finding 3: with less than three days of history a new version was its own yardstick."""
    minutes = {}
    for days in (1, 2, 4):
        world = World(shipped())
        for counts in traffic(days * 2880, 10, 0.02):
            world.count(counts, OLD)
        minutes[days] = world.minutes_to_trip(traffic(240, 10, 0.30, seed=3))
    holds = all(found is not None and found <= 5 for found in minutes.values())
    return Case(holds, "; ".join(f"{days} days of history: {_told(found)}" for days, found in minutes.items()))


def salted_sample() -> Case:
    """Finding 4: the sample on probation was an unsalted hash of the id, so 14 tries found one that passes."""
    share, tries = 1, 20_000
    at: dict[str, set[int]] = {}
    for who, salt in (("known", ""), ("real", secrets.token_hex(16))):
        record = BreakerRecord(
            NEW, BreakerState.HALF_OPEN, START_MS, START_MS, 0, Cause("", "monitor"), share_percent=share, salt=salt
        )
        closed = BreakerRecord(ALL, BreakerState.CLOSED, 0, 0, 0, Cause("", "monitor"))
        routing = Routing({ALL: closed, NEW: record}, "new")
        at[who] = {number for number in range(tries) if routing.route_of(f"t{number}", {}).use_model}
    chosen = at["known"]  # by all that can be known from outside: scope, version, moment, and the code
    passed = len(chosen & at["real"]) / len(chosen)
    return Case(
        passed < 5 * share / 100, f"of {len(chosen)} ids chosen beforehand {100 * passed:.1f} % pass at {share} %"
    )


def payments_of_nothing() -> Case:
    """Finding 5: without a seasonal baseline as many payments of nothing hid a model that blocks 25 %."""
    settings = shipped()
    world = World(settings)
    for counts in traffic(2880, 10, 0.02):
        world.count(counts, OLD)
    weights, random, steps = AccountWeights(secrets.token_bytes(16)), np.random.default_rng(4), []
    for step in range(240):
        answers = [
            Answer(Outcome.BLOCK if random.random() < 0.25 else Outcome.ALLOW, 1, {}, None, f"{step}-{number}")
            for number in range(10 * STEP_S)
        ]
        answers += [
            Answer(Outcome.ALLOW, 1, {}, None, f"nothing-{step}-{number}", is_of_nothing=True)
            for number in range(10 * STEP_S)
        ]
        counted = weights.counted(answers, settings.account_window_max, 330_000, step * STEP_S * 1000)
        steps.append(counts_of(counted, 5, len(answers), "new", settings.declares)[NEW])
    minutes = world.minutes_to_trip(steps)
    return Case(minutes is not None and minutes <= 5, f"beside as many payments of nothing: {_told(minutes)}")


def slow_broker() -> Case:
    """Finding 6: latency held Kafka's commit, so a slow broker took the model out, which makes no broker quicker."""
    limit_s = shipped().latency_p99_ms / 1000
    seconds = asyncio.run(seconds_of_deciding())
    holds = len(seconds) == BATCHES and 0 < min(seconds) <= max(seconds) < limit_s < COMMIT_S
    return Case(holds, f"commits take {COMMIT_S:.1f} s, deciding at most {1_000_000 * max(seconds):.0f} µs")


def failing_model() -> Case:
    """Finding 7: payments that the model was asked about in vain were no errors."""
    minutes = World(shipped()).minutes_to_trip([counts._replace(errors=counts.allow) for counts in traffic(20, 10, 0)])
    return Case(minutes is not None and minutes <= 2, f"a model that fails half of its payments: {_told(minutes)}")


def named_conditions() -> Case:
    """Finding 8: a trip named no condition in a form that can be counted."""
    world = World(shipped())
    world.minutes_to_trip([counts._replace(errors=counts.allow) for counts in traffic(20, 10, 0)])
    evidence = breaker_alert(world.made[0]).evidence["conditions"] if world.made else ""
    return Case('"condition": "ERROR_RATE"' in evidence, evidence[:160])


def _told(minutes: float | None) -> str:
    return "never" if minutes is None else f"trips after {minutes:.1f} min"


CASES: Final[dict[str, Callable[[], Case]]] = {
    "1 one account": one_account,
    "2 made-up segments": made_up_segments,
    "3 a new version": new_version,
    "4 a salted sample": salted_sample,
    "5 payments of nothing": payments_of_nothing,
    "6 a slow broker": slow_broker,
    "7 a failing model": failing_model,
    "8 named conditions": named_conditions,
}
