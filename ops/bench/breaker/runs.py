"""Runs of the detectors over simulated traffic: false trips over years, and how long a fault takes to trip."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Final, NamedTuple

import numpy as np

from ops.bench.breaker.lanes import HOURS_KEPT, Flags, Held, Hours, Judges, interpolated
from ops.bench.breaker.traffic import (
    STEP_S,
    STEPS_A_DAY,
    STEPS_AN_HOUR,
    Fault,
    Floats,
    Integers,
    Profile,
    Steps,
    Traffic,
)
from pipeline.breaker import BreakerSettings, Condition

WARM_DAYS: Final = 8
"""Days before anything is judged: a week, and what its first window reaches back."""


class Kind(NamedTuple):
    """How the lanes of a run are judged."""

    peers: int = 1
    is_part: bool = False
    is_service: bool = False
    is_seasonal: bool = True
    judges_drift: bool = True


class Evaluated(NamedTuple):
    """An hour's evaluations: seconds of the day at which they come, what held, and which lanes tripped."""

    at_s: Integers
    held: Held
    tripped: Flags


class Run:
    """Days of lanes, judged as a worker judges them: every STEP_S, the hour before added at each full hour."""

    def __init__(self, settings: BreakerSettings, traffic: Traffic, lanes: int, kind: Kind) -> None:
        self._settings, self._traffic, self.kind = settings, traffic, kind
        self._hours = Hours(lanes)
        self._judges = Judges(settings, lanes, kind.peers, is_part=kind.is_part)
        self._carried = settings.window_s // STEP_S + 1
        self._before = _zeros(self._carried, lanes)
        self._held_before: dict[Condition, Flags] = {}

    def warm(self, days: int = WARM_DAYS) -> None:
        for _ in range(days):
            self._take(self._traffic.day(), None)

    def day(self, fault: Fault | None = None, since_s: Integers | None = None) -> Iterator[Evaluated]:
        """Judge the next day. since_s: second of the day since which each lane's version answers; None since always."""
        steps = self._traffic.day(fault)
        ends_s = (np.arange(STEPS_A_DAY) + 1)[:, None] * STEP_S
        judged = steps if since_s is None else Steps(*(np.where(ends_s > since_s, each, 0) for each in steps))
        yield from self._take(steps, judged)

    def _take(self, steps: Steps, judged: Steps | None) -> list[Evaluated]:
        found = []
        whole = None if judged is None else _joined(self._before, judged)
        for hour in range(24):
            if whole is not None:
                begin = self._carried + hour * STEPS_AN_HOUR - 1
                now, before = _cut(whole, begin, begin + STEPS_AN_HOUR), _cut(whole, 0, begin)
                at_s = np.arange(STEPS_AN_HOUR) * STEP_S + hour * 3600
                held = self._judged(now, before)
                found.append(Evaluated(at_s, held, self.tripped(held)))
            past = _cut(steps, hour * STEPS_AN_HOUR, (hour + 1) * STEPS_AN_HOUR)
            kept = (past.total, past.allow, past.block, past.score_sum_ppm, past.doubt)
            self._hours.add(*(each.sum(axis=0) for each in kept))
        self._before = _cut(steps if judged is None else judged, STEPS_A_DAY - self._carried, STEPS_A_DAY)
        return found

    def tripped(self, held: Held) -> Flags:
        """Return the evaluations at which a CLOSED lane trips; a streak goes on from the hour before."""
        found = held.shifted.copy()
        for condition, now in held.by_condition.items():
            confirmations = self._settings.confirmations
            known = np.zeros((confirmations - 1, now.shape[1]), bool)
            whole = np.concatenate([self._held_before.get(condition, known), now])
            running = [whole[back : back + len(now)] for back in range(confirmations)]
            found |= np.logical_and.reduce(running)
            self._held_before[condition] = whole[len(now) :]
        return found

    def _judged(self, now: Steps, before: Steps) -> Held:
        if self.kind.is_service:
            return self._judges.judge_service(now, before)
        if not self.kind.is_seasonal:
            return self._judges.judge(now, before, self._hours.last_day(), None, is_seasonal=False)
        is_whole = self._hours.known >= HOURS_KEPT
        assert is_whole or not self.kind.judges_drift, "σ of drift is of a week of hours and a little more"
        yardstick = interpolated(self._hours, STEPS_AN_HOUR, self._settings)
        return self._judges.judge(now, before, yardstick, self._sigma_ppm())

    def _sigma_ppm(self) -> Floats | None:
        return self._hours.sigma_ppm() if self.kind.judges_drift else None


