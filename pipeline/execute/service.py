"""The execution service: executes what arrives, asks again about what is in doubt, and begins again after a failure.

One thread and one connection. While PostgreSQL or the broker is away it waits; after any failure it starts from what is
stored: what was heard and isn't settled is finished before anything new is heard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from pipeline.domain.decision_records import DecisionRecord
from pipeline.execute.batch_service import DOUBTFUL_MAX, Execution
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.metrics import EXECUTION_HOLDS
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.kafka.transaction_log import BrokerFailed
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, PositionMoved, failures_named

RECORDS_MAX: Final = 1_000
"""A batch; so many accounts are locked at once, and a PostgreSQL with its defaults has room for 6,400 locks."""
IDLE_WAIT_S: Final = 0.2
DOUBT_RETRY_S: Final = 5.0
HOLD_WAIT_S: Final = 0.5
HOLDS_MAX: Final = 240
"""In a row: two minutes in which nothing succeeds, with a database and a broker that answer."""

log = structlog.get_logger("executor")


class Service:
    """`connect`: a new connection, once PostgreSQL answers; raises DatabaseUnavailable when it is to be waited for no
    longer. The log asks `positions` where to go on."""

    def __init__(self, execution: Execution, ledger: Ledger, connect: Callable[[], Connection]) -> None:
        self._execution, self._ledger, self._connect = execution, ledger, connect
        self._connection = self._connected()
        self._is_stopping = threading.Event()
        self._must_resume = False
        self._retry_due = 0.0
        self._doubtful = 0
        self.is_ready = False  # it has partitions, and its last batch went well

    def stop(self) -> None:
        """From a signal handler: the batch at hand is finished."""
        self._is_stopping.set()

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Whoever had these partitions before may have left something unfinished."""
        self._must_resume = True
        with failures_named():
            return self._execution.heard.read(self._connection, partitions)

    def run(self, source: PositionedLog[DecisionRecord]) -> None:
        """Until `stop`. Raises what can't be waited out, and what fails again and again."""
        log.info("executor_started")
        holds = 0
        while not self._is_stopping.is_set():
            try:
                if holds:
                    self._begin_again(source)
                self._step(source)
                self.is_ready, holds = bool(source.positions), 0
            except (DatabaseUnavailable, DatabaseRefused, PositionMoved, BrokerFailed) as error:
                self.is_ready, holds = False, holds + 1
                if holds > HOLDS_MAX:
                    raise
                log.warning("executor_holds", error=type(error).__name__, why=str(error))
                EXECUTION_HOLDS.labels(type(error).__name__).inc()
                self._is_stopping.wait(HOLD_WAIT_S)
        log.info("executor_stopped")

    def close(self) -> None:
        self._connection.close()

    def _step(self, source: PositionedLog[DecisionRecord]) -> None:
        batch = source.read(RECORDS_MAX, IDLE_WAIT_S)
        if self._must_resume:
            self._execution.resume(self._connection, source.positions)
            self._must_resume = False
        if batch.records:
            began = time.perf_counter()
            self._execution.accept(self._connection, batch)
            log.info("batch_executed", records=len(batch.records), seconds=round(time.perf_counter() - began, 4))
        self._retry_if_due(source)

    def _retry_if_due(self, source: PositionedLog[DecisionRecord]) -> None:
        if time.monotonic() < self._retry_due:
            return
        self._doubtful = self._execution.retry_doubtful(self._connection, list(source.positions))
        # Where there are more than are looked at in one go, they come first: nothing new goes into doubt meanwhile.
        is_crowded = self._doubtful == DOUBTFUL_MAX
        self._retry_due = time.monotonic() + (0.0 if is_crowded else DOUBT_RETRY_S)

    def _begin_again(self, source: PositionedLog[DecisionRecord]) -> None:
        """On a new connection, from where the database stands."""
        self._connection.close()
        self._connection = self._connected()
        source.rewind()

    def _connected(self) -> Connection:
        connection = self._connect()
        with failures_named():
            self._ledger.prepare(connection)
        return connection
