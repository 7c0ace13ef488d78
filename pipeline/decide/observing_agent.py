"""Observing a batch: asking Redis for its state features, and what the breaker says, for as long as it takes.

A failure of the world holds the batch: without the state store a republished payment can't be told from a new one, so
nothing may be decided (ADR 0002). A store that is away is waited for; one that lost something is rebuilt from the log.
Where only accounts of some partitions were lost, these are set aside until they are whole, and the others go on. Where
a connection is new, its server may have lost context, which is compared with the log before anything is counted. A
fault of ours (StateFault) is neither: it leaves, and the batch is tried in parts. A server
that refuses what the scripts do, and a fault that every payment meets, hold the batch too, and are told by an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog

from pipeline.decide import metrics
from pipeline.decide.batch import Judge, ModesOf
from pipeline.decide.breaker_agent import BreakerWatch
from pipeline.decide.rebuild_agent import Rebuild
from pipeline.domain.log import Span
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from pipeline.state.store import Prepared, RedisState, StateRefused, StateUnavailable
from pipeline.state.windows import ContextUnsure, PartitionObservation, SnapshotPruned, StateLost

HOLD_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
REBUILDS_MAX: Final = 5
"""A state that is lost again and again while it is rebuilt is an outage, not a loss."""
MODES_FRESH_S: Final = 0.25
"""How old the breaker's word may be when the state has answered. It comes with the first answer of Redis, while the
state's may take as long as its timeout: a trip within that time would not be heeded. To ask again takes 0.2 ms."""

Observations = list[PartitionObservation]

log = structlog.get_logger("decide")


class StateGivenUp(Exception):
    """The state store stayed away for longer than this worker may hold its partitions."""


class BatchDropped(Exception):
    """A partition of the batch was taken away while it waited; whoever has it now reads it again."""


class Ahead(NamedTuple):
    """The batches ahead of the one that is observed."""

    settled: Callable[[], Awaitable[None]]  # returns when none is under way; raises what one raised
    is_judged: Callable[[], bool]  # whether each has been, so that this one can be at once


class Subject(NamedTuple):
    """A batch that is observed, or a part of one that is tried in parts."""

    batch: Batch
    judge: Judge
    spans: Sequence[Span]
    prepared: Prepared


