"""The breaker over an attack: its pure core, fed with what honest people and the thief are answered.

Honest answers are drawn, by the world's seed, from what the attacked version really answered to the background, at the
rate of a small bank. The days before are counted from the same answers. Every evaluation is the breaker's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Final

import numpy as np

from models.redteam.target import Target
from pipeline.breaker import BreakerRecord, History, Routing, ScopeReading, Watch, advance, draw_of, hours_touched
from pipeline.breaker.answer_counts import (
    ALL,
    SUMS,
    Answer,
    Counts,
    counts_of,
    difference,
    is_part,
    is_probe,
    probe_scope,
)
from pipeline.breaker.detecting.account_weights import AccountWeights
from pipeline.breaker.states import unwritten
from pipeline.decide.verdict import Mode
from pipeline.domain.decision import Outcome
from pipeline.domain.payment import Transaction
from pipeline.state.periods import DAY_MS, HOUR_MS

HONEST_PER_S: Final = 10
"""Honest payments a second. A larger bank is harder to trip by as many payments, and harder to dilute."""
HISTORY_DAYS: Final = 8
LEAD_MS: Final = 8 * 60_000
"""The breaker watches honest traffic alone for so long before the first act, so that its windows are full."""
STEPS_MAX: Final = 2_000
"""Evaluations of one plan, 16 hours of them at 30 s; a longer plan against the breaker is our bug."""
_LATENCY_MS: Final = 20
_NO_COUNTS: Final = Counts()[:SUMS]
"""An hour keeps all counts of a scope but latencies."""


class BreakerWatching:
    """The breaker's states over one plan. `run_to` before deciding, `add` after it."""

    def __init__(self, target: Target, begins_ms: int, seed: str) -> None:
        self._target, self._settings = target, target.in_force.policy.breaker
        model = target.in_force.model
        self._version = None if model is None else model.version
        self._rng = Random(f"honest answers {seed}")  # noqa: S311 - a simulation, seeded on purpose
        self._weights = AccountWeights(b"red-team")
        self._step_ms = self._settings.evaluation_interval_s * 1000
        self._now_ms = begins_ms - LEAD_MS
        self._history = _history_of(target, self._now_ms)
        self._totals: list[dict[str, Counts]] = [{}]
        self._records: dict[str, BreakerRecord] = {ALL: unwritten(ALL, is_store_empty=False)}
        self._watches: dict[str, Watch] = {}
        self._excluded: set[tuple[str, int]] = set()
        self._answers: list[Answer] = []
        self._made = 0
        self.trips: list[tuple[int, str, str]] = []  # when, scope, state
        self._routing = self._routes()

    def run_to(self, now_ms: int) -> None:
        while self._now_ms + self._step_ms <= now_ms:
            assert len(self._totals) < STEPS_MAX, "a plan against the breaker takes hours, not days"
            self._now_ms += self._step_ms
            self._evaluate(self._counted())

    def mode_of(self, payment: Transaction) -> Mode:
        return Mode(*self._routing.route_of(payment.account_id, payment.segments, payment.channel.value))

    def add(self, answers: Sequence[Answer]) -> None:
        self._answers += answers

    def _counted(self) -> dict[str, Counts]:
        """Count one step's answers, honest ones and the thief's, as a worker does."""
        pool, settings = self._target.honest_answers, self._settings
        honest = [self._honest(self._rng.choice(pool)) for _ in range(HONEST_PER_S * self._step_ms // 1000)]
        answers, self._answers = [*honest, *self._answers], []
        window_ms = settings.window_s * 1000
        draw_ms = settings.open_period_s * 1000
        counting = self._weights.counted(answers, settings.account_window_max, window_ms, self._now_ms, draw_ms)
        counts = counts_of(counting, _LATENCY_MS, len(answers), self._version, settings.declares)
        before = self._totals[-1]
        total = {scope: before.get(scope, Counts()).plus(counts.get(scope, Counts())) for scope in before | counts}
        self._totals.append(total)
        return total

    def _honest(self, drawn: Answer) -> Answer:
        self._made += 1
        return Answer(
            drawn.outcome, drawn.fraud_probability_ppm, drawn.segments, drawn.channel, f"honest {self._made}",
            is_of_nothing=drawn.is_of_nothing, is_of_known_account=True, is_doubted=drawn.is_doubted,
        )  # fmt: skip

    def _evaluate(self, total: dict[str, Counts]) -> None:
        if self._now_ms % HOUR_MS < self._step_ms:
            self._history.add(self._now_ms, total)
        scopes = sorted(scope for scope in total if not is_probe(scope))
        parts = sum(map(is_part, scopes))
        for scope in scopes:
            record = self._records.get(scope) or unwritten(scope, is_store_empty=False)
            reading = self._reading(scope)
            advanced = advance(
                record, self._watches.get(scope, Watch()), reading, self._now_ms, self._settings,
                peers=max(parts, 1) if is_part(scope) else 1,
            )  # fmt: skip
            self._watches[scope] = advanced.watch
            if advanced.transition is not None:
                record = self._records[scope] = advanced.transition.after
                self.trips.append((self._now_ms, scope, record.state.value))
                self._excluded.update(hours_touched(scope, self._now_ms - self._settings.window_s * 1000, self._now_ms))
                self._history.exclude(frozenset(self._excluded))
        self._routing = self._routes()

    def _reading(self, scope: str) -> ScopeReading:
        settings, now_ms = self._settings, self._now_ms
        window, errors = settings.window_s * 1000 // self._step_ms, settings.error_window_s * 1000 // self._step_ms
        probes = probe_scope(scope)
        seasonal = self._history.seasonal(scope, now_ms, settings)
        return ScopeReading(
            self._since(scope, window), self._since(scope, errors), self._since(scope, 1), seasonal,
            None, None, probes=self._since(probes, 1),
        )  # fmt: skip

    def _since(self, scope: str, steps: int) -> Counts:
        then = self._totals[max(len(self._totals) - 1 - steps, 0)]
        return difference(self._totals[-1].get(scope, Counts()), then.get(scope, Counts()))

    def _routes(self) -> Routing:
        draw = draw_of(self._now_ms, self._settings)
        return Routing(self._records, self._version, self._settings.declares, draw)


_HISTORIES: dict[tuple[int, int], tuple[Target, History]] = {}
"""By target and hour; the target is held, so that its id stays its own."""
HISTORIES_MAX: Final = 8


def _history_of(target: Target, until_ms: int) -> History:
    """Return hours of the days before, as the version's answers to the background make them."""
    hour_ms = until_ms - until_ms % HOUR_MS
    key = (id(target), hour_ms)
    if key not in _HISTORIES:
        if len(_HISTORIES) >= HISTORIES_MAX:
            del _HISTORIES[next(iter(_HISTORIES))]
        _HISTORIES[key] = target, _made_history(target, hour_ms)
    return deepcopy(_HISTORIES[key][1])


def _made_history(target: Target, until_ms: int) -> History:
    """Draw each hour from the pool, so that hours stray as much by chance as real ones, and by 10 % beyond it."""
    pool = target.honest_answers
    rows = [_counted_alone(target, answer) for answer in pool]
    scopes = sorted({scope for row in rows for scope in row})
    values = np.zeros((len(scopes), len(pool), len(_NO_COUNTS)), dtype=np.int64)
    for place, row in enumerate(rows):
        for scope, counts in row.items():
            values[scopes.index(scope), place] = counts[: len(_NO_COUNTS)]
    is_stopped = np.array([answer.outcome is not Outcome.ALLOW for answer in pool])
    rng, history = np.random.default_rng([target.world.seed, 77]), History()
    totals = {scope: Counts() for scope in scopes}
    begins_ms = until_ms - HISTORY_DAYS * DAY_MS
    history.add(begins_ms, totals)
    for at_ms in range(begins_ms + HOUR_MS, until_ms + 1, HOUR_MS):
        weights = np.where(is_stopped, float(rng.gamma(100, 0.01)), 1.0)
        drawn = rng.multinomial(HONEST_PER_S * 3600, weights / weights.sum())
        hour = np.einsum("spc,p->sc", values, drawn).tolist()
        totals = {scope: totals[scope].plus(Counts(*hour[place])) for place, scope in enumerate(scopes)}
        history.add(at_ms, totals)
    return history


def _counted_alone(target: Target, answer: Answer) -> dict[str, Counts]:
    settings, model = target.in_force.policy.breaker, target.in_force.model
    return counts_of([answer], _LATENCY_MS, 0, None if model is None else model.version, settings.declares)
