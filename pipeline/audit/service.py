"""The audit service: stores what arrives, anchors every hour and when asked to, and stops rather than skip a record.

One thread and one connection. While PostgreSQL or the broker is away it waits; what it must not pass over ends it, with
an exception that names the place; started again, it goes on there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.leaf_files import LeafFileBusy
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import RECORDS_MAX, AuditLog
from pipeline.decide import metrics
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Connection, DatabaseUnavailable, PositionMoved

IDLE_WAIT_S: Final = 0.2
BATCH_INTERVAL_S: Final = 0.25
RECORDS_UNPACED: Final = 1_000
"""A smaller batch is followed by another no sooner than BATCH_INTERVAL_S later: each costs a sync of every leaf file
and a row of chain_link a partition, and nobody waits for the audit log."""
ANCHOR_INTERVAL_S: Final = 3600.0
ANCHOR_RETRY_S: Final = 60.0
HOLD_WAIT_S: Final = 0.5
_logger = structlog.stdlib.get_logger(__name__)


class AnchorFailed(Exception):
    """The broker did not take a head; it stands in its file and is published the next time."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read; each asks its store where to go on."""

    decisions: PositionedLog[None]
    letters: PositionedLog[DeadLetter]


class Service:
    """The sources ask `decision_positions` and `letter_positions` where to go on, and call `release`.

    connect: a new connection, or DatabaseUnavailable at once. patience_s: so long a database that is away, or answers
    and yet stores nothing, or a leaf file that another process holds, is waited for.
    """

    def __init__(
        self,
        log: AuditLog,
        letters: Letters,
        anchors: Anchors,
        connect: Callable[[], Connection],
        *,
        patience_s: float,
        anchor_interval_s: float = ANCHOR_INTERVAL_S,
    ) -> None:
        self._log, self._letters, self._anchors, self._connect = log, letters, anchors, connect
        self._patience_s = patience_s
        self._connection = connect()
        self._anchor_interval_s = anchor_interval_s
        self._anchor_due = time.monotonic() + anchor_interval_s
        self._is_stopping = threading.Event()
        self._is_anchor_wanted = threading.Event()

    def stop(self) -> None:
        """From a signal handler: the batch at hand is finished."""
        self._is_stopping.set()

    def want_anchor(self) -> None:
        """From a signal handler: anchor soon, whatever the clock says."""
        self._is_anchor_wanted.set()

    def decision_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return self._log.open(self._connection, partitions)

    def letter_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return self._letters.open(self._connection, partitions)

    def release(self) -> None:
        """The decisions' partitions are another process's now, and so are their leaf files."""
        self._log.close()

    def run(self, sources: Sources) -> None:
        """Until `stop`. Raises what can't be waited out: RecordRefused, AuditBroken, RecordUndecodable and the like."""
        _logger.info("audit_started")
        held_since: float | None = None
        while not self._is_stopping.is_set():
            try:
                if held_since is not None:
                    self._begin_again(sources)
                self._step(sources)
                held_since = None
            except (DatabaseUnavailable, PositionMoved, LeafFileBusy) as error:
                held_since = held_since or time.monotonic()
                if time.monotonic() - held_since > self._patience_s:
                    raise
                _logger.warning("audit_holds", why=str(error))
                metrics.AUDIT_HOLDS.inc()
                self._is_stopping.wait(HOLD_WAIT_S)
        _logger.info("audit_stopped")

    def close(self) -> None:
        self._log.close()
        self._connection.close()

    def _step(self, sources: Sources) -> None:
        batch = sources.decisions.read(RECORDS_MAX, IDLE_WAIT_S)
        if batch.records:
            began = time.perf_counter()
            stored = self._log.store(self._connection, batch.records)
            metrics.AUDIT_BATCH_SECONDS.observe(time.perf_counter() - began)
            for name, count in stored.by_kind.items():
                metrics.AUDIT_RECORDS.labels(name).inc(count)
            if stored.records < RECORDS_UNPACED:
                self._is_stopping.wait(max(0.0, BATCH_INTERVAL_S - (time.perf_counter() - began)))
        letters = sources.letters.read(RECORDS_MAX, 0)
        if letters.records:
            self._letters.store(self._connection, letters)
            metrics.AUDIT_RECORDS.labels("DeadLetter").inc(len(letters.records))
        self._anchor_if_due()

    def _begin_again(self, sources: Sources) -> None:
        """On a new connection, from where the database stands."""
        self._connection.close()
        self._connection = self._connect()
        sources.decisions.rewind()
        sources.letters.rewind()

    def _anchor_if_due(self) -> None:
        if not self._is_anchor_wanted.is_set() and time.monotonic() < self._anchor_due:
            return
        self._is_anchor_wanted.clear()
        self._anchor_due = time.monotonic() + self._anchor_interval_s
        try:
            for signed in self._anchors.anchor(self._log.trees, time.time_ns() // 1_000_000):
                head = signed.head
                _logger.info("audit_anchored", partition=head.partition, tree_size=head.tree_size, root=head.root.hex())
                metrics.AUDIT_ANCHORED.labels(str(head.partition)).set(head.tree_size)
        except AnchorFailed as error:
            _logger.error("audit_anchor_failed", why=str(error))
            self._anchor_due = time.monotonic() + min(ANCHOR_RETRY_S, self._anchor_interval_s)
