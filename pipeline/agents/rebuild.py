"""Rebuilding the state store from the log: the log is the truth, Redis is derived from it (DESIGN section 4).

Every partition is read again from the oldest record kept up to what the group has committed, through the same decoding
and the same guardrails, but nothing is decided. What the store still has is skipped there, so a rebuild is safe to
repeat, to interrupt, and to run on several workers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from pipeline.adapters import metrics
from pipeline.adapters.kafka import LogReader, Record, Span
from pipeline.adapters.state import RedisState
from pipeline.agents.context import Context
from pipeline.agents.judge import Judge

RECORDS_MAX = 1000

log = structlog.get_logger("rebuild")


class Rebuild:
    def __init__(self, state: RedisState, transactions: LogReader, context: Context) -> None:
        self._state, self._transactions, self._context = state, transactions, context
        self._running = asyncio.Lock()

    async def run(self, judge: Judge, targets: Mapping[int, int]) -> None:
        """Makes the store hold all that lies below the targets (partition → offset); other partitions are rebuilt
        up to what the group committed."""
        async with self._running:
            started = time.monotonic()
            log.warning("state_rebuild_started")
            records = 0
            for partition in await self._transactions.partitions():
                target = targets.get(partition)
                if target is None:
                    target = await self._transactions.committed_offset(partition)
                records += await self._partition(judge, partition, target)
            context = await self._context.replay()
            await self._state.mark_ready()
            seconds = round(time.monotonic() - started, 3)
            log.warning("state_rebuild_finished", records=records, context_records=context, seconds=seconds)

    async def _partition(self, judge: Judge, partition: int, target: int | None) -> int:
        oldest = await self._transactions.oldest_offset(partition)
        reached = await self._state.positions(partition)
        start = max(oldest, reached or 0)
        await self._observe(judge, [], Span(partition, start, start, start))
        if target is None or start >= target:
            return 0
        self._transactions.seek(partition, start)
        count = 0
        while start < target:
            records = [r for r in await self._transactions.read(RECORDS_MAX) if r.source.offset < target]
            end = records[-1].source.offset + 1 if records else target
            await self._observe(judge, records, Span(partition, start, end, end))
            metrics.REBUILT_RECORDS.inc(len(records))
            count, start = count + len(records), end
        return count

    async def _observe(self, judge: Judge, records: list[Record], span: Span) -> None:
        await self._state.observe(judge.state_events(judge.read(records), [span]), initial=True)
