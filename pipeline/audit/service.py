"""The audit service: stores what arrives, anchors every hour and when asked to, and ends rather than skip a record.

One thread and one connection, in the loop of `pipeline.io.runner`. What it must not pass over ends it, with an
exception that names the place; started again, it goes on there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import RECORDS_MAX, AuditLog
from pipeline.decide import metrics
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Connection, Held

IDLE_WAIT_S: Final = 0.2
BATCH_INTERVAL_S: Final = 0.25
RECORDS_UNPACED: Final = 1_000
"""A smaller batch is followed by another no sooner than BATCH_INTERVAL_S later: each costs a sync of every leaf file
and a row of chain_link a partition, and nobody waits for the audit log."""
LOOK_S: Final = 1.0
"""Between looks whether PostgreSQL is there, while nothing comes: else the service would call itself ready."""
ANCHOR_INTERVAL_S: Final = 3600.0
ANCHOR_RETRY_S: Final = 60.0
_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """The topics that are read; each asks its store where to go on."""

    decisions: PositionedLog[None]
    letters: PositionedLog[DeadLetter]


class AuditService:
    """The sources ask `decision_positions` and `letter_positions` where to go on, and call `release`.

    connect: a new connection, or DatabaseUnavailable at once.
    """

    def __init__(
        self,
        log: AuditLog,
        letters: Letters,
        anchors: Anchors,
        connect: Callable[[], Connection],
        *,
        anchor_interval_s: float = ANCHOR_INTERVAL_S,
    ) -> None:
        self._log, self._letters, self._anchors = log, letters, anchors
        self._held = Held(connect)
        self._sources: Sources | None = None
        self._anchor_interval_s = anchor_interval_s
        self._anchor_due = time.monotonic() + anchor_interval_s
        self._is_anchor_wanted = threading.Event()
        self._looked_at = 0.0

    def read_from(self, sources: Sources) -> None:
        """Before the first step."""
        self._sources = sources

    def want_anchor(self) -> None:
        """From a signal handler: anchor soon, whatever the clock says."""
        self._is_anchor_wanted.set()

    def decision_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return self._log.open(self._held.connection(), partitions)

    def letter_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return self._letters.open(self._held.connection(), partitions)

    def release(self) -> None:
        """The decisions' partitions are another process's now, and so are their leaf files."""
        self._log.close()

    def step(self, stopping: threading.Event) -> str | None:
        """Raises what can't be waited out too: RecordRefused, AuditBroken, RecordUndecodable and the like."""
        assert self._sources is not None, "it was told what to read from"
        sources, connection = self._sources, self._held.connection()
        batch = sources.decisions.read(RECORDS_MAX, IDLE_WAIT_S)
        if batch.records:
            began = time.perf_counter()
            stored = self._log.store(connection, batch.records)
            metrics.AUDIT_BATCH_SECONDS.observe(time.perf_counter() - began)
            for name, count in stored.by_kind.items():
                metrics.AUDIT_RECORDS.labels(name).inc(count)
            if stored.records < RECORDS_UNPACED:
                stopping.wait(max(0.0, BATCH_INTERVAL_S - (time.perf_counter() - began)))
        letters = sources.letters.read(RECORDS_MAX, 0)
        if letters.records:
            self._letters.store(connection, letters)
            metrics.AUDIT_RECORDS.labels("DeadLetter").inc(len(letters.records))
        if not batch.records and time.monotonic() - self._looked_at > LOOK_S:
            self._held.look()
            self._looked_at = time.monotonic()
        self._anchor_if_due()
        return None if sources.decisions.positions else "no partition of decisions.v1 is its own"

    def begin_again(self) -> None:
        """On a new connection, from where the database stands."""
        assert self._sources is not None, "it was told what to read from"
        self._held.drop()
        self._sources.decisions.rewind()
        self._sources.letters.rewind()

    def close(self) -> None:
        if self._sources is not None:
            self._sources.decisions.close()
            self._sources.letters.close()
        self._log.close()
        self._held.drop()

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
        except BrokerFailed as error:  # a head that was not taken stands in its file and is published the next time
            _logger.error("audit_anchor_failed", why=str(error))
            self._anchor_due = time.monotonic() + min(ANCHOR_RETRY_S, self._anchor_interval_s)
