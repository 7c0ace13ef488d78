"""Observing one partition's past again: reading, decoding and Redis' counting go on side by side.

Two workers may do the same partition; what one has observed, the other passes over.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import structlog

from pipeline.decide import metrics
from pipeline.decide.batch import SLICE_RECORDS, Judge, Reading
from pipeline.decide.rebuilding.past_topics import PastDecision, PastDecisions, counted_as_then, readable
from pipeline.decide.rebuilding.progress import Progress
from pipeline.decide.rebuilding.undecided_topics import UndecidedPayments
from pipeline.domain.log import Record, Span
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.state.store import Prepared, RedisState, StateUnavailable
from pipeline.state.windows import PartitionEvents, StateLost, since_of

RECORDS_MAX: Final = 1_000
UNDER_WAY_MAX: Final = 2
"""Batches of one partition that Redis has at hand: it counts one while the next is decoded."""
AWAY_PAUSE_S: Final = 0.5
RESTARTS_MAX: Final = 5
"""Most times in a row that a partition is begun again without getting on."""
LEASE_MS: Final = 10_000
"""Time after which another worker takes a partition up that this one no longer gets on with."""
LEASE_RENEWED_S: Final = LEASE_MS / 4 / 1000
"""Time after which a partition that gets on renews its lease. After every stretch, the two round trips would wait
behind what other partitions have at hand, and Redis would count nothing for this one meanwhile."""

log = structlog.get_logger("rebuild")


class Topics(NamedTuple):
    """Names of the topics, with their prefix."""

    transactions: str
    decisions: str
    outcomes: str
    dead_letters: str


class Sources(NamedTuple):
    """What the past is read from."""

    open_reader: Callable[[], LogReader]
    wire: WireFormat
    topics: Topics
    decisions: Mapping[int, Extent]  # of the partitions of decisions.v1


class _Stretch(NamedTuple):
    records: Sequence[Record]
    span: Span
    past: Mapping[int, PastDecision]
    first_decided: int | None  # the first payment of which the decision is kept


class PartitionRebuild:
    """Observes one partition from where its state ends to its target."""

    def __init__(
        self,
        state: RedisState,
        judge: Judge,
        sources: Sources,
        progress: Progress,
        *,
        partition: int,
        holder: str,
        patience_s: float,
    ) -> None:
        """holder: the name that leases of this worker have; it has just taken the partition's.

        patience_s: time to wait for a state store that is away.
        """
        self._state, self._judge, self._sources, self._progress = state, judge, sources, progress
        self._partition, self._holder, self._patience_s = partition, holder, patience_s
        self._leased_s = time.monotonic()
        self._undecided: frozenset[int] = frozenset()  # before the first decision that is kept

    async def run(self, oldest: int, target: int) -> None:
        """Observe all below the target. Raises StateLost, StateUnavailable or BrokerFailed."""
        with ExitStack() as opened:
            payments = opened.enter_context(self._sources.open_reader())
            past = self._past_decisions()
            if past is not None:
                opened.callback(past.close)
            at = await self._begun(payments, oldest)
            if at < target:
                self._undecided = await asyncio.to_thread(self._undecided_from, payments, past, at)
            restarts, away_since_s = 0, time.monotonic()
            while at < target:
                began_at = at
                try:
                    await self._observe_on(payments, past, at, target)
                except StateUnavailable:
                    if time.monotonic() - away_since_s > self._patience_s:
                        raise
                    await asyncio.sleep(AWAY_PAUSE_S)
                except StateLost:
                    restarts += 1
                    if restarts > RESTARTS_MAX:
                        raise
                at = await self._reached(began_at)
                if at > began_at:
                    restarts, away_since_s = 0, time.monotonic()

    def _past_decisions(self) -> PastDecisions | None:
        open_reader, wire, topics, extents = self._sources
        extent = extents.get(self._partition)
        if extent is None or extent.low == extent.high:
            return None
        return PastDecisions(open_reader, wire, topics.decisions, self._partition, extent.high)

    def _undecided_from(self, reader: LogReader, past: PastDecisions | None, start: int) -> frozenset[int]:
        """Return the payments from `start` on that were set aside before the first decision that is kept."""
        if past is not None:
            past.begin(start)
        first = None if past is None else past.first
        if first is not None and first <= start:
            return frozenset()
        _, wire, topics, _ = self._sources
        return UndecidedPayments(wire, topics.transactions, topics.dead_letters).below(reader, self._partition, first)

    async def _begun(self, payments: LogReader, oldest: int) -> int:
        """Return where to go on; what was never seen begins with the oldest record."""
        reached = await self._state.positions(self._partition)
        if reached is not None and reached >= oldest:
            return reached
        since_ms = None
        if oldest > 0:
            found = await asyncio.to_thread(
                payments.read_range, self._sources.topics.transactions, self._partition, oldest, None, 1, _itself
            )
            oldest_ms = found.taken[0].source.timestamp_ms if found.taken else None
            since_ms = since_of(oldest_ms, time.time_ns() // 1_000_000)
            log.warning("log_begins_late", partition=self._partition, offset=oldest, since_ms=since_ms)
        await self._state.begin(self._partition, oldest, since_ms)
        return max(oldest, reached or 0)

    async def _reached(self, before: int) -> int:
        """Return how far the state reaches; raise StateLost where that is less than it was."""
        deadline_s = time.monotonic() + self._patience_s
        while True:
            try:
                reached = await self._state.positions(self._partition)
                break
            except StateUnavailable:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(AWAY_PAUSE_S)
        if reached is None or reached < before:
            raise StateLost(self._partition, reached)
        return reached

    async def _observe_on(self, payments: LogReader, past: PastDecisions | None, start: int, target: int) -> None:
        """Observe to the target, with the next stretch read and decoded while Redis counts."""
        under_way: deque[asyncio.Task[None]] = deque()
        is_first = True
        reading = asyncio.create_task(asyncio.to_thread(self._read, payments, past, start, target, is_first))
        try:
            while start < target:
                stretch = await reading
                start = stretch.span.end_offset
                if start < target:
                    reading = asyncio.create_task(asyncio.to_thread(self._read, payments, past, start, target, False))
                prepared = self._state.prepare(await self._events(stretch), is_rebuild=True, is_silent=True)
                if len(under_way) == UNDER_WAY_MAX:
                    await under_way.popleft()
                under_way.append(asyncio.create_task(self._observe(prepared, stretch)))
            while under_way:
                await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(reading, *under_way, return_exceptions=True)

    def _read(
        self, payments: LogReader, past: PastDecisions | None, start: int, target: int, is_first: bool
    ) -> _Stretch:
        """Read the next payments and what was decided about them; in a thread."""
        topic, partition = self._sources.topics.transactions, self._partition
        found = payments.read_range(topic, partition, start, target, RECORDS_MAX, _itself)
        end = min(found.end_offset, target)
        if found.is_at_end and end < target:
            raise BrokerFailed(f"{topic}[{partition}] ends at {end}, before the {target} that are committed")
        if past is not None and is_first and found.taken:
            past.begin(start)
        decided = {} if past is None else past.below(end)
        records = readable(found.taken, decided)
        return _Stretch(records, Span(partition, start, end, end), decided, None if past is None else past.first)

    async def _events(self, stretch: _Stretch) -> list[PartitionEvents]:
        parts = []
        for first in range(0, len(stretch.records), SLICE_RECORDS):
            parts.append(self._reading(stretch.records[first : first + SLICE_RECORDS], stretch.past))
            await asyncio.sleep(0)  # whoever decides meanwhile has his turn here
        reading = counted_as_then(Reading.whole(parts), stretch.past, stretch.first_decided, self._undecided)
        return self._judge.state_events(reading, [stretch.span])

    def _reading(self, records: Sequence[Record], past: Mapping[int, PastDecision]) -> Reading:
        """Read records, but for those that our code fails on: they were set aside as poison, and never counted.

        One that was decided then is another matter, and fails.
        """
        try:
            return self._judge.read(records)
        except Exception:  # whatever a record makes our code raise
            if len(records) > 1:
                return Reading.whole([self._reading([record], past) for record in records])
            partition, offset, _ = records[0].source
            if offset in past:
                raise
            log.exception("poison_passed_over", partition=partition, offset=offset)
            return Reading([], [])

    async def _observe(self, prepared: Prepared, stretch: _Stretch) -> None:
        await self._state.observe_prepared(prepared)
        records = len(stretch.records)
        metrics.REBUILT_RECORDS.inc(records)
        now_s = time.monotonic()
        self._progress.advance(self._partition, stretch.span.end_offset, records, now_s)
        if now_s - self._leased_s >= LEASE_RENEWED_S:
            self._leased_s = now_s
            await self._state.take_lease(self._partition, self._holder, LEASE_MS)


def _itself(record: Record) -> Record:
    return record
