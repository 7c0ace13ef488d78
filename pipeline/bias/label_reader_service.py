"""labels.v1 for the monitor: what has come, and how far it was read."""

from __future__ import annotations

from typing import Final

from pipeline.bias.monitor_store import Told
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Positions, failures_named

RECORDS_A_TURN: Final = 1_000
"""Of one partition."""


class LabelReader:
    """For one thread. Raises what the adapters raise."""

    def __init__(self, reader: LogReader, wire: WireFormat, positions: Positions) -> None:
        self._reader, self._wire, self._positions = reader, wire, positions
        self._stored: dict[int, int] = {}
        self._next: dict[int, int] = {}

    def forget(self) -> None:
        """Go on from what is stored."""
        self._stored, self._next = {}, {}

    def read(self, connection: Connection) -> tuple[list[Told], bool]:
        """Return what labels say that have come, and whether more wait to be read."""
        try:
            extents = self._reader.extents(self._positions.topic)
        except TopicMissing:  # nobody publishes labels here
            return [], False
        if self._next.keys() != extents.keys():
            with failures_named():
                self._stored = self._positions.read(connection, extents)
            self._next = dict(self._stored)
        told: list[Told] = []
        is_behind = False
        for partition, extent in extents.items():
            start = max(self._next[partition], extent.low)
            if start >= extent.high:
                continue
            read = self._reader.read_range(self._positions.topic, partition, start, None, RECORDS_A_TURN, self._told)
            told += [each for each in read.taken if each is not None]
            self._next[partition] = max(read.end_offset, start)
            is_behind |= not read.is_at_end
        return told, is_behind

    def advance(self, connection: Connection) -> None:
        """Move the stored positions on, in the transaction that stores what was read."""
        for partition, after in self._next.items():
            if after > self._stored[partition]:
                self._positions.advance(connection, partition, self._stored[partition], after)
        self._stored = dict(self._next)

    def close(self) -> None:
        self._reader.close()

    def _told(self, record: Record) -> Told | None:
        label = self._wire.decode_label(record.value)
        if isinstance(label, Refusal):
            return None
        return Told(label.transaction_id, label.account_id, label.fraud, is_by_review=False)
