"""The worker's side of the circuit breaker: its state before a batch, the model's answers after, evaluation between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import structlog

from pipeline.adapters import metrics
from pipeline.adapters.breaker import BreakerStore, BreakerUnavailable
from pipeline.adapters.kafka import Batch
from pipeline.agents.judge import Decided, ModesOf
from pipeline.core.alerts import Alert, breaker_alert
from pipeline.core.breaker import Routing, Transition
from pipeline.core.decide import Mode, Regime
from pipeline.core.drift import Answer, counts_of
from pipeline.core.policy import Policy
from pipeline.core.records import BreakerState, Route, Transaction
from pipeline.core.scoring import Model

log = structlog.get_logger("breaker")


class BreakerWatch:
    def __init__(self, store: BreakerStore) -> None:
        self._store = store
        self._states: dict[str, BreakerState] = {}

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
        """What the breaker says of each payment of the next batch; UNKNOWN where its state can't be read (I4)."""
        version = None if in_force.model is None else in_force.model.version
        share_percent = in_force.policy.breaker.half_open_share_percent
        try:
            view = await self._store.read()
            routing = Routing(view.records, version, share_percent, view.tracked_segments)
            self._report({scope: record.state for scope, record in view.records.items()})
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
            routing = Routing({}, version, share_percent)
            self._report({"all": BreakerState.UNKNOWN})
        if routing.uniform is not None:
            uniform = Mode(*routing.uniform)
            return lambda _transaction: uniform
        return lambda transaction: _mode(routing, transaction)

    async def record(self, batch: Batch, decided: Sequence[Decided], model: Model | None, seconds: float) -> None:
        """Counts what the model answered, or would have answered; `seconds` is how long the batch took."""
        answers = [_answer(each) for each in decided if each.verdict.route is not Route.GUARDRAIL]
        latencies_ms = repeat(int(seconds * 1000), len(answers))
        counts = counts_of(answers, latencies_ms, None if model is None else model.version)
        spans = [(span.partition, span.start_offset, span.end_offset) for span in batch.spans]
        try:
            await self._store.record(spans, counts)
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))

    async def evaluate(self, in_force: Regime) -> list[Alert]:
        """The alerts of the transitions that this call made."""
        version = None if in_force.model is None else in_force.model.version
        try:
            transitions = await self._store.evaluate(in_force.policy.breaker, version)
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


def _answer(decided: Decided) -> Answer:
    verdict, segments = decided.verdict, decided.payment.decoded.transaction.segments
    if verdict.model_outcome is None:
        return Answer(None, None, segments)
    return Answer(verdict.model_outcome, verdict.fraud_probability_ppm, segments)


def _log(transition: Transition) -> None:
    after = transition.after
    log.warning(
        "breaker_transition",
        scope=after.scope,
        before=transition.before,
        event=transition.event,
        after=after.state,
        cause=after.cause.text,
        author=after.cause.author,
    )
