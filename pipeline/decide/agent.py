"""The decision agent: batches in log order, through four stages that each work on another batch.

Read, observe (state features, from Redis), judge, commit. Redis counts while this process reads the batch behind and
judges the one before, and finds the next at its door when it is done, so that neither waits for the other.

A failure of ours aborts nothing but the batch: it is tried again, and at the third failure bisected until the record
that causes it stands alone and becomes a dead letter. A failure of the world (Redis, Kafka) holds the batch: without
the state store a republished payment can't be told from a new one, so nothing may be decided (ADR 0002).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog

from models.artefact.scoring import Model
from pipeline.decide import metrics
from pipeline.decide.batch import SLICE_RECORDS, Judge, Judged, ModesOf, Reading
from pipeline.decide.breaker_agent import BreakerWatch
from pipeline.decide.rebuild_agent import Rebuild
from pipeline.domain.log import Record, Span
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from pipeline.state.store import Prepared, RedisState, StateUnavailable
from pipeline.state.windows import PartitionObservation, SnapshotPruned, StateLost

ATTEMPTS_MAX: Final = 3
"""Of judging one batch, before it is bisected."""
HOLD_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
REBUILDS_MAX: Final = 5
"""A state that is lost again and again while it is rebuilt is an outage, not a loss."""

log = structlog.get_logger("decide")


class StateGivenUp(Exception):
    """The state store stayed away for longer than this worker may hold its partitions."""


class BatchDropped(Exception):
    """A partition of the batch was taken away while it waited; whoever has it now reads it again."""


_GIVING_UP: Final = (StateGivenUp, BatchDropped, BrokerFailed)
"""Not for another attempt: this worker's place, or the batch's, is over."""


class _HeadStart(NamedTuple):
    """What is done of a batch while the one before may still be observed."""

    reading: Reading
    prepared: Prepared
    asked: asyncio.Task[list[PartitionObservation]]  # of Redis, behind the batch before


class _Observed(NamedTuple):
    reading: Reading
    observations: list[PartitionObservation]
    modes: ModesOf | None  # None: the breaker is still to be asked


@dataclass(slots=True)
class _Work:
    """A batch under way, with the regime that it was taken up under."""

    batch: Batch
    judge: Judge
    started_s: float
    held_s: float
    before: asyncio.Task[None] | None = None  # judges the batch before this one
    head_start: _HeadStart | None = None
    observed: _Observed | None = None


def _unheard(error: BaseException) -> None:
    log.error("batch_failed", error=str(error))


class DecisionAgent:
    """Judges and commits batches; `judge` may be replaced between batches (policy or model changed)."""

    def __init__(
        self,
        transactions: TransactionLog,
        state: RedisState,
        breaker: BreakerWatch,
        rebuild: Rebuild,
        judge: Judge,
        *,
        state_patience_s: float,
        clock_ms: Callable[[], int],
    ) -> None:
        self.judge = judge
        self.is_holding = False
        self.on_failure: Callable[[BaseException], None] = _unheard
        self._transactions, self._state, self._breaker, self._rebuild = transactions, state, breaker, rebuild
        self._state_patience_s, self._clock_ms = state_patience_s, clock_ms
        self._observing: asyncio.Task[None] | None = None
        self._judging: asyncio.Task[None] | None = None
        self._commit: asyncio.Task[None] | None = None
        self._held_s = 0.0  # in all, by holding and rebuilding

    async def decide(self, batch: Batch) -> None:
        """Reads `batch`, asks Redis about it, and waits until the one before it is observed.

        Whatever fails later is raised by the next call, and told to `on_failure` at once.
        """
        work = _Work(batch, self.judge, time.perf_counter(), self._held_s)
        work.head_start = await self._read_ahead(work)
        try:
            await self._done(self._observing)
        except BaseException:
            if work.head_start is not None:
                work.head_start.asked.cancel()
            raise
        work.before = self._judging
        self._observing = self._watched(self._observe_and_judge(work))

    async def settle(self) -> None:
        """Returns when no batch is under way; raises what one raised."""
        await self._done(self._observing)  # one by one: each stage starts the next
        await self._done(self._judging)
        await self._done(self._commit)

    async def _settle_before(self, work: _Work) -> None:
        """Returns when no batch before this one is under way; raises what one raised."""
        await self._done(work.before)
        await self._done(self._commit)

    async def _done(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            await task

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        """A failure while no batch follows must be heard too."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failure(error)

    async def _read_ahead(self, work: _Work) -> _HeadStart | None:
        """None where it fails: what must be bisected is so in order, in the stages after this one."""
        try:
            reading = await self._read(work.judge, work.batch.records)
            prepared = self._state.prepare(work.judge.state_events(reading, work.batch.spans))
            return _HeadStart(reading, prepared, asyncio.create_task(self._ask(prepared)))
        except Exception as error:  # whatever a record makes our code raise; tried again in `_observe_and_judge`
            log.exception("reading_failed", records=len(work.batch.records), error=type(error).__name__)
        return None

    async def _observe_and_judge(self, work: _Work) -> None:
        batch = work.batch
        try:
            if work.head_start is None:
                work.observed = await self._observed(work, batch.records, batch.spans)
            else:
                reading, prepared, asked = work.head_start
                work.observed = _Observed(reading, *await self._observe(work, prepared, batch.spans, asked))
        except BatchDropped:
            self._transactions.release()
            self._count_dropped(batch)
            return
        except _GIVING_UP:
            raise
        except Exception as error:  # whatever a record makes our code raise; tried again in `_judged`
            log.exception("observing_failed", records=len(batch.records), error=type(error).__name__)
        self._judging = self._watched(self._judge_and_commit(work))

    async def _judge_and_commit(self, work: _Work) -> None:
        await self._done(work.before)
        batch = work.batch
        try:
            judged = await self._judged(work)
        except BatchDropped:
            self._transactions.release()
            self._count_dropped(batch)
            return
        metrics.STAGE_SECONDS.labels("judge").observe(time.perf_counter() - work.started_s)
        assert judged.accounted_for == len(batch.records), "every record is a decision, a dead letter or a duplicate"
        await self._done(self._commit)
        # Waiting for the state store is no slowness of the model's, so the breaker doesn't hear of it.
        since_s = work.started_s + self._held_s - work.held_s
        self._commit = self._watched(self._commit_batch(batch, judged, work.judge.in_force.model, since_s))

    async def _commit_batch(self, batch: Batch, judged: Judged, model: Model | None, since_s: float) -> None:
        committing_s = time.perf_counter()
        try:
            is_committed = await self._transactions.commit(batch, judged.outgoing)
        finally:
            self._transactions.release()
        if not is_committed:
            self._count_dropped(batch)
            return
        done_s = time.perf_counter()
        metrics.STAGE_SECONDS.labels("commit").observe(done_s - committing_s)
        self._count(batch, judged)
        await self._breaker.record(batch, judged.answers, model, done_s - since_s)

    # Judging

    async def _judged(self, work: _Work) -> Judged:
        try:
            if work.observed is not None:
                return await self._judge(work.judge, work.observed)
        except _GIVING_UP:
            raise
        except Exception as error:
            log.exception("judging_failed", records=len(work.batch.records), error=type(error).__name__)
        return await self._attempt(work, work.batch.records, work.batch.spans)

    async def _judge(self, judge: Judge, observed: _Observed) -> Judged:
        reading, observations, modes = observed
        if modes is None:
            modes = await self._breaker.modes(judge.in_force)
        judged = Judged()
        for part in judge.judge(reading, observations, modes, self._clock_ms()):
            judged.extend(part)
            if len(part.outgoing) >= SLICE_RECORDS:
                await asyncio.sleep(0)  # the next batch's replies from Redis are taken in here
        return judged

    async def _attempt(self, work: _Work, records: Sequence[Record], spans: Sequence[Span]) -> Judged:
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await self._judge(work.judge, await self._observed(work, records, spans))
            except _GIVING_UP:
                raise
            except Exception as error:
                log.exception("judging_failed", attempt=attempt, records=len(records), error=type(error).__name__)
        return await self._bisect(work, records, spans)

    async def _observed(self, work: _Work, records: Sequence[Record], spans: Sequence[Span]) -> _Observed:
        reading = await self._read(work.judge, records)
        prepared = self._state.prepare(work.judge.state_events(reading, spans))
        return _Observed(reading, *await self._observe(work, prepared, spans))

    async def _read(self, judge: Judge, records: Sequence[Record]) -> Reading:
        parts = []
        for start in range(0, len(records), SLICE_RECORDS):
            parts.append(judge.read(records[start : start + SLICE_RECORDS]))
            await asyncio.sleep(0)  # replies from Redis are taken in here
        return Reading.whole(parts)

    async def _bisect(self, work: _Work, records: Sequence[Record], spans: Sequence[Span]) -> Judged:
        if len(records) == 1:
            passed = self._state.prepare(work.judge.state_events(Reading([], []), spans))
            await self._observe(work, passed, spans)  # the state store must know that it was passed
            return work.judge.poison(records[0])
        middle = len(records) // 2
        first, second = split_spans(records[:middle], spans)
        judged = await self._attempt(work, records[:middle], first)
        judged.extend(await self._attempt(work, records[middle:], second))
        return judged

    async def _observe(
        self,
        work: _Work,
        prepared: Prepared,
        spans: Sequence[Span],
        asked: asyncio.Task[list[PartitionObservation]] | None = None,
    ) -> tuple[list[PartitionObservation], ModesOf | None]:
        """State features, and what the breaker says where nothing else waits to be judged before; holds while the store
        is away, rebuilds it where it has lost something.

        asked: before the batch ahead was observed; where that went wrong, so did this, and it says nothing of its own.
        """
        batch = work.batch
        started_s, deadline = time.perf_counter(), time.monotonic() + self._state_patience_s
        rebuilds, waits = 0, 0
        if asked is not None:
            with contextlib.suppress(StateLost, SnapshotPruned, StateUnavailable):
                return await self._with_modes(work, asked)
        try:
            while True:
                try:
                    return await self._with_modes(work, self._ask(prepared))
                except StateLost as lost:
                    rebuilds += 1
                    if rebuilds > REBUILDS_MAX:
                        raise StateGivenUp("the state was lost again while it was rebuilt") from lost
                    await self._restore(work, spans)
                except SnapshotPruned as pruned:
                    self._drop_if_stale(batch)
                    raise StateGivenUp(str(pruned)) from pruned
                except StateUnavailable as error:
                    if time.monotonic() > deadline:
                        raise StateGivenUp(f"no state store for {self._state_patience_s:.0f} s: {error}") from error
                    self._drop_if_stale(batch)
                    await self._hold("unavailable", HOLD_BACKOFF_S[min(waits, len(HOLD_BACKOFF_S) - 1)])
                    waits += 1
        finally:
            if self.is_holding:
                self._held_s += time.perf_counter() - started_s
            self.is_holding = False

    def _ask(self, prepared: Prepared) -> Coroutine[Any, Any, list[PartitionObservation]]:
        return self._state.observe_prepared(prepared, when_ready=True)

    async def _with_modes(
        self, work: _Work, observing: Awaitable[list[PartitionObservation]]
    ) -> tuple[list[PartitionObservation], ModesOf | None]:
        if self._judging is not None and not self._judging.done():
            return await observing, None
        return await asyncio.gather(observing, self._breaker.modes(work.judge.in_force))

    async def _restore(self, work: _Work, spans: Sequence[Span]) -> None:
        """Rebuilds the state up to where this batch starts; the commit before it must be through by then."""
        self.is_holding = True
        metrics.STATE_HOLDS.labels("lost").inc()
        await self._settle_before(work)
        self._drop_if_stale(work.batch)
        with contextlib.suppress(StateLost):  # lost again meanwhile: found again at the next look, REBUILDS_MAX times
            await self._rebuild.run(self.judge, {span.partition: span.start_offset for span in spans})

    def _drop_if_stale(self, batch: Batch) -> None:
        if not self._transactions.is_current(batch):
            raise BatchDropped

    async def _hold(self, why: str, pause_s: float) -> None:
        if not self.is_holding:
            log.warning("holding", why=why)
        self.is_holding = True
        metrics.STATE_HOLDS.labels(why).inc()
        await asyncio.sleep(pause_s)

    # Counting

    def _count_dropped(self, batch: Batch) -> None:
        metrics.BATCHES.labels("dropped").inc()
        log.info("batch_dropped", records=len(batch.records), why="a partition was taken away")

    def _count(self, batch: Batch, judged: Judged) -> None:
        metrics.BATCHES.labels("committed").inc()
        metrics.BATCH_RECORDS.observe(len(batch.records))
        metrics.RECORDS.inc(len(batch.records))
        metrics.DUPLICATES.inc(judged.duplicates)
        for code, count in judged.dead_letters.items():
            metrics.DEAD_LETTERS.labels(code).inc(count)
        metrics.SHADOW_DISAGREEMENTS.inc(judged.shadow_disagreements)
        for (outcome, route), count in judged.outcomes.items():
            metrics.DECISIONS.labels(outcome, route).inc(count)
        for code, count in judged.rules.items():
            metrics.RULES.labels(code).inc(count)
        age_ms = self._clock_ms() - batch.records[0].source.timestamp_ms
        metrics.DECISION_AGE_SECONDS.observe(max(age_ms, 0) / 1000)
        log.info(
            "batch_committed",
            records=len(batch.records),
            dead_letters=sum(judged.dead_letters.values()),
            duplicates=judged.duplicates,
            outcomes={f"{outcome}/{route}": count for (outcome, route), count in judged.outcomes.items()},
            spans={span.partition: [span.start_offset, span.end_offset] for span in batch.spans},
        )


def split_spans(first_records: Sequence[Record], spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The spans of the first part of a batch and those of the rest, meeting where the first part ends."""
    ends: Mapping[int, int] = {record.source.partition: record.source.offset + 1 for record in first_records}
    first = [span._replace(end_offset=ends[span.partition]) for span in spans if span.partition in ends]
    second = [span._replace(start_offset=ends.get(span.partition, span.start_offset)) for span in spans]
    return first, [span for span in second if span.start_offset < span.end_offset]
