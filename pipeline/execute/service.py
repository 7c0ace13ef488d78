"""The execution service: executes what arrives, asks again about what is in doubt, and begins again after a failure.

One thread and one connection, in the loop of `pipeline.io.runner`. After any failure it starts from what is stored:
what was heard and isn't settled is finished before anything new is heard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import structlog

from pipeline.domain.in_force import DecisionRecord
from pipeline.execute.audit_wait_service import AuditWait
from pipeline.execute.batch_service import Executor
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.restoring.continuity_service import Continuity
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog
from pipeline.io.postgres import Connection, Held, failures_named
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.seals.passed_over_store import PassedOver

RECORDS_MAX: Final = 1_000
"""A batch; so many accounts are locked at once, and a PostgreSQL with its defaults has room for 6,400 locks."""
IDLE_WAIT_S: Final = 0.2
REFUSED_WAIT_S: Final = 1.0
DOUBT_RETRY_S: Final = 5.0

log = structlog.get_logger("executor")


class ExecutionService:
    """`connect`: a new connection, or DatabaseUnavailable at once."""

    def __init__(
        self,
        execution: Executor,
        ledger: Ledger,
        audit: AuditWait,
        continuity: Continuity,
        connect: Callable[[], Connection],
        passed_over: PassedOver,
    ) -> None:
        """passed_over: keeps the records that nobody proves to have written."""
        self._execution, self._ledger, self._audit, self._connect = execution, ledger, audit, connect
        self._continuity, self._is_refusing = continuity, False
        self._passed_over = passed_over
        self._held = Held(self._connected)
        self._source: PositionedLog[DecisionRecord] | None = None
        self._must_resume = False
        self._retry_due = 0.0

    def read_from(self, source: PositionedLog[DecisionRecord]) -> None:
        """Before the first step. The log asks `positions` where to go on."""
        self._source = source

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Whoever had these partitions before may have left something unfinished."""
        self._must_resume = True
        with failures_named():
            return self._execution.heard.read(self._held.connection(), partitions)

    def is_aside(self, partition: int, offset: int, value: bytes) -> bool:
        """Return whether a record that can't be decoded was put aside."""
        return is_put_aside(self._held.connection(), self._execution.heard.topic, partition, offset, value)

    def step(self, stopping: threading.Event) -> str | None:
        """A batch, as far as it is audited, and what is in doubt; nothing where the ledger was put back."""
        assert self._source is not None, "it was told what to read from"
        source, connection = self._source, self._held.connection()
        if (why := self._continuity.refusal(connection)) is not None:
            self._is_refusing = True
            source.read(1, REFUSED_WAIT_S)  # which keeps its place in the group; it is read again
            return why
        if self._is_refusing:
            self._is_refusing = False
            source.rewind()
        batch = source.read(RECORDS_MAX, IDLE_WAIT_S)
        if self._must_resume:
            self._execution.resume(connection, source.positions)
            self._must_resume = False
        self._passed_over.note(connection, batch.unproved)
        waits = None
        if batch.spans:
            waits = self._audit.accept(connection, batch, partial(self._accept, connection), stopping)
        if waits is not None:
            source.rewind()
        self._retry_if_due(connection, source)
        self._execution.watch.look_if_due(connection, list(source.positions))
        return waits or (None if source.positions else "no partition of decisions.v1 is its own")

    def begin_again(self) -> None:
        """On a new connection, from where the database stands."""
        assert self._source is not None, "it was told what to read from"
        self._held.drop()
        self._source.rewind()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._held.drop()

    def _accept(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        began = time.perf_counter()
        with self._execution.traces.processing(batch.records, lambda record: record.content.decision_id):
            self._execution.accept(connection, batch)
            log.info("batch_executed", records=len(batch.records), seconds=round(time.perf_counter() - began, 4))

    def _retry_if_due(self, connection: Connection, source: PositionedLog[DecisionRecord]) -> None:
        if time.monotonic() < self._retry_due:
            return
        retried = self._execution.retry_doubtful(connection, list(source.positions))
        # More than are looked at in one go come next where the rail has answers, and after a pause where it has none.
        is_answering = not retried.is_last and retried.in_doubt < retried.looked_at
        self._retry_due = time.monotonic() + (0.0 if is_answering else DOUBT_RETRY_S)

    def _connected(self) -> Connection:
        connection = self._connect()
        with failures_named():
            self._ledger.prepare(connection)
        return connection
