"""The audit service: stores what arrives, anchors every few minutes and when asked to, and never skips a record.

Invariants
1. Nothing is signed, nor stored, before the log that it continues was checked (pipeline.audit.continuing).
2. Where the check finds something the service refuses: it gives its partitions up, says why on /ready, in its log, in a
   metric and in an alert, and stays so. Started again, it finds the same again.
3. A record that can't be stored ends it, with an exception that names the place; started again, it goes on there.

One thread and one connection, in the loop of `pipeline.io.runner`; the whole check has another of each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.audit import metrics
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.chain import Tree
from pipeline.audit.continuing.bounds import AT_ONCE, NotContinued
from pipeline.audit.continuing.check_service import Continuation
from pipeline.audit.continuing.recheck_service import Recheck
from pipeline.audit.continuing.refusal_files import require_unmarked
from pipeline.audit.leaf_files import HeadRefused
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import RECORDS_MAX, AuditBroken, AuditLog
from pipeline.audit.standing import Standing
from pipeline.audit.tables.follow_service import TableFollower
from pipeline.audit.unproved_service import Noting
from pipeline.domain.alert import Alert
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Connection, Held
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.traces.processing_service import UNTRACED, BatchTraces, name_of_place

IDLE_WAIT_S: Final = 0.2
BATCH_INTERVAL_S: Final = 0.25
RECORDS_UNPACED: Final = 1_000
"""A smaller batch is followed by another no sooner than BATCH_INTERVAL_S later: each costs a sync of every leaf file
and a row of chain_link a partition, and nobody waits for the audit log."""
LOOK_S: Final = 1.0
"""Between looks whether PostgreSQL is there, while nothing comes: else the service would call itself ready."""
ANCHOR_RETRY_S: Final = 60.0
TABLES_BEHIND_S: Final = 300.0
"""Where nobody witnesses the log, which else says how long may go unseen."""
WITNESS_LOOK_S: Final = 30.0
"""Between looks at what the witness last said: an alert is at most so late."""
_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """The topics that are read; each asks its store where to go on."""

    decisions: PositionedLog[None]
    letters: PositionedLog[DeadLetter]


@dataclass(frozen=True, slots=True)
class Guard:
    """What keeps the service from continuing a log that somebody has changed, and tells of it.

    witness_age_max_s: the age of the witness's last statement that raises an alert; 0: nobody witnesses. is_refill: the
    database was restored from a backup.
    """

    continuation: Continuation
    recheck: Recheck
    directory: Path
    tell: Callable[[Alert], None]
    witness_age_max_s: float
    is_refill: bool = False


class AuditService:
    """The sources ask `decision_positions` and `letter_positions` where to go on, and call `release`.

    connect: a new connection, or DatabaseUnavailable at once.
    """

    def __init__(
        self,
        log: AuditLog,
        letters: Letters,
        anchors: Anchors,
        tables: TableFollower,
        guard: Guard,
        noting: Noting,
        connect: Callable[[], Connection],
        *,
        anchor_interval_s: float,
        traces: BatchTraces = UNTRACED,
    ) -> None:
        self._log, self._letters, self._anchors, self._guard = log, letters, anchors, guard
        self._tables, self._noting, self._traces = tables, noting, traces
        self._held = Held(connect)
        self._sources: Sources | None = None
        self._anchor_interval_s = anchor_interval_s
        self._anchor_due = time.monotonic() + anchor_interval_s
        self._is_anchor_wanted = threading.Event()
        self._looked_at = 0.0
        self._witness_due = time.monotonic() + WITNESS_LOOK_S
        self._started_at_ms = _now_ms()
        self._refused: str | None = None
        self._untold: list[Alert] = []
        self._standing = Standing()

    def read_from(self, sources: Sources) -> None:
        """Before the first step."""
        self._sources = sources
        self._guard.recheck.start()

    def want_anchor(self) -> None:
        """From a signal handler: anchor soon, whatever the clock says."""
        self._is_anchor_wanted.set()

    def decision_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """Take partitions over once what they hold was checked.

        Raises NotContinued, AuditBroken, HeadRefused, LeafFileBusy and what the outside world may raise.
        """
        require_unmarked(self._guard.directory)
        connection, began = self._held.connection(), time.monotonic()
        positions = self._log.open(connection, partitions)
        self._noting.begin(connection, positions)
        trees = self._log.trees
        found = self._guard.continuation.check(
            connection, trees, AT_ONCE, is_still=True, may_be_ahead=self._guard.is_refill
        )
        self._anchors.begin(trees, found.outside.published)
        seconds = round(time.monotonic() - began, 3)
        _logger.info("audit_continued", partitions=sorted(trees), seconds=seconds, **found.looked._asdict())
        if found.outside.foreign:
            _logger.warning("audit_foreign_records", records=found.outside.foreign)
        metrics.AUDIT_FOREIGN.set(found.outside.foreign)
        return positions

    def letter_positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return self._letters.open(self._held.connection(), partitions)

    def is_letter_aside(self, partition: int, offset: int, value: bytes) -> bool:
        """Return whether a letter that can't be decoded was put aside."""
        return is_put_aside(self._held.connection(), self._letters.topic, partition, offset, value)

    def release(self) -> None:
        """The decisions' partitions are another process's now, and so are their leaf files."""
        self._log.close()

    def trees(self) -> Mapping[int, Tree]:
        """For the check in the background."""
        return self._log.trees

    def step(self, stopping: threading.Event) -> str | None:
        """Raises what can't be waited out too: RecordRefused, RecordUndecodable and the like."""
        self._tell()
        if self._refused is None:
            try:
                return self._turn(stopping)
            except (AuditBroken, HeadRefused, NotContinued) as refusal:
                self._refuse(str(refusal))
        stopping.wait(LOOK_S)
        return f"it signs and stores nothing: {self._refused}"

    def begin_again(self) -> None:
        """On a new connection, from where the database stands."""
        self._held.drop()
        self._tables.close()
        if self._refused is not None or self._sources is None:
            return
        try:
            self._sources.decisions.rewind()
        except (AuditBroken, HeadRefused, NotContinued) as refusal:
            self._refuse(str(refusal))
        else:
            self._sources.letters.rewind()

    def close(self) -> None:
        self._guard.recheck.close()
        self._give_up()
        self._held.drop()

    def _turn(self, stopping: threading.Event) -> str | None:
        assert self._sources is not None, "it was told what to read from"
        if self._guard.recheck.refused is not None:
            raise NotContinued(self._guard.recheck.refused)
        sources, connection = self._sources, self._held.connection()
        batch = sources.decisions.read(RECORDS_MAX, IDLE_WAIT_S)
        if batch.records:
            began = time.perf_counter()
            with self._traces.processing(batch.records, name_of_place):
                stored = self._log.store_proved(connection, batch.records, self._noting.note(connection))
                metrics.AUDIT_BATCH_SECONDS.observe(time.perf_counter() - began)
            for name, count in stored.by_kind.items():
                metrics.AUDIT_RECORDS.labels(name).inc(count)
            if stored.records < RECORDS_UNPACED:
                stopping.wait(max(0.0, BATCH_INTERVAL_S - (time.perf_counter() - began)))
        letters = sources.letters.read(RECORDS_MAX, 0)
        self._letters.store(connection, letters)
        metrics.AUDIT_RECORDS.labels("DeadLetter").inc(len(letters.records))
        self._tables.step(connection)
        if not batch.records and time.monotonic() - self._looked_at > LOOK_S:
            self._held.look()
            self._looked_at = time.monotonic()
        self._anchor_if_due()
        self._look_at_witness()
        self._look_at_tables()
        return None if sources.decisions.positions else "no partition of decisions.v1 is its own"

    def _refuse(self, why: str) -> None:
        """Give the partitions up, and tell; whoever takes them finds the same."""
        self._refused = why
        metrics.AUDIT_REFUSES.set(1)
        _logger.critical("audit_refuses", why=why)
        what = f"The audit service signs and stores nothing: {why}."
        self._untold.append(alert(AlertCode.AUDIT_NOT_CONTINUED, what, "all", {"why": why}, _now_ms()))
        self._give_up()
        self._tell()

    def _tell(self) -> None:
        """Publish what is untold; what the broker does not take is tried again with the next step."""
        try:
            while self._untold:
                self._guard.tell(self._untold[0])
                del self._untold[0]
        except BrokerFailed as error:
            _logger.error("audit_alert_failed", why=str(error))

    def _give_up(self) -> None:
        if self._sources is not None:
            self._sources.decisions.close()
            self._sources.letters.close()
        self._sources = None
        self._log.close()
        self._tables.close()

    def _anchor_if_due(self) -> None:
        if not self._is_anchor_wanted.is_set() and time.monotonic() < self._anchor_due:
            return
        self._is_anchor_wanted.clear()
        self._anchor_due = time.monotonic() + self._anchor_interval_s
        try:
            for signed in self._anchors.anchor(self._log.trees, _now_ms()):
                head = signed.head
                _logger.info("audit_anchored", partition=head.partition, tree_size=head.tree_size, root=head.root.hex())
                metrics.AUDIT_ANCHORED.labels(str(head.partition)).set(head.tree_size)
            for signed in self._tables.anchor(_now_ms()):
                head = signed.head
                _logger.info("audit_tables_anchored", partition=head.partition, tree_size=head.tree_size)
        except BrokerFailed as error:  # a head that was not taken stands in its file and is published the next time
            _logger.error("audit_anchor_failed", why=str(error))
            self._anchor_due = time.monotonic() + min(ANCHOR_RETRY_S, self._anchor_interval_s)

    def _look_at_tables(self) -> None:
        """Alert, once an hour, where rows of ledger, reviews or control wait too long to be chained."""
        behind_s, longest_s = self._tables.behind_s(), self._guard.witness_age_max_s or TABLES_BEHIND_S
        if self._tables.has_chained_all and behind_s <= longest_s:
            self._untold += self._standing.ended(AlertCode.TABLES_UNCHAINED, _now_ms())
        if behind_s <= longest_s:
            return
        what = f"Rows of the ledger, reviews or control have waited {behind_s / 60:.0f} minutes to be chained."
        now_s = time.monotonic()
        self._untold += self._standing.raised(AlertCode.TABLES_UNCHAINED, what, _now_ms(), now_s=now_s)

    def _look_at_witness(self) -> None:
        """Alert where nobody outside has seen the log for too long. Raises NotContinued where it saw another."""
        longest_s = self._guard.witness_age_max_s
        if longest_s == 0 or time.monotonic() < self._witness_due:
            return
        self._witness_due = time.monotonic() + WITNESS_LOOK_S
        last = self._guard.continuation.witnessed(self._log.trees)
        now_ms, since_ms = _now_ms(), self._started_at_ms if last is None else last.witnessed_at_ms
        age_s = (now_ms - since_ms) / 1000
        metrics.AUDIT_WITNESS_AGE.set(age_s)
        if age_s > longest_s:
            what = "Nothing outside has witnessed the audit log yet." if last is None else (
                f"The last witness statement about the audit log is {age_s / 60:.0f} minutes old."
            )  # fmt: skip
            code, now_s = AlertCode.AUDIT_UNWITNESSED, time.monotonic()
            self._untold += self._standing.raised(code, what, now_ms, since_ms=since_ms, now_s=now_s)
        elif last is not None:  # a service that has just started has seen no statement yet
            self._untold += self._standing.ended(AlertCode.AUDIT_UNWITNESSED, now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
