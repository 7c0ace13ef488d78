"""Labels that overtook their payments: each is looked at again until its payment was observed, or can't come any more.

Labels are read beside payments, and may be ahead of them by as much as payments wait. A rebuild observes payments
first. So that both give the same, a label that finds no payment waits until its account's partition was observed as far
as it reached when the label was first looked at, open transactions included. Only then it is a dead letter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple
from uuid import uuid4

import structlog

from pipeline.domain.context import Label
from pipeline.domain.log import Record
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context.context_agent import PAYMENTS, UNMATCHED, Context
from pipeline.state.context.context_store import LABELS, WaitingLabel
from pipeline.state.store import LOG_KEPT_MS, RedisState

LEASE_MS: Final = 30_000
STEPS_MAX: Final = 1024
"""Steps of one look at a shard's labels, so that a hash that is written meanwhile doesn't keep it for ever."""

log = structlog.get_logger("labels")


class _Due(NamedTuple):
    """The place in the payments' log that must have been observed before a label's wait is over."""

    partition: int
    offset: int


class WaitingLabels:
    def __init__(
        self,
        state: RedisState,
        context: Context,
        open_reader: Callable[[], LogReader],
        full_name: Callable[[str], str],
        partition_of: Callable[[bytes], int],
    ) -> None:
        """partition_of: gives the partition of an account's payments."""
        self._state, self._context, self._open_reader = state, context, open_reader
        self._payments, self._partition_of = full_name(PAYMENTS), partition_of
        self._holder = uuid4().hex
        self._due: dict[str, _Due] = {}  # by the label's name
        self._reader: LogReader | None = None  # while labels wait
        self._looking, self._is_closed = asyncio.Lock(), False

    async def look(self) -> None:
        """Look at all labels that wait, if no other worker does. Raises StateUnavailable or BrokerFailed."""
        async with self._looking:
            if not self._is_closed:
                await self._look()

    async def close(self) -> None:
        """Look no more."""
        async with self._looking:
            self._is_closed = True
            await self._forget()

    async def _look(self) -> None:
        counts = await self._state.count_waiting()
        if not any(counts):
            await self._forget()
            return
        if not await self._state.take_labels_lease(self._holder, LEASE_MS):
            return
        reader = self._reader = self._reader or self._open_reader()
        ends = await asyncio.to_thread(reader.uncommitted_ends, self._payments)
        for shard in range(len(counts)):
            await self._look_at_shard(shard, reader, ends)

    async def _forget(self) -> None:
        self._due.clear()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await asyncio.to_thread(reader.close)

    async def _look_at_shard(self, shard: int, reader: LogReader, ends: Mapping[int, int]) -> None:
        cursor = 0
        for _ in range(STEPS_MAX):
            cursor, found = await self._state.waiting_labels(shard, cursor)
            labels = {name: self._label_of(waiting) for name, waiting in found.items()}
            for name, label in labels.items():
                partition = self._partition_of(label.account_id.encode())
                self._due.setdefault(name, _Due(partition, ends[partition]))
            passed = await self._passed(reader, {self._due[name] for name in labels})
            for name, label in labels.items():
                await self._look_at(shard, name, found[name], label, self._due[name] in passed)
            if cursor == 0:
                return

    async def _look_at(self, shard: int, name: str, waiting: WaitingLabel, label: Label, is_passed: bool) -> None:
        """Look for the payment, after it was found out how far payments were observed."""
        is_marked = await self._state.label(label)
        is_old = time.time_ns() // 1_000_000 - waiting.since_ms > LOG_KEPT_MS
        if not (is_marked or is_passed or is_old):
            return
        if not is_marked:
            await self._context.tell_of_label(waiting.record, UNMATCHED)
        await self._state.end_waiting(shard, name, is_told=not is_marked)
        self._due.pop(name, None)
        log.info("label_waited", label=name, is_marked=is_marked)

    async def _passed(self, reader: LogReader, dues: Iterable[_Due]) -> set[_Due]:
        """Return which places were observed, so that no payment before them is still to come."""
        wanted = set(dues)
        survey = await self._state.survey(sorted({due.partition for due in wanted}))
        passed: set[_Due] = set()
        for due in wanted:
            reached = survey.reached(due.partition) or 0
            if reached >= due.offset or await asyncio.to_thread(self._is_empty, reader, due, reached):
                passed.add(due)
        return passed

    def _is_empty(self, reader: LogReader, due: _Due, start: int) -> bool:
        """Whether no payment stands between; commit markers do, and open transactions may."""
        low, high = reader.extents(self._payments, [due.partition])[due.partition]
        if high < due.offset:
            return False
        found = reader.read_range(self._payments, due.partition, max(start, low), due.offset, 1, _itself)
        return not found.taken

    def _label_of(self, waiting: WaitingLabel) -> Label:
        content = self._context.content_of(LABELS, waiting.record)
        assert isinstance(content, Label), "it was one when it began to wait"
        return content


def _itself(record: Record) -> Record:
    return record