class FalseTrips(NamedTuple):
    """Trips without a fault; most: of one lane in one day."""

    years: float
    days: int
    trips: int
    by_condition: dict[str, int]
    most: int


def false_trips(
    settings: BreakerSettings, profile: Profile, kind: Kind, days: int, seed: int, *, warm_days: int = WARM_DAYS
) -> FalseTrips:
    """Run lanes of `days` days each, after a warm-up. A lane that trips is at once CLOSED again."""
    lanes = len(profile.peak_rate)
    run = warmed(settings, profile, kind, seed, warm_days)
    trips, most, by_condition = 0, 0, dict[str, int]()
    for _ in range(days):
        of_day = np.zeros(lanes, np.int64)
        for evaluated in run.day():
            episodes = _episodes(evaluated.tripped)
            of_day += episodes.sum(axis=0)
            for condition, held in evaluated.held.by_condition.items():
                by_condition[condition] = by_condition.get(condition, 0) + int((held & episodes).sum())
            by_condition["SHIFT"] = by_condition.get("SHIFT", 0) + int((evaluated.held.shifted & episodes).sum())
        trips, most = trips + int(of_day.sum()), max(most, int(of_day.max()))
    return FalseTrips(round(days * lanes / 365, 2), days, trips, by_condition, most)


class Detection(NamedTuple):
    """Minutes from a fault's beginning to the evaluation that trips, of the lanes that hadn't tripped before.

    A lane that never trips that day takes infinity.
    """

    minutes: Floats  # sorted
    early: int

    @property
    def p95_min(self) -> float:
        return float(np.quantile(self.minutes, 0.95, method="higher"))

    def as_json(self) -> dict[str, float | int]:
        missed = int(np.isinf(self.minutes).sum())
        median, p95, worst = (float(np.quantile(self.minutes, q, method="higher")) for q in (0.5, 0.95, 1.0))
        told = {"median_min": median, "p95_min": p95, "worst_min": worst}
        shown = {name: round(minutes, 1) if np.isfinite(minutes) else -1.0 for name, minutes in told.items()}
        return {"lanes": len(self.minutes), "missed": missed, "tripped_before": self.early, **shown}


def warmed(settings: BreakerSettings, profile: Profile, kind: Kind, seed: int, days: int = WARM_DAYS) -> Run:
    """Return lanes with some days behind them."""
    run = Run(settings, Traffic(profile, seed), len(profile.peak_rate), kind)
    run.warm(days)
    return run


def detection(warm: Run, fault: Fault, *, is_new_version: bool = False) -> Detection:
    """Run one day more with a fault that begins at `fault.from_s` in each lane; `warm` stays as it was.

    is_new_version: the version answers only since then, so the fault is in it from its first payment on, and drift,
    which compares a version with itself alone, can't be judged.
    """
    lanes, run = len(fault.from_s), deepcopy(warm)
    if is_new_version:
        run.kind = run.kind._replace(judges_drift=False)
    tripped_s = np.full(lanes, np.inf)
    early = np.zeros(lanes, bool)
    for evaluated in run.day(fault, fault.from_s.astype(np.int64) if is_new_version else None):
        tripped = evaluated.tripped
        early |= (tripped & (evaluated.at_s[:, None] < fault.from_s)).any(axis=0)
        for at_s, row in zip(evaluated.at_s.tolist(), tripped, strict=True):
            tripped_s = np.where(row & (at_s >= fault.from_s), np.minimum(tripped_s, at_s), tripped_s)
    return Detection(np.sort((tripped_s - fault.from_s)[~early]) / 60, int(early.sum()))


def moments(lanes: int, seed: int) -> Floats:
    """Return a second of the day for each lane at which its fault begins, with hours to go."""
    found: Floats = np.random.default_rng(seed).uniform(3600, 18 * 3600, lanes)
    return found


def _episodes(tripped: Flags) -> Flags:
    """Return where a trip begins: an evaluation that trips after one that didn't."""
    begins = tripped.copy()
    begins[1:] &= ~tripped[:-1]
    return begins


def _zeros(steps: int, lanes: int) -> Steps:
    return Steps(*(np.zeros((steps, lanes), np.int64) for _ in Steps._fields))


def _joined(first: Steps, second: Steps) -> Steps:
    return Steps(*(np.concatenate([one, other]) for one, other in zip(first, second, strict=True)))


def _cut(steps: Steps, begin: int, end: int) -> Steps:
    return Steps(*(each[begin:end] for each in steps))
