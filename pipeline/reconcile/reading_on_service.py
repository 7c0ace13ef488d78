"""A topic that is read on, some records of each partition at a time. How far stands in the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pipeline.domain.log import Record
from pipeline.io.kafka.client import TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Positions, failures_named

RECORDS_A_TURN: Final = 1_000
"""Of one partition."""


class Stretch(NamedTuple):
    """What has come of a partition. end: the offset behind it."""

    partition: int
    records: Sequence[Record]
    end: int


class ReadOn:
    """For one thread. Raises what the adapters raise."""

    def __init__(self, reader: LogReader, topic: str, consumer: str) -> None:
        self._reader, self._topic = reader, topic
        self._positions = Positions(consumer, topic)
        self._next: dict[int, int] = {}
        self.is_behind = False

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._next = {}

    def stretches(self, connection: Connection) -> Iterator[Stretch]:
        """Yield what has come, RECORDS_A_TURN of each partition at most; nothing where there is no such topic."""
        self.is_behind = False
        try:
            extents = self._reader.extents(self._topic)
        except TopicMissing:
            return
        if self._next.keys() != extents.keys():
            with failures_named():
                self._next = self._positions.read(connection, extents)
        for partition, extent in extents.items():
            start = max(self._next[partition], extent.low)
            if start >= extent.high:
                continue
            read = self._reader.read_range(self._topic, partition, start, None, RECORDS_A_TURN, _itself)
            self.is_behind |= not read.is_at_end
            yield Stretch(partition, read.taken, read.end_offset)

    def advance(self, connection: Connection, partition: int, end: int) -> None:
        """Move the stored position on, in the transaction that stores what was read; once that holds, say `moved`."""
        self._positions.advance(connection, partition, self._next[partition], end)

    def moved(self, partition: int, end: int) -> None:
        self._next[partition] = end


def _itself(record: Record) -> Record:
    return record
