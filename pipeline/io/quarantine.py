"""Batches that are stored around records which two people have put aside.

A record that can't be stored holds its partition until it was put aside with exactly its bytes. What can be stored is
stored all the same, so putting aside hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from prometheus_client import Counter

from pipeline.domain.log import LogRecord, RecordUndecodable
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import DatabaseRefused

ContentT = TypeVar("ContentT")

FIX: Final = "look at it, and put it aside with `fraud quarantine propose`"
PASSED_OVER: Final = Counter("fraud_quarantined_total", "Records passed over because they were put aside", ["topic"])


def store_around(
    batch: LogBatch[ContentT],
    store: Callable[[LogBatch[ContentT]], None],
    is_aside: Callable[[LogRecord[ContentT]], bool],
    pass_over: Callable[[LogBatch[ContentT]], None],
) -> None:
    """Store a batch; where a record is refused, all before it, and what is behind it if that one was put aside.

    store: stores a batch or raises DatabaseRefused or RecordUndecodable, having stored nothing. pass_over: moves the
    position of a batch of one. Raises what `store` raised about the record that is in the way.
    """
    try:
        store(batch)
    except (DatabaseRefused, RecordUndecodable):
        if len(batch.records) > 1:
            for half in _halves(batch):  # finds the one in as many steps as the size has bits
                store_around(half, store, is_aside, pass_over)
            return
        if not is_aside(batch.records[0]):
            raise
        pass_over(batch)


def _halves(batch: LogBatch[ContentT]) -> tuple[LogBatch[ContentT], LogBatch[ContentT]]:
    """The spans follow: a partition's second half begins where its first one ends."""
    middle = len(batch.records) // 2
    first, second = batch.records[:middle], batch.records[middle:]
    ends = {record.partition: record.offset + 1 for record in first}
    rest = {record.partition for record in second}
    before = [
        PositionMove(partition, begin, ends[partition] if partition in rest else end)
        for partition, begin, end in batch.spans
        if partition in ends
    ]
    after = [
        PositionMove(partition, ends.get(partition, begin), end)
        for partition, begin, end in batch.spans
        if partition in rest or partition not in ends
    ]
    return LogBatch(first, before), LogBatch(second, after)
