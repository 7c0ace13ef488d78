"""transactions.dead.v1 into audit.dead_letter: what became no decision and why, duplicates included; no payloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pipeline.audit.rows import COPY_END, COPY_START, letter_row
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import LogRecord, Unproved
from pipeline.io.filing import Filing
from pipeline.io.kafka.positioned_log import LogBatch
from pipeline.io.postgres import Connection, Positions, failures_named, statements
from pipeline.io.quarantine import store_around
from pipeline.quarantine.put_aside_store import is_put_aside

CONSUMER: Final = "audit-dead-letters"
_TABLE: Final = "audit.dead_letter"


class Letters:
    def __init__(
        self, topic: str, pass_over: Callable[[Connection, Sequence[Unproved]], None] = lambda *_: None
    ) -> None:
        """pass_over: called with every turn, also with nothing; keeps and tells what no worker is proved to have
        written, which is no letter."""
        self._positions, self._pass_over = Positions(CONSUMER, topic), pass_over
        self._statements = statements("pipeline.audit", "audit")
        self._filing = Filing(_TABLE)

    @property
    def topic(self) -> str:
        return self._positions.topic

    def open(self, connection: Connection, partitions: Iterable[int]) -> dict[int, int]:
        with failures_named():
            return self._positions.read(connection, partitions)

    def store(self, connection: Connection, batch: LogBatch[DeadLetter]) -> None:
        """All of it, but for what was put aside. Raises PositionMoved, DatabaseUnavailable, DatabaseRefused.

        Call it with every turn, also where there is nothing, as what is passed over is told by and by.
        """
        self._pass_over(connection, batch.unproved)
        if not batch.spans:
            return

        def is_aside(record: LogRecord[DeadLetter]) -> bool:
            return is_put_aside(connection, self._positions.topic, record.partition, record.offset, record.value)

        def pass_over(one: LogBatch[DeadLetter]) -> None:
            with failures_named(), connection.transaction():
                self._advance(connection, one)

        store_around(batch, lambda part: self._store(connection, part), is_aside, pass_over)

    def _store(self, connection: Connection, batch: LogBatch[DeadLetter]) -> None:
        filed = self._filing.file(connection, (record.timestamp_ms for record in batch.records))
        rows = [letter_row(record, filed[record.timestamp_ms]) for record in batch.records]
        with failures_named(), connection.transaction():
            with connection.cursor().copy(self._statements["copy_dead_letters"]) as copy:
                copy.write(COPY_START + b"".join(rows) + COPY_END)
            self._advance(connection, batch)

    def _advance(self, connection: Connection, batch: LogBatch[DeadLetter]) -> None:
        for partition, before, after in batch.spans:
            self._positions.advance(connection, partition, before, after)