class Observer:
    """Observes one batch at a time, in log order; holds it while the store can't answer."""

    def __init__(
        self,
        transactions: TransactionLog,
        state: RedisState,
        breaker: BreakerWatch,
        rebuild: Rebuild,
        *,
        patience_s: float,
        fail: Callable[[BaseException], None],
        tell_held: Callable[[str], None],
    ) -> None:
        """fail: hears of a rebuild beside the batches that can't go on. tell_held: hears why a batch is held that no
        outage explains."""
        self.is_holding = False
        self._why = ""  # it held last
        self._transactions, self._state, self._breaker, self._rebuild = transactions, state, breaker, rebuild
        self._patience_s, self._fail, self._tell_held = patience_s, fail, tell_held
        self._beside: set[asyncio.Task[None]] = set()  # rebuilds of partitions that were set aside

    def ask(self, prepared: Prepared) -> Coroutine[Any, Any, Observations]:
        """Redis' answer, without holding; raises ContextUnsure, StateLost, SnapshotPruned or StateUnavailable."""
        return self._state.observe_prepared(prepared, when_ready=True)

    async def observe(
        self, subject: Subject, ahead: Ahead, asked: asyncio.Task[Observations] | None = None
    ) -> tuple[Observations, ModesOf | None]:
        """State features, and what the breaker says if nothing waits to be judged before.

        Where something does, and where the breaker's word has grown old over the state's answer, that is None: ask it
        when the batch is judged.

        asked: before the batch ahead was observed; where that went wrong, so did this, and it says nothing of its own.
        Raises BatchDropped or StateGivenUp.
        """
        if asked is not None:
            with contextlib.suppress(ContextUnsure, StateLost, SnapshotPruned, StateUnavailable):
                return await self._with_modes(subject.judge, ahead, asked)
        try:
            return await self._hold_until_observed(subject, ahead)
        finally:
            self.is_holding = False

    async def hold_until_sound(self, batch: Batch, look: Callable[[], Awaitable[None]]) -> bool:
        """Hold the batch while `look` fails, which takes what every payment needs; return whether it did at first.

        Raises BatchDropped or StateGivenUp.
        """
        started_s, waits = time.monotonic(), 0
        while True:
            try:
                await look()
                break
            except (StateGivenUp, BatchDropped):
                raise
            except Exception as error:  # whatever keeps a sound payment from its decision
                if time.monotonic() > started_s + self._patience_s:
                    raise StateGivenUp(f"no payment can be decided: {type(error).__name__}") from error
                self._drop_if_stale(batch)
                log.error("every_payment_fails", error=type(error).__name__, exc_info=waits == 0)
                await self._hold("failing", type(error).__name__, waits)
                waits += 1
        if waits:
            self.is_holding = False
        return waits > 0

    async def _hold_until_observed(self, subject: Subject, ahead: Ahead) -> tuple[Observations, ModesOf | None]:
        deadline_s = time.monotonic() + self._patience_s
        rebuilds, waits, is_lost, is_unsure = 0, 0, False, False
        while True:
            try:
                if is_unsure:
                    await self._compare_context()
                    is_unsure, deadline_s = False, time.monotonic() + self._patience_s
                if is_lost:
                    await self._restore(subject, ahead)
                    is_lost, deadline_s = False, time.monotonic() + self._patience_s
                return await self._with_modes(subject.judge, ahead, self.ask(subject.prepared))
            except ContextUnsure as unsure:
                rebuilds += 1
                if rebuilds > REBUILDS_MAX:
                    raise StateGivenUp("context became unsure again while it was compared with the log") from unsure
                is_unsure = True
            except StateLost as lost:
                rebuilds += 1
                if rebuilds > REBUILDS_MAX:
                    raise StateGivenUp("the state was lost again while it was rebuilt") from lost
                is_lost = True
            except SnapshotPruned as pruned:
                self._drop_if_stale(subject.batch)
                if time.monotonic() > deadline_s:
                    raise StateGivenUp(str(pruned)) from pruned
                await self._hold("refused", str(pruned), waits)
                waits += 1
            except StateUnavailable as error:
                if time.monotonic() > deadline_s:
                    raise StateGivenUp(f"no state store for {self._patience_s:.0f} s: {error}") from error
                self._drop_if_stale(subject.batch)
                await self._hold("refused" if isinstance(error, StateRefused) else "unavailable", str(error), waits)
                waits += 1

    async def _with_modes(
        self, judge: Judge, ahead: Ahead, answer: Awaitable[Observations]
    ) -> tuple[Observations, ModesOf | None]:
        if not ahead.is_judged():
            return await answer, None
        asked_s = time.monotonic()
        observations, modes = await asyncio.gather(answer, self._breaker.modes(judge.in_force, judge.rollout))
        return observations, modes if time.monotonic() - asked_s <= MODES_FRESH_S else None

    async def _compare_context(self) -> None:
        self.is_holding = True
        metrics.STATE_HOLDS.labels("context").inc()
        await self._rebuild.compare_context()

    async def _restore(self, subject: Subject, ahead: Ahead) -> None:
        """Rebuild the state up to where the spans start; the commit before it must be through by then.

        Raises BatchDropped where the partitions that lost something were set aside instead, and StateUnavailable.
        """
        self.is_holding = True
        targets = {span.partition: span.start_offset for span in subject.spans}
        await ahead.settled()
        self._drop_if_stale(subject.batch)
        if await self._rebuild.reaches(targets):
            return
        metrics.STATE_HOLDS.labels("lost").inc()
        if await self._rebuild.is_shared_whole(targets):
            lacking = {
                place: start for place, start in targets.items() if not await self._rebuild.reaches({place: start})
            }
            await self._transactions.set_aside(lacking)
            self._start_beside(subject.judge, lacking)
            raise BatchDropped
        with contextlib.suppress(StateLost):  # lost again meanwhile: found again at the next look, REBUILDS_MAX times
            await self._rebuild.run(subject.judge, targets)

    def _start_beside(self, judge: Judge, targets: Mapping[int, int]) -> None:
        async def rebuild() -> None:
            with contextlib.suppress(StateLost):  # found again when the partitions are read again
                await self._rebuild.run(judge, targets)
            await self._transactions.take_up(targets)

        def ended(task: asyncio.Task[None]) -> None:
            self._beside.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        task = asyncio.create_task(rebuild())
        self._beside.add(task)
        task.add_done_callback(ended)

    def _drop_if_stale(self, batch: Batch) -> None:
        if not self._transactions.is_current(batch):
            raise BatchDropped

    async def _hold(self, why: str, cause: str, waits: int) -> None:
        """waits: how often the batch has been held already. An outage shows by itself; whatever else is told."""
        if waits == 0 or why != self._why:
            log.warning("holding", why=why, cause=cause)
            if why != "unavailable":
                self._tell_held(cause)
        self.is_holding, self._why = True, why
        metrics.STATE_HOLDS.labels(why).inc()
        await asyncio.sleep(HOLD_BACKOFF_S[min(waits, len(HOLD_BACKOFF_S) - 1)])
