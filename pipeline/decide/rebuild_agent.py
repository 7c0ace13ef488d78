"""Rebuilding the state store from the log: the log is the truth, Redis is derived from it (DESIGN section 4).

Every partition is read again from the oldest record kept up to what the group has committed, through the same decoding
and the same guardrails, but nothing is decided. What the store still has is skipped there, so a rebuild is safe to
repeat, to interrupt, and to run on several workers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from pipeline.decide import metrics
from pipeline.decide.batch import Judge
from pipeline.domain.log import Record, Span
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context_agent import Context
from pipeline.state.store import RedisState

RECORDS_MAX = 1000

log = structlog.get_logger("rebuild")


class Rebuild:
    def __init__(self, state: RedisState, reader_of: Callable[[], LogReader], context: Context) -> None:
        self._state, self._reader_of, self._context = state, reader_of, context
        self._running = asyncio.Lock()

    async def run(self, judge: Judge, targets: Mapping[int, int]) -> None:
        """Makes the store hold all that lies below the targets (partition → offset); other partitions are rebuilt
        up to what the group committed."""
        async with self._running:
            started = time.monotonic()
            log.warning("state_rebuild_started")
            records = await self._transactions(judge, targets)
            context = await self._context.replay()
            await self._state.mark_ready()
            seconds = round(time.monotonic() - started, 3)
            log.warning("state_rebuild_finished", records=records, context_records=context, seconds=seconds)

    async def _transactions(self, judge: Judge, targets: Mapping[int, int]) -> int:
        reader = self._reader_of()
        count = 0
        try:
            for partition in await reader.partitions():
                target = targets.get(partition)
                if target is None:
                    target = await reader.committed_offset(partition)
                count += await self._partition(judge, reader, partition, target)
        finally:
            reader.close()
        return count

    async def _partition(self, judge: Judge, reader: LogReader, partition: int, target: int | None) -> int:
        oldest, _ = await reader.offsets(partition)
        reached = await self._state.positions(partition)
        start = max(oldest, reached or 0)
        if reached is None or reached < oldest:  # nothing older can be had: what was never seen starts here
            nothing = judge.state_events(judge.read([]), [Span(partition, start, start, start)])
            await self._state.observe(nothing, initial=True)
        if target is None or start >= target:
            return 0
        reader.seek(partition, start)
        count = 0
        while start < target:
            stretch = await reader.read(RECORDS_MAX)
            records = [record for record in stretch.records if record.source.offset < target]
            end = min(stretch.end_offset, target)
            await self._observe(judge, records, Span(partition, start, end, end))
            metrics.REBUILT_RECORDS.inc(len(records))
            count, start = count + len(records), end
        return count

    async def _observe(self, judge: Judge, records: list[Record], span: Span) -> None:
        await self._state.observe(judge.state_events(judge.read(records), [span]), is_rebuild=True)
