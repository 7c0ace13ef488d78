"""Rebuilding the state store from the log: the log is the truth, Redis is derived from it (ADR 0002).

Every partition is read again from the oldest record kept up to what the group has committed, through the same decoding
and the same guardrails, but nothing is decided. What the store still has is skipped there, so a rebuild is safe to
repeat, to interrupt, and to run on several workers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from pipeline.decide import metrics
from pipeline.decide.batch import Judge
from pipeline.domain.log import Record, Span
from pipeline.io.kafka.client import BrokerFailed, TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context_agent import Context
from pipeline.state.store import RedisState

RECORDS_MAX = 1000

log = structlog.get_logger("rebuild")


class Rebuild:
    def __init__(
        self,
        state: RedisState,
        open_reader: Callable[[], LogReader],
        context: Context,
        transactions_topic: str,
        outcomes_topic: str,
    ) -> None:
        """open_reader: of the workers' group."""
        self._state, self._open_reader, self._context, self._topic = state, open_reader, context, transactions_topic
        self._outcomes_topic = outcomes_topic
        self._running = asyncio.Lock()

    async def run(self, judge: Judge, targets: Mapping[int, int]) -> None:
        """Makes the store hold all that lies below the targets (partition → offset); other partitions are rebuilt
        up to what the group committed."""
        async with self._running:
            started = time.monotonic()
            log.warning("state_rebuild_started")
            await self._await_outcomes()
            records = await self._transactions(judge, targets)
            context = await self._context.replay()
            await self._state.mark_ready()
            seconds = round(time.monotonic() - started, 3)
            log.warning("state_rebuild_finished", records=records, context_records=context, seconds=seconds)

    async def _await_outcomes(self) -> None:
        """Make UNKNOWN what outcomes could tell, until the follower has read as many as there are now."""
        with self._open_reader() as reader:
            try:
                extents = await asyncio.to_thread(reader.extents, self._outcomes_topic)
            except TopicMissing as missing:
                log.error("outcomes_missing", topic=missing.topic)
                return
        for partition, extent in extents.items():
            await self._state.await_outcomes(partition, extent.high)

    async def _transactions(self, judge: Judge, targets: Mapping[int, int]) -> int:
        count = 0
        with self._open_reader() as reader:
            extents = await asyncio.to_thread(reader.extents, self._topic)
            # Not of the targets' partitions: this worker may hold a transaction open that has their offsets pending,
            # and the broker answers once nothing is.
            others = [partition for partition in extents if partition not in targets]
            targets = {**await asyncio.to_thread(reader.committed, self._topic, others), **targets}
            for partition, (oldest, _) in extents.items():
                count += await self._partition(judge, reader, partition, oldest, targets.get(partition))
        return count

    async def _partition(self, judge: Judge, reader: LogReader, partition: int, oldest: int, target: int | None) -> int:
        reached = await self._state.positions(partition)
        start = max(oldest, reached or 0)
        if reached is None or reached < oldest:  # nothing older can be had: what was never seen starts here
            nothing = judge.state_events(judge.read([]), [Span(partition, start, start, start)])
            await self._state.observe(nothing, initial=True)
        if target is None or start >= target:
            return 0
        count = 0
        while start < target:
            stretch = await asyncio.to_thread(
                reader.read_range, self._topic, partition, start, target, RECORDS_MAX, _itself
            )
            end = min(stretch.end_offset, target)
            if stretch.is_at_end and end < target:
                raise BrokerFailed(f"{self._topic}[{partition}] ends at {end}, before the {target} that are committed")
            await self._observe(judge, stretch.taken, Span(partition, start, end, end))
            metrics.REBUILT_RECORDS.inc(len(stretch.taken))
            count, start = count + len(stretch.taken), end
        return count

    async def _observe(self, judge: Judge, records: Sequence[Record], span: Span) -> None:
        await self._state.observe(judge.state_events(judge.read(records), [span]), is_rebuild=True)


def _itself(record: Record) -> Record:
    return record
