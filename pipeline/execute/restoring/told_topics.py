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
TAIL_RECORDS_MAX: Final = 64_000
"""Offsets that are looked through at most, further back each time, where nobody of ours has told anything at the end:
whoever may write there could fill it. They take some seconds."""

log = structlog.get_logger("executor")


class Told:
    def __init__(self, reader: LogReader, wire: WireFormat, topic: str) -> None:
        """reader: passes over what is not proved to be an executor's, where executors seal what they tell."""
        self._reader, self._wire, self._topic = reader, wire, topic

    def latest(self) -> Iterator[Execution]:
        """The last of every partition. Raises BrokerFailed."""
        for partition, (low, high) in self._reader.extents(self._topic).items():
            yield from self._last(partition, low, high)

    def close(self) -> None:
        self._reader.close()

    def _last(self, partition: int, low: int, high: int) -> list[Execution]:
        end = high
        while low < end and high - end < TAIL_RECORDS_MAX:
            first = max(low, end - max(TAIL_RECORDS, high - end))  # as many again as were in vain
            found = self._read(partition, first, end)
            if found:
                return found
            end = first
        return []

    def _read(self, partition: int, first: int, end: int) -> list[Execution]:
        read = self._reader.read_range(self._topic, partition, first, end, end - first, _itself)
        contents = [(record.source.offset, self._wire.decode_execution(record.value)) for record in read.taken]
        strange = [offset for offset, content in contents if not isinstance(content, Execution)]
        if strange:  # no executor of ours wrote them, so they say nothing about the ledger
            log.error("told_undecodable", partition=partition, offset=strange[0], records=len(strange))
        return [content for _, content in contents if isinstance(content, Execution)]


def _itself(record: Record) -> Record:
    return record
