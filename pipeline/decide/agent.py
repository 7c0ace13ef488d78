"""The decision agent: batches in log order, through four stages that each work on another batch.

Read, observe (state features, from Redis), judge, commit. Redis counts while this process reads the batch behind and
judges the one before; each finds its next batch ready when it is done, so that neither waits for the other.

A failure of ours aborts nothing but the batch: it is tried again, and at the third failure halved until the record
that causes it stands alone and becomes a dead letter (`isolating`). A failure of the world (Redis, Kafka) holds the
batch (`observing_agent`), and so does one of ours that every payment meets: before a record is set aside, a payment
that is known to be sound must have been decided.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from pipeline.decide import metrics
from pipeline.decide.batch import SLICE_RECORDS, Judge, Judged, ModesOf, Reading, SetAside
from pipeline.decide.breaker_agent import BreakerWatch
from pipeline.decide.isolating.bisection import Bisection, Part
from pipeline.decide.observing_agent import Ahead, BatchDropped, Observations, Observer, StateGivenUp, Subject
from pipeline.decide.outcomes.due import OutcomesDue
from pipeline.decide.rebuild_agent import Rebuild
from pipeline.decide.tracing.worker_agent import Marked, Times, WorkerTraces
from pipeline.domain.log import Outgoing, Record, Span
from pipeline.domain.refusals import RefusalCode
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from pipeline.state.store import Prepared, RedisState, StateFault
from pipeline.traces.current_service import within

log = structlog.get_logger("decide")

HOLDS_MAX: Final = 5
"""A batch that is held for a fault of all payments, passes, and is held again so often: the fault comes and goes."""

_GIVING_UP: Final = (StateGivenUp, BatchDropped, BrokerFailed)
"""Not for another attempt: this worker's place, or the batch's, is over."""


class _Read(NamedTuple):
    """A batch decoded, and asked for while the one before may still be observed."""

    reading: Reading
    prepared: Prepared
    asked: asyncio.Task[Observations]  # of Redis, behind the batch before


class _Observed(NamedTuple):
    reading: Reading
    observations: Observations
    modes: ModesOf | None  # None: the breaker is still to be asked


@dataclass(slots=True)
class _Work:
    """A batch under way, with the regime that it was taken up under."""

    batch: Batch
    judge: Judge
    started_s: float
    observed_s: float = 0.0  # when it was, and when it was judged
    judged_s: float = 0.0
    failures: int = 0  # of ours, over all stages
    judging_before: asyncio.Task[None] | None = None  # of the batch before this one
    read: _Read | None = None
    observed: _Observed | None = None

    @property
    def whole(self) -> Part:
        return Part(self.batch.records, self.batch.spans)


@dataclass(slots=True)
class _Stages:
    """The batch that is in each stage, or was the last to be."""

    observing: asyncio.Task[None] | None = None
    judging: asyncio.Task[None] | None = None
    committing: asyncio.Task[None] | None = None


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
        outcomes_due: OutcomesDue,
        *,
        letter_of: Callable[[SetAside], Outgoing],
        probe: Callable[[Judge], Awaitable[None]],
        seal: Callable[[Sequence[Outgoing]], list[Outgoing]],
        traces: WorkerTraces,
        tell_held: Callable[[str], None],
        state_patience_s: float,
        clock_ms: Callable[[], int],
    ) -> None:
        """probe: decides a sound payment, and raises what keeps it from that. seal: proves that decisions are ours.
        tell_held: as an Observer takes it."""
        self.judge = judge
        self.on_failure: Callable[[BaseException], None] = _unheard
        self._transactions, self._state, self._breaker = transactions, state, breaker
        self._observer = Observer(
            transactions,
            state,
            breaker,
            rebuild,
            patience_s=state_patience_s,
            fail=lambda error: self.on_failure(error),  # which is set later
            tell_held=tell_held,
        )
        self._outcomes_due, self._letter_of, self._probe, self._clock_ms = outcomes_due, letter_of, probe, clock_ms
        self._seal, self._traces = seal, traces
        self._stages = _Stages()

    @property
    def is_holding(self) -> bool:
        """Whether a batch waits for the state store."""
        return self._observer.is_holding

    async def decide(self, batch: Batch) -> None:
        """Reads `batch`, asks Redis about it, and waits until the one before it is observed.

        Whatever fails later is raised by the next call, and told to `on_failure` at once.
        """
        work = _Work(batch, self.judge, time.perf_counter())
        await self._read_stage(work)
        try:
            await _done(self._stages.observing)
        except BaseException:
            if work.read is not None:
                work.read.asked.cancel()
            raise
        work.judging_before = self._stages.judging
        self._stages.observing = self._watched(self._observe_stage(work))

    async def settle(self) -> None:
        """Returns when no batch is under way; raises what one raised."""
        await _done(self._stages.observing)  # one by one: each stage starts the next
        await _done(self._stages.judging)
        await _done(self._stages.committing)

    def _watched(self, stage: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(stage)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        """A failure while no batch follows must be heard too."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failure(error)

    # The stages, in order. A failure of ours in the first two is for the third to try again, in log order.

    async def _read_stage(self, work: _Work) -> None:
        try:
            reading = await self._read(work.judge, work.batch.records)
            prepared = self._prepare(work.judge, reading, work.batch.spans)
            work.read = _Read(reading, prepared, asyncio.create_task(self._observer.ask(prepared)))
        except Exception as error:  # whatever a record makes our code raise
            self._failed(work, "reading_failed", error)

    async def _observe_stage(self, work: _Work) -> None:
        try:
            work.observed = await self._observed(work)
            work.observed_s = time.perf_counter()
        except BatchDropped:
            self._drop(work.batch)
            return
        except _GIVING_UP:
            raise
        except Exception as error:  # whatever a record makes our code raise
            self._failed(work, "observing_failed", error)
        self._stages.judging = self._watched(self._judge_stage(work))

    async def _judge_stage(self, work: _Work) -> None:
        await _done(work.judging_before)
        try:
            judged = await self._judged(work)
        except BatchDropped:
            self._drop(work.batch)
            return
        if judged.model_faults:
            model = work.judge.in_force.model
            version = None if model is None else model.version
            log.error("model_failed", model=version, payments=dict(judged.model_faults), answered_by="FALLBACK")
        work.judged_s = time.perf_counter()
        work.read = work.observed = None  # its payments need not live until the commit
        metrics.STAGE_SECONDS.labels("judge").observe(work.judged_s - work.started_s)
        is_whole = judged.accounted_for == len(work.batch.records)
        assert is_whole, "every record is a decision, a dead letter or a duplicate"
        outgoing = self._seal([*map(self._letter_of, judged.set_aside_in_log_order), *judged.outgoing])
        marked = self._traces.mark(work.batch, judged, outgoing)
        await _done(self._stages.committing)
        self._stages.committing = self._watched(self._commit_stage(work, judged, outgoing, marked))

    async def _commit_stage(self, work: _Work, judged: Judged, outgoing: list[Outgoing], marked: Marked | None) -> None:
        batch, committing_s = work.batch, time.perf_counter()
        try:
            is_committed = await self._transactions.commit(batch, outgoing)
        finally:
            self._transactions.release()
        if not is_committed:
            _count_dropped(batch)
            return
        done_s = time.perf_counter()
        times = Times(work.started_s, work.observed_s, work.judged_s, committing_s, done_s)
        self._traces.committed(marked, times)
        with within(marked.scope if marked is not None else None):
            metrics.STAGE_SECONDS.labels("commit").observe(done_s - committing_s)
            metrics.count_batch(judged, batch.records, self._clock_ms(), work.judge.in_force.currencies)
            _log_committed(batch, judged)
        rollout = work.judge.rollout
        candidate = None if rollout is None else (rollout.model.version, judged.candidate_answers)
        await self._breaker.record(batch, judged.answers, work.judge.in_force, judged.seconds, candidate)
        await self._release(work.judge, judged)

    async def _release(self, judge: Judge, judged: Judged) -> None:
        """Give back the ids of poison, now that it is committed as such: the same payment may be published again.

        Where that fails, the id stays claimed until a redrive gives it back.
        """
        for record in [each.record for each in judged.set_aside if each.code == RefusalCode.POISON]:
            partition, offset, _ = record.source
            try:
                events = judge.state_events(judge.read([record]), [Span(partition, offset, offset + 1, offset)])
                await self._state.release_claims(events)
            except Exception as error:  # whatever a record makes our code raise
                log.warning("claim_kept", partition=partition, offset=offset, error=type(error).__name__)

    # The work of each stage

    async def _read(self, judge: Judge, records: Sequence[Record]) -> Reading:
        parts, seconds = [], 0.0
        for start in range(0, len(records), SLICE_RECORDS):
            began_s = time.perf_counter()
            parts.append(judge.read(records[start : start + SLICE_RECORDS]))
            seconds += time.perf_counter() - began_s
            await asyncio.sleep(0)  # replies from Redis are taken in here
        return Reading.whole(parts, seconds)

    async def _observed(self, work: _Work) -> _Observed:
        if work.read is None:
            return await self._observed_anew(work, work.whole)
        reading, prepared, asked = work.read
        subject = Subject(work.batch, work.judge, work.batch.spans, prepared)
        observations, modes = await self._observer.observe(subject, self._ahead_of(work), asked)
        self._saw(prepared, observations)
        return _Observed(reading, observations, modes)

    async def _observed_anew(self, work: _Work, part: Part) -> _Observed:
        reading = await self._read(work.judge, part.records)
        return _Observed(reading, *await self._observe(work, part, reading))

    async def _observe(self, work: _Work, part: Part, reading: Reading) -> tuple[Observations, ModesOf | None]:
        prepared = self._prepare(work.judge, reading, part.spans)
        subject = Subject(work.batch, work.judge, part.spans, prepared)
        observations, modes = await self._observer.observe(subject, self._ahead_of(work))
        self._saw(prepared, observations)
        return observations, modes

    def _saw(self, prepared: Prepared, observations: Observations) -> None:
        for share, observation in zip(prepared.batch, observations, strict=True):
            if observation.outcomes_position.size:
                self._outcomes_due.saw(share.partition, int(observation.outcomes_position.max()))

    def _prepare(self, judge: Judge, reading: Reading, spans: Iterable[Span]) -> Prepared:
        due = self._outcomes_due
        shares = judge.state_events(reading, spans)
        return self._state.prepare([share._replace(outcomes_due=due.of(share.partition)) for share in shares])

    def _ahead_of(self, work: _Work) -> Ahead:
        async def settled() -> None:
            await _done(work.judging_before)
            await _done(self._stages.committing)

        def is_judged() -> bool:
            return self._stages.judging is None or self._stages.judging.done()

        return Ahead(settled, is_judged)

    async def _judged(self, work: _Work) -> Judged:
        try:
            if work.observed is not None:
                return await self._judge(work.judge, work.observed)
        except _GIVING_UP:
            raise
        except Exception as error:  # whatever a record makes our code raise
            self._failed(work, "judging_failed", error)
        return await self._judged_in_parts(work)

    async def _judged_in_parts(self, work: _Work) -> Judged:
        judged, bisection, holds = Judged(), Bisection(work.whole, work.failures), 0
        while (attempt := bisection.next) is not None:
            part = attempt.part
            if attempt.is_poison:
                if await self._observer.hold_until_sound(work.batch, partial(self._require_soundness, work, part)):
                    holds += 1
                    if holds > HOLDS_MAX:
                        raise StateGivenUp("all payments failed, again and again")
                    bisection.try_again()
                    continue
                await self._observe(work, part, Reading([], []))  # the state store must know that it was passed
                judged.extend(work.judge.poison(part.records[0], self._clock_ms()))
                bisection.succeeded()
                continue
            try:
                judged.extend(await self._judge(work.judge, await self._observed_anew(work, part)))
                bisection.succeeded()
            except _GIVING_UP:
                raise
            except Exception as error:  # whatever a record makes our code raise
                number = attempt.failures + 1
                if isinstance(error, StateFault):
                    metrics.STATE_FAULTS.inc()
                log.exception("judging_failed", attempt=number, records=len(part.records), error=type(error).__name__)
                bisection.failed()
        return judged

    async def _require_soundness(self, work: _Work, part: Part) -> None:
        """Raise what keeps any payment from its decision: no record of the part is to blame for that.

        The store is asked about nothing, where the part begins: what it says of a partition must be readable.
        """
        nothing = [span._replace(end_offset=span.start_offset) for span in part.spans]
        await self._observe(work, Part([], nothing), Reading([], []))
        await self._probe(work.judge)

    async def _judge(self, judge: Judge, observed: _Observed) -> Judged:
        reading, observations, modes = observed
        if modes is None:
            modes = await self._breaker.modes(judge.in_force, judge.rollout)
        judged, resumed_s = Judged(seconds=reading.seconds), time.perf_counter()
        for part in judge.judge(reading, observations, modes, self._clock_ms()):
            judged.extend(part, keeps_decided=self._traces.is_on)
            judged.seconds += time.perf_counter() - resumed_s
            if len(part.outgoing) >= SLICE_RECORDS:
                await asyncio.sleep(0)  # the next batch's replies from Redis are taken in here
            resumed_s = time.perf_counter()
        return judged

    def _failed(self, work: _Work, event: str, error: Exception) -> None:
        """Called while the error is handled."""
        work.failures += 1
        records = len(work.batch.records)
        if isinstance(error, StateFault):
            metrics.STATE_FAULTS.inc()
        log.exception(event, attempt=work.failures, records=records, error=type(error).__name__)

    def _drop(self, batch: Batch) -> None:
        self._transactions.release()
        _count_dropped(batch)


async def _done(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await task


def _count_dropped(batch: Batch) -> None:
    metrics.BATCHES.labels("dropped").inc()
    log.info("batch_dropped", records=len(batch.records), why="a partition was taken away")


def _log_committed(batch: Batch, judged: Judged) -> None:
    log.info(
        "batch_committed",
        records=len(batch.records),
        dead_letters=sum(judged.dead_letters.values()),
        duplicates=judged.duplicates,
        outcomes={f"{outcome}/{route}": count for (outcome, route), count in judged.outcomes.items()},
        spans={span.partition: [span.start_offset, span.end_offset] for span in batch.spans},
    )
