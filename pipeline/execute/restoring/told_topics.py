"""The end of executions.v1: what the executors of this ledger told last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog

from pipeline.domain.execution import Execution
from pipeline.domain.log import Record
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader

TAIL_RECORDS: Final = 1_000
"""Offsets at the end of each partition: several batches of several executors."""

log = structlog.get_logger("executor")


class Told:
    def __init__(self, reader: LogReader, wire: WireFormat, topic: str) -> None:
        self._reader, self._wire, self._topic = reader, wire, topic

    def latest(self) -> Iterator[Execution]:
        """The last of every partition. Raises BrokerFailed."""
        for partition, (low, high) in self._reader.extents(self._topic).items():
            first = max(low, high - TAIL_RECORDS)
            if first < high:
                yield from self._read(partition, first)

    def close(self) -> None:
        self._reader.close()

    def _read(self, partition: int, first: int) -> Iterator[Execution]:
        read = self._reader.read_range(self._topic, partition, first, None, TAIL_RECORDS, _itself)
        for record in read.taken:
            content = self._wire.decode_execution(record.value)
            if isinstance(content, Execution):
                yield content
            else:  # no executor of ours wrote it, so it says nothing about the ledger
                log.error("told_undecodable", partition=partition, offset=record.source.offset)


def _itself(record: Record) -> Record:
    return record
