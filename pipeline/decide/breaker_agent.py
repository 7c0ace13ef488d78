"""The worker's side of the circuit breaker: its state before a batch, the model's answers after, evaluation between."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.breaker import Switches, Transition
from pipeline.breaker.alerts import breaker_alert, unwatched_alert
from pipeline.breaker.answer_counts import Answer, Counts, DeclaresOf, counts_of
from pipeline.breaker.detecting.account_weights import AccountWeights
from pipeline.breaker.hour_topics import HourTopic
from pipeline.breaker.states import BreakerRecord
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.decide import metrics
from pipeline.decide.batch import ModesOf
from pipeline.decide.policy import Policy
from pipeline.decide.rollout.modes import is_in_the_loop, modes_under, shared_modes
from pipeline.decide.rollout.sharing import Rollout
from pipeline.decide.verdict import Regime
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Span
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.transaction_log import Batch

log = structlog.get_logger("breaker")


RECORD_INTERVAL_S: Final = 0.2
"""Batches come every few milliseconds and each touches a hundred scopes: counting five times a second costs a tenth.
A crash loses the counts of that long; they are a sample, the decisions are on the log."""


SALT_BYTES: Final = 32
MADE_MAX: Final = 1_000
"""Most transitions of its own that a worker remembers until they are told; further ones are told a little later."""


class _Batch(NamedTuple):
    answers: Sequence[Answer]  # those that count
    latency_ms: int
    payments: int
    model_version: str | None
    declares: DeclaresOf


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
    def __init__(self, store: BreakerStore, switches: Callable[[], Switches | None], hours: HourTopic) -> None:
        """Keep what to ask. switches: what is known of people's switches, None where nothing is. hours: where what is
        usual outlives the store."""
        self._store, self._switches, self._hours = store, switches, hours
        self._states: dict[str, BreakerState] = {}
        self._weights = AccountWeights(secrets.token_bytes(SALT_BYTES))
        self._made: list[Transition] = []  # by this worker, and not told yet
        self._told: list[Transition] = []  # from memory, and not marked as told in the store yet
        self._warned: frozenset[str] = frozenset()
        self._is_crowded, self._is_crowd_told = False, False  # since the last evaluation, and by then
        self._told_unwatched: frozenset[str] = frozenset()  # the ids of alerts that this worker has told
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

    async def modes(self, in_force: Regime, rollout: Rollout | None = None) -> ModesOf:
        """The breaker's word on each payment of the next batch; UNKNOWN where its state can't be read (I4).

        Neither the store's states nor people's switches say enough without the other. rollout: a model that answers a
        share of the payments, as long as its own scope is known to be in the loop.
        """
        records: Mapping[str, BreakerRecord] = {}
        states = {"all": BreakerState.UNKNOWN}
        try:
            if (switches := self._switches()) is not None:
                records = (await self._store.read(switches)).records
                states = {scope: record.state for scope, record in records.items()}
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
        self._report(states)
        now_ms = time.time_ns() // 1_000_000
        champion = modes_under(records, in_force, now_ms)
        if rollout is None or not is_in_the_loop(records, rollout.model.version):
            return champion
        return shared_modes(champion, modes_under(records, rollout.candidate, now_ms), rollout.sharing)

    async def record(
        self,
        batch: Batch,
        answers: Sequence[Answer],
        in_force: Regime,
        seconds: float,
        candidate: tuple[str, Sequence[Answer]] | None = None,
    ) -> None:
        """Counts what the model answered, or would have answered.

        seconds: how long deciding took, without waiting for Redis, for other batches or for the commit. Taking the
        model out of the loop makes none of these quicker. candidate: the version that is being rolled out, and its
        answers.
        """
        model = in_force.model
        self._add(batch, None if model is None else model.version, answers, in_force, seconds)
        if candidate is not None:
            self._add(batch, *candidate, in_force, seconds)
        if time.monotonic() - self._flushed_s >= RECORD_INTERVAL_S:
            await self.flush()

    def _add(
        self, batch: Batch, version: str | None, answers: Sequence[Answer], in_force: Regime, seconds: float
    ) -> None:
        settings = in_force.policy.breaker
        # A reading of a window reaches back by up to an interval more.
        window_ms = (settings.window_s + settings.evaluation_interval_s) * 1000
        now_ms = time.monotonic_ns() // 1_000_000
        draw_ms = settings.open_period_s * 1000
        counted = self._weights.counted(answers, settings.account_window_max, window_ms, now_ms, draw_ms)
        if self._weights.uncounted:
            metrics.BREAKER_NEW_UNCOUNTED.inc(self._weights.uncounted)
            self._weights.uncounted, self._is_crowded = 0, True
        found = _Batch(counted, int(seconds * 1000), len(answers), version, settings.declares)
        self._pending.add(batch.spans, found)

    async def flush(self) -> None:
        """Sends what was counted since the last time."""
        pending, self._pending, self._flushed_s = self._pending, _Pending(), time.monotonic()
        try:
            if pending.spans:
                spans = [(partition, start, end) for partition, (start, end) in pending.spans.items()]
                await self._store.record(spans, pending.counts())
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))

    async def restore(self) -> None:
        """Take in what is usual. Without it the breaker knows what the store does, or nothing."""
        try:
            hours = await asyncio.to_thread(self._hours.read)
            self._store.restore(hours, time.time_ns() // 1_000_000)
        except BrokerFailed as error:
            log.error("breaker_hours_unread", why=str(error))

    async def watch(self, in_force: Regime, publish: Callable[[Sequence[Alert]], Awaitable[None]]) -> None:
        """Evaluate where it is this worker's turn, and publish an alert of each transition that nobody was told of.

        What `publish` raises leaves the transitions untold, so they are told later, under the same ids. This worker's
        own are told from memory: the store may be lost, or away, before they are.
        """
        await self.flush()
        try:
            is_evaluated = await self._evaluate(in_force)
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
            is_evaluated = False
        await self._tell_own(publish)
        if not is_evaluated:
            return
        try:
            await self._tell_forgotten(publish)
        except BreakerUnavailable as error:
            log.warning("breaker_unavailable", why=str(error))
            return
        self._warn()
        await self._tell_unwatched(publish)
        await self._keep_hours()

    async def _evaluate(self, in_force: Regime) -> bool:
        if (switches := self._switches()) is None:
            return False  # the state is UNKNOWN meanwhile, and nothing may lead out of it
        version = None if in_force.model is None else in_force.model.version
        made = await self._store.evaluate(in_force.policy.breaker, version, switches)
        for transition in made:
            _log(transition)
        self._made = [*self._made, *made][-MADE_MAX:]
        return True

    async def _tell_own(self, publish: Callable[[Sequence[Alert]], Awaitable[None]]) -> None:
        if self._made:
            await publish([breaker_alert(transition) for transition in self._made])
            self._told, self._made = [*self._told, *self._made][-MADE_MAX:], []

    async def _tell_forgotten(self, publish: Callable[[Sequence[Alert]], Awaitable[None]]) -> None:
        """Tell what others left untold, and mark all that was told."""
        if untold := await self._store.untold(self._told):
            own = {(each.after.scope, each.after.version) for each in self._told}
            found = [each.transition for each in untold]
            if others := [each for each in found if (each.after.scope, each.after.version) not in own]:
                await publish([breaker_alert(transition) for transition in others])
            await self._store.mark_told(untold)
        self._told = []

    async def _tell_unwatched(self, publish: Callable[[Sequence[Alert]], Awaitable[None]]) -> None:
        """Publish once what can't be judged; another worker that finds the same publishes the same alert."""
        found = {each.alert_id: each for each in map(unwatched_alert, self._store.blind)}
        if fresh := [each for alert_id, each in found.items() if alert_id not in self._told_unwatched]:
            await publish(fresh)
        self._told_unwatched = frozenset(found)

    async def _keep_hours(self) -> None:
        """Have the hours kept that are not yet; what fails is tried again with the next evaluation."""
        if not (hours := self._store.unkept_hours()):
            return
        try:
            await self._hours.keep(hours)
            self._store.mark_kept(hours)
        except BrokerFailed as error:
            log.warning("breaker_hours_unkept", why=str(error), hours=len(hours))

    def _warn(self) -> None:
        """Log what nears a condition, and new accounts beyond their share, once for as long as it is so."""
        if self._is_crowded and not self._is_crowd_told:
            log.warning("breaker_new_accounts_crowd", why="more pay than may count beside those known before")
        self._is_crowded, self._is_crowd_told = False, self._is_crowded
        warnings = self._store.warnings
        for scope in sorted(warnings.keys() - self._warned):
            log.warning("breaker_warning", scope=scope, why="; ".join(warnings[scope]))
        self._warned = frozenset(warnings)
        metrics.BREAKER_WARNINGS.set(len(warnings))

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
