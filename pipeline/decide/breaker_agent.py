"""The worker's side of the circuit breaker: its state before a batch, the model's answers after, evaluation between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from models.artefact.scoring import Model
from pipeline.breaker import Routing, Switches, Transition
from pipeline.breaker.alerts import breaker_alert
from pipeline.breaker.answer_counts import Answer, Counts, counts_of
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.decide import metrics
from pipeline.decide.batch import ModesOf
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import Mode, Regime
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Span
from pipeline.domain.payment import Transaction
from pipeline.io.kafka.transaction_log import Batch

log = structlog.get_logger("breaker")


RECORD_INTERVAL_S: Final = 0.2
"""Batches come every few milliseconds and each touches a hundred scopes: counting five times a second costs a tenth.
A crash loses the counts of that long; they are a sample, the decisions are on the log."""


class _Batch(NamedTuple):
    answers: Sequence[Answer]
    latency_ms: int
    model_version: str | None


class _Pending:
    """Committed batches that the store has not heard of, and the stretch of each partition that they are."""

    def __init__(self) -> None:
        self.spans: dict[int, tuple[int, int]] = {}
        self._batches: list[_Batch] = []

    def add(self, spans: Sequence[Span], batch: _Batch) -> None:
        for span in spans:
            start_offset, _ = self.spans.get(span.partition, (span.start_offset, 0))
            self.spans[span.partition] = start_offset, span.end_offset
        self._batches.append(batch)

    def counts(self) -> dict[str, Counts]:
        """By scope."""
        counts: dict[str, Counts] = {}
        for batch in self._batches:
            for scope, more in counts_of(*batch).items():
                known = counts.get(scope)
                counts[scope] = more if known is None else known.plus(more)
        return counts


class BreakerWatch:
    def __init__(self, store: BreakerStore, switches: Callable[[], Switches | None]) -> None:
        """Keep what to ask. switches: what is known of people's switches, None where nothing is."""
        self._store, self._switches = store, switches
        self._states: dict[str, BreakerState] = {}
        self._pending = _Pending()
        self._flushed_s = 0.0

    async def close(self) -> None:
        await self._store.close()

    async def initialise(self, policy: Policy) -> None:
        """For a group that never decided anything: there is no state that could have been lost."""
        try:
            if await self._store.initialise("worker", policy.breaker):
                log.info("breaker_initialised")
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))

    async def modes(self, in_force: Regime) -> ModesOf:
        """The breaker's word on each payment of the next batch; UNKNOWN where its state can't be read (I4).

        Neither the store's states nor people's switches say enough without the other.
        """
        version = None if in_force.model is None else in_force.model.version
        share_percent = in_force.policy.breaker.half_open_share_percent
        routing = Routing({}, version, share_percent)
        states = {"all": BreakerState.UNKNOWN}
        try:
            if (switches := self._switches()) is not None:
                view = await self._store.read(switches)
                routing = Routing(view.records, version, share_percent, view.tracked_segments)
                states = {scope: record.state for scope, record in view.records.items()}
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
        self._report(states)
        if routing.uniform is not None:
            uniform = Mode(*routing.uniform)
            return lambda _transaction: uniform
        return lambda transaction: _mode(routing, transaction)

    async def record(self, batch: Batch, answers: Sequence[Answer], model: Model | None, seconds: float) -> None:
        """Counts what the model answered, or would have answered; `seconds` is how long the batch took."""
        version = None if model is None else model.version
        self._pending.add(batch.spans, _Batch(answers, int(seconds * 1000), version))
        if time.monotonic() - self._flushed_s >= RECORD_INTERVAL_S:
            await self.flush()

    async def flush(self) -> None:
        """Sends what was counted since the last time."""
        pending, self._pending, self._flushed_s = self._pending, _Pending(), time.monotonic()
        try:
            if pending.spans:
                spans = [(partition, start, end) for partition, (start, end) in pending.spans.items()]
                await self._store.record(spans, pending.counts())
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))

    async def evaluate(self, in_force: Regime) -> list[Alert]:
        """The alerts of the transitions that this call made."""
        await self.flush()
        version = None if in_force.model is None else in_force.model.version
        if (switches := self._switches()) is None:
            return []  # the state is UNKNOWN meanwhile, and nothing may lead out of it
        try:
            transitions = await self._store.evaluate(in_force.policy.breaker, version, switches)
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
            return []
        for transition in transitions:
            _log(transition)
        return [breaker_alert(transition) for transition in transitions]

    def summary(self) -> dict[str, str]:
        """The state of every scope as last read."""
        return {scope: str(state) for scope, state in self._states.items()}

    def _report(self, states: dict[str, BreakerState]) -> None:
        if states == self._states:
            return
        self._states = states
        metrics.BREAKER_STATE.clear()
        for scope, state in states.items():
            metrics.BREAKER_STATE.labels(scope, state).set(1)


def _mode(routing: Routing, transaction: Transaction) -> Mode:
    return Mode(*routing.route_of(transaction.transaction_id, transaction.segments))


def _log(transition: Transition) -> None:
    after = transition.after
    log.warning(
        "breaker_transition",
        scope=after.scope,
        before=transition.before,
        because=transition.event,
        after=after.state,
        cause=after.cause.text,
        author=after.cause.author,
    )
