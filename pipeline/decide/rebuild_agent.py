"""Rebuilding the state store from the log: the log is the truth, Redis is derived from it (ADR 0002, ADR 0014).

Every partition that the state lacks something of is read again, from where the state ends or the oldest record that is
kept, up to what was decided. Nothing is decided on the way. Several partitions are read at once; workers share them by
leases, each its own first. What the store still has is skipped there, so a rebuild is safe to repeat, to interrupt, and
to run on several workers at once.

What partitions share must be whole before anybody decides, because a missing payment makes a beneficiary look quieter
than it is (I4). Where only accounts of some partitions are lost, as with a master of a cluster, the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final
from uuid import uuid4

import structlog

from pipeline.decide.batch import Judge
from pipeline.decide.rebuilding.partition_agent import LEASE_MS, PartitionRebuild, Sources, Topics
from pipeline.decide.rebuilding.plan import Plan, plan
from pipeline.decide.rebuilding.progress import Progress
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import TopicMissing
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.state.context.context_agent import Context, reading
from pipeline.state.shape import require_same
from pipeline.state.store import RedisState, StateAhead

PARTITIONS_AT_ONCE: Final = 3
"""Enough that Redis always has a batch at hand; more would only let batches of deciding partitions wait behind them."""
TOLD_INTERVAL_S: Final = 10.0
SHARED_PAUSE_S: Final = 0.5
"""Pause before a look at partitions that other workers rebuild."""

log = structlog.get_logger("rebuild")


class Rebuild:
    def __init__(
        self,
        state: RedisState,
        open_reader: Callable[[], LogReader],
        wire: WireFormat,
        context: Context,
        topics: Topics,
        *,
        partitioner: Partitioner,
        assigned: Callable[[], Collection[int]],
        decided: Callable[[Mapping[int, int | None]], Mapping[int, int]],
        patience_s: float,
    ) -> None:
        """open_reader: of the workers' group. assigned: the partitions that this worker decides.

        decided: says how far partitions were decided, by what the group committed (None for nothing). It blocks.
        """
        self._decided = decided
        self._state, self._open_reader, self._wire, self._context = state, open_reader, wire, context
        self._topics, self._assigned, self._patience_s = topics, assigned, patience_s
        self._partitioner = partitioner
        self._running = asyncio.Lock()
        self._holder = uuid4().hex
        self._progress: Progress | None = None

    def summary(self) -> dict[str, object] | None:
        """Return the progress of the rebuild under way; None where none is."""
        return None if self._progress is None else self._progress.summary(time.monotonic())

    async def reaches(self, targets: Mapping[int, int]) -> bool:
        """Return whether nothing is lost after all: a batch may only have come before the one ahead of it."""
        survey = await self._state.survey(list(targets))
        found = plan(survey, targets, targets)
        return not found.partitions and not found.is_shared_lost

    async def is_shared_whole(self, targets: Mapping[int, int]) -> bool:
        """Return whether only accounts of the targets' partitions are missing, so that other partitions may go on."""
        with self._open_reader() as reader:
            everywhere = await self._targets(reader, await self._extents(reader), targets)
        survey = await self._state.survey(list(everywhere))
        return not plan(survey, everywhere, targets).is_shared_lost

    async def compare_context(self) -> None:
        """Take in the context that the log has and the state lacks.

        Raises StateAhead where the state has more of the payments than the log, StateUnavailable or BrokerFailed.
        """
        survey = await self._state.survey(await self._state.partitions())
        async with reading(self._open_reader) as reader:  # after the survey, as the log goes on
            ends = await asyncio.to_thread(reader.uncommitted_ends, self._topics.transactions)
        if ahead := survey.ahead_of(ends):
            raise StateAhead(ahead, ends)
        await self._context.compare()

    async def run(self, judge: Judge, targets: Mapping[int, int]) -> None:
        """Make the store hold all below the targets (partition → offset), and below what was decided elsewhere.

        Raises StateLost, StateUnavailable or BrokerFailed.
        """
        async with self._running:
            progress = self._progress = Progress(time.monotonic())
            telling = asyncio.create_task(_tell(progress))
            try:
                context, level = await self._run(judge, targets, progress)
            finally:
                telling.cancel()
                self._progress = None
            seconds = round(time.monotonic() - progress.started_s, 3)
            counts = {"records": progress.records, "context_records": context}
            log.log(level, "state_rebuild_finished", **counts, seconds=seconds)

    async def _run(self, judge: Judge, awaited: Mapping[int, int], progress: Progress) -> tuple[int, int]:
        """Return how many context records were replayed, and the level at which this rebuild is told."""
        with self._open_reader() as reader:
            extents = await self._extents(reader)
            await require_shape(self._state, self._topics.transactions, Partitioning(self._partitioner, len(extents)))
            targets = await self._targets(reader, extents, awaited)
            decisions = await asyncio.to_thread(reader.extents, self._topics.decisions)
        if len(decisions) != len(extents):
            log.error("decisions_not_beside_payments", decisions=len(decisions), transactions=len(extents))
            decisions = {}
        own = {*awaited, *self._assigned()}
        survey = await self._state.survey(list(targets))
        found = plan(survey, targets, own)
        if found.is_shared_lost:
            await self._state.mark_lost()
        await self._await_outcomes(extents, found.partitions)
        for partition in found.partitions:
            reached = survey.reached(partition)
            progress.plan(partition, max(extents[partition].low, reached or 0), targets[partition])
        level = _level({each: targets[each] - extent.low for each, extent in extents.items()})
        log.log(level, "state_rebuild_started", awaited=sorted(awaited), records_left=progress.remaining)
        sources = Sources(self._open_reader, self._wire, self._topics, decisions)
        await self._partitions(judge, found, sources, extents, targets, progress)
        if not found.is_shared_lost:
            return 0, level
        context = await self._context.replay()
        await self._state.mark_ready([], is_shared=True)
        return context, level

    async def _await_outcomes(self, partitions: Collection[int], lost: Collection[int]) -> None:
        """Make UNKNOWN what outcomes could tell, until as many are taken in as there are now.

        That holds for all partitions: where no payment came between a snapshot and the loss, outcomes may have. Where
        all that was ever told can be read, what is lost begins again with the first outcome, so that every decision
        says which ones it had.
        """
        with self._open_reader() as reader:
            try:
                extents = await asyncio.to_thread(reader.extents, self._topics.outcomes)
            except TopicMissing as missing:
                log.error("outcomes_missing", topic=missing.topic)
                return
        for partition in set(partitions) & set(extents):
            await self._state.await_outcomes(partition, extents[partition].high)
            if partition in lost and extents[partition].low == 0:
                await self._state.apply_outcomes(partition, 0, 0, ())

    async def _partitions(
        self,
        judge: Judge,
        found: Plan,
        sources: Sources,
        extents: Mapping[int, Extent],
        targets: Mapping[int, int],
        progress: Progress,
    ) -> None:
        """Rebuild the plan's partitions, several at once; wait for those that another worker has taken."""
        waiting = list(found.partitions)
        running: set[asyncio.Task[None]] = set()

        async def rebuild(partition: int) -> None:
            work = PartitionRebuild(
                self._state,
                judge,
                sources,
                progress,
                partition=partition,
                holder=self._holder,
                patience_s=self._patience_s,
            )
            await work.run(extents[partition].low, targets[partition])
            await self._state.mark_ready([partition], is_shared=False)
            await self._state.release_lease(partition)
            level = _level({partition: targets[partition] - extents[partition].low})
            log.log(level, "partition_rebuilt", partition=partition, **progress.summary(time.monotonic()))

        try:
            while waiting or running:
                for partition in await self._free(waiting, PARTITIONS_AT_ONCE - len(running)):
                    waiting.remove(partition)
                    running.add(asyncio.create_task(rebuild(partition)))
                if not running:
                    await asyncio.sleep(SHARED_PAUSE_S)
                    waiting = await self._still_lacking(waiting, targets, progress)
                    continue
                done, running = await asyncio.wait(running, timeout=SHARED_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _free(self, waiting: list[int], most: int) -> list[int]:
        """Return partitions that no other worker rebuilds, leased to this one."""
        free: list[int] = []
        for partition in waiting:
            if len(free) < most and await self._state.take_lease(partition, self._holder, LEASE_MS):
                free.append(partition)
        return free

    async def _still_lacking(self, waiting: list[int], targets: Mapping[int, int], progress: Progress) -> list[int]:
        """Return which of the partitions others have not finished yet."""
        wanted = {partition: targets[partition] for partition in waiting}
        survey = await self._state.survey(waiting)
        for partition in waiting:
            progress.advance(partition, survey.reached(partition) or 0, 0, time.monotonic())
        return list(plan(survey, wanted, wanted).partitions)

    async def _extents(self, reader: LogReader) -> dict[int, Extent]:
        return await asyncio.to_thread(reader.extents, self._topics.transactions)

    async def _targets(
        self, reader: LogReader, extents: Mapping[int, Extent], awaited: Mapping[int, int]
    ) -> dict[int, int]:
        """Return how far each partition was decided."""
        # The awaited ones aren't asked about: this worker may hold a transaction open that has their offsets pending,
        # and the broker answers once nothing is.
        others = [partition for partition in extents if partition not in awaited]
        committed = await asyncio.to_thread(reader.committed, self._topics.transactions, others)
        decided = await asyncio.to_thread(self._decided, {each: committed.get(each) for each in others})
        return {partition: awaited[partition] if partition in awaited else decided[partition] for partition in extents}


async def require_shape(state: RedisState, topic: str, spread: Partitioning) -> None:
    """Raise ShapeChanged where the state was built with another shape; record this one where the state begins.

    topic: transactions.v1 with its prefix. spread: how accounts are spread over it.
    """
    here = state.shape(topic, spread.partitions, spread.partitioner.value)
    require_same(await state.hold_shape(here), here)


def _level(decided: Mapping[int, int]) -> int:
    """Where nothing was decided yet, as at a first start, nothing was lost either, and that is no warning."""
    return logging.WARNING if any(decided.values()) else logging.INFO


async def _tell(progress: Progress) -> None:
    while True:
        await asyncio.sleep(TOLD_INTERVAL_S)
        log.warning("state_rebuild_progress", **progress.summary(time.monotonic()))
