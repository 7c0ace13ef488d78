"""transactions.dead.v1 into audit.dead_letter: what became no decision and why, duplicates included; no payloads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.audit.log_store import time_of
from pipeline.audit.rows import COPY_END, COPY_START, letter_row
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.positioned_log import LogBatch
from pipeline.io.postgres import Connection, Positions, failures_named, statements

CONSUMER: Final = "audit-dead-letters"
_TABLE: Final = "audit.dead_letter"


class Letters:
    def __init__(self, topic: str) -> None:
        self._positions = Positions(CONSUMER, topic)
        self._statements = statements("pipeline.audit", "audit")
        self._months: set[tuple[int, int]] = set()

    def open(self, connection: Connection, partitions: Iterable[int]) -> dict[int, int]:
        with failures_named():
            return self._positions.read(connection, partitions)

    def store(self, connection: Connection, batch: LogBatch[DeadLetter]) -> None:
        """All of it in one transaction. Raises PositionMoved, DatabaseUnavailable, DatabaseRefused."""
        for at_ms in {record.timestamp_ms for record in batch.records}:
            self._ensure_month(connection, at_ms)
        with failures_named(), connection.transaction():
            with connection.cursor().copy(self._statements["copy_dead_letters"]) as copy:
                copy.write(COPY_START + b"".join(map(letter_row, batch.records)) + COPY_END)
            for partition, before, after in batch.spans:
                self._positions.advance(connection, partition, before, after)

    def _ensure_month(self, connection: Connection, at_ms: int) -> None:
        at = time_of(at_ms * 1000)
        if (at.year, at.month) not in self._months:
            with failures_named():
                connection.execute(self._statements["ensure_partition"], [_TABLE, at])
            self._months.add((at.year, at.month))
