"""The part of decisions.v1 that a ledger put back from a backup has yet to come to.

What an executor would pass over is passed over here, before anybody looks at it: what nobody proves to have written,
what the audit log holds as put aside, and what two people put aside because nothing can use it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord, Presented, Prove, RecordUndecodable, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.execute.orders import said
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import IsAside, LogBatch, PositionMove

CHUNK: Final = 1_000
"""Records of one partition that are read at a time."""
BATCH: Final = 1_000


class PositionAhead(Exception):
    """The ledger has heard records that decisions.v1 does not have; the message says where."""


class PassingOver(NamedTuple):
    """Who says which records are passed over, asked in this order."""

    prove: Prove
    note: Callable[[Sequence[Unproved]], None]
    """Keeps and tells what isn't proved."""
    by_audit: Callable[[Sequence[PositionMove]], set[tuple[int, int]]]
    """The places, within stretches, that the audit log holds as put aside. Raises where it has not come so far."""
    by_people: IsAside


class Stretch:
    """[starts, ends) of every partition, in the order of the broker's times, as often as it is asked for."""

    def __init__(self, reader: LogReader, wire: WireFormat, topic: str, passing_over: PassingOver) -> None:
        self._reader, self._wire, self._topic, self._passing_over = reader, wire, topic, passing_over
        self.ends = {partition: extent.high for partition, extent in reader.extents(topic).items()}

    @property
    def partitions(self) -> list[int]:
        return list(self.ends)

    def records(self, starts: Mapping[int, int]) -> Iterator[LogRecord[DecisionRecord]]:
        """Raises PositionAhead, RecordUndecodable, BrokerFailed, and what `passing_over` raises."""
        for partition, end in self.ends.items():
            if starts[partition] > end:
                where = f"{self._topic}[{partition}]"
                raise PositionAhead(f"the ledger has heard {where} to {starts[partition]}, and it ends at {end}")
        parts = [self._partition(partition, starts[partition]) for partition in self.ends]
        return heapq.merge(*parts, key=lambda record: record.timestamp_ms)

    def batches(self, starts: Mapping[int, int]) -> Iterator[LogBatch[DecisionRecord]]:
        """Batches in which every decision is spoken of once at most, so that each record meets the rail's answer to the
        one before it."""
        positions = dict(starts)
        batch: list[LogRecord[DecisionRecord]] = []
        decisions: set[str] = set()
        for record in self.records(starts):
            if record.content.decision_id in decisions or len(batch) == BATCH:
                yield _batch(batch, positions)
                batch, decisions = [], set()
            batch.append(record)
            decisions.add(record.content.decision_id)
        if batch:
            yield _batch(batch, positions)

    def _partition(self, partition: int, first: int) -> Iterator[LogRecord[DecisionRecord]]:
        end = self.ends[partition]
        while first < end:
            read = self._reader.presented_range(self._topic, partition, first, end, CHUNK)
            yield from self._heard(partition, first, read.taken)
            if read.is_at_end:
                return
            first = read.end_offset

    def _heard(self, partition: int, first: int, records: Sequence[Presented]) -> Iterator[LogRecord[DecisionRecord]]:
        """The records that an executor would hear."""
        if not records:
            return
        unproved = [found for record in records if (found := self._passing_over.prove(record)) is not None]
        self._passing_over.note(unproved)
        passed_over = {(each.partition, each.offset) for each in unproved}
        passed_over |= self._passing_over.by_audit([PositionMove(partition, first, records[-1].offset + 1)])
        for record in records:
            if (partition, record.offset) not in passed_over and (heard := self._decoded(record)) is not None:
                yield heard

    def _decoded(self, record: Presented) -> LogRecord[DecisionRecord] | None:
        """None where nothing can use the record, and people have put it aside."""
        try:
            return self._usable(record)
        except RecordUndecodable:
            if self._passing_over.by_people(record.partition, record.offset, record.value):
                return None
            raise

    def _usable(self, record: Presented) -> LogRecord[DecisionRecord]:
        content = self._wire.decode_decision_record(record.value)
        if isinstance(content, Refusal):
            raise RecordUndecodable(f"{self._topic}[{record.partition}] at {record.offset}: {content.code}")
        where = record.partition, record.offset, record.timestamp_ms
        found = LogRecord(*where, record.key or b"", record.value, content)
        said(found)
        return found


def _batch(records: list[LogRecord[DecisionRecord]], positions: dict[int, int]) -> LogBatch[DecisionRecord]:
    ends = {record.partition: record.offset + 1 for record in records}
    spans = [PositionMove(partition, positions[partition], ends[partition]) for partition in sorted(ends)]
    positions |= ends
    return LogBatch(records, spans)
