"""The part of decisions.v1 that a ledger put back from a backup has yet to come to."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord, Record, RecordUndecodable
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import IsAside, LogBatch, PositionMove

CHUNK: Final = 1_000
"""Records of one partition that are read at a time."""
BATCH: Final = 1_000


class PositionAhead(Exception):
    """The ledger has heard records that decisions.v1 does not have; the message says where."""


class Stretch:
    """[starts, ends) of every partition, in the order of the broker's times, as often as it is asked for."""

    def __init__(self, reader: LogReader, wire: WireFormat, topic: str, is_aside: IsAside) -> None:
        self._reader, self._wire, self._topic, self._is_aside = reader, wire, topic, is_aside
        self.ends = {partition: extent.high for partition, extent in reader.extents(topic).items()}

    @property
    def partitions(self) -> list[int]:
        return list(self.ends)

    def records(self, starts: Mapping[int, int]) -> Iterator[LogRecord[DecisionRecord]]:
        """Raises PositionAhead, RecordUndecodable and BrokerFailed."""
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
            read = self._reader.read_range(self._topic, partition, first, end, CHUNK, _itself)
            for record in read.taken:
                if (found := self._decoded(record)) is not None:
                    yield found
            if read.is_at_end:
                return
            first = read.end_offset

    def _decoded(self, record: Record) -> LogRecord[DecisionRecord] | None:
        source, value = record.source, record.value or b""
        content = self._wire.decode_decision_record(record.value)
        if not isinstance(content, Refusal):
            return LogRecord(source.partition, source.offset, source.timestamp_ms, record.key or b"", value, content)
        if self._is_aside(source.partition, source.offset, value):
            return None
        raise RecordUndecodable(f"{self._topic}[{source.partition}] at {source.offset}: {content.code}")


def _batch(records: list[LogRecord[DecisionRecord]], positions: dict[int, int]) -> LogBatch[DecisionRecord]:
    ends = {record.partition: record.offset + 1 for record in records}
    spans = [PositionMove(partition, positions[partition], ends[partition]) for partition in sorted(ends)]
    positions |= ends
    return LogBatch(records, spans)


def _itself(record: Record) -> Record:
    return record
