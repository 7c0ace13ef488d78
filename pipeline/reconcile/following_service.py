"""Reconciliation without end, in the loop of `pipeline.io.runner`.

A comparison is opened, looked at once a turn until nothing in it is missing or its grace is over, and closed. Every
turn begins with the decisions that came since the last one, read back from their sources.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog

from pipeline.drills.watch_service import DrillWatch
from pipeline.io.postgres import Connection, Held
from pipeline.reconcile import metrics
from pipeline.reconcile.gaps import Gap
from pipeline.reconcile.held_watch_service import HeldWatch
from pipeline.reconcile.label_watch_service import LabelWatch
from pipeline.reconcile.service import Comparison, Reconciler
from pipeline.reconcile.source_watch_service import SourceWatch
from pipeline.reconcile.statement.statement_watch_service import StatementWatch
from pipeline.reconcile.told_watch_service import ToldWatch

LOOK_AGAIN_S: Final = 0.5
IDLE_S: Final = 1.0
HOLDS_S: Final = 60.0
"""Between looks at holds; a stale one is a quarter of an hour old at least."""
SWEEPS_A_TURN: Final = 10
"""Looks at further postings, some 100,000 of them, before the topics are compared again."""
WATCH_S: Final = 600.0
"""Between looks at the months' partitions, which are made daily, two months or more ahead, at drills, and at statements
that don't come."""

log = structlog.get_logger("reconcile")


class Following:
    """For one thread."""

    def __init__(
        self,
        reconciler: Reconciler,
        watch: SourceWatch,
        labels: LabelWatch,
        told: ToldWatch,
        drills: DrillWatch,
        statements: StatementWatch,
        transactions: HeldWatch,
        held: Held,
        grace_s: float,
    ) -> None:
        self._reconciler, self._watch, self._labels, self._drills = reconciler, watch, labels, drills
        self._told, self._statements, self._transactions = told, statements, transactions
        self._held, self._grace_s = held, grace_s
        self._opened: Comparison | None = None
        self._grace_ends_s = 0.0
        self._has_compared = False
        self._watch_due_s = 0.0
        self._holds_due_s = 0.0

    def step(self, stopping: threading.Event) -> str | None:
        """Ready once it has compared what is there, or found that nothing is; after each failure, anew."""
        self._transactions.step()
        connection = self._held.connection()
        for gap in self._watch.step(connection):
            metrics.count_gap(gap)
            log.error("decision_unfounded", **_fields(gap))
        self._told.step(connection)
        self._labels.step(connection)
        if self._opened is None:
            self._opened = self._open(connection)
            if self._opened is None:
                self._has_compared = True
                self._rest(stopping, IDLE_S)
                return None
        looked = self._reconciler.look(connection, self._opened)
        if looked.may_be_late and time.monotonic() <= self._grace_ends_s:
            self._rest(stopping, LOOK_AGAIN_S)
            return None if self._has_compared else "it has compared nothing yet"
        for gap in self._reconciler.close(connection, self._opened, looked):
            metrics.count_gap(gap)
            log.error("gap_found", **_fields(gap))
        self._opened, self._has_compared = None, True
        metrics.RECONCILED.inc(looked.taken_in)
        metrics.LAST_CLOSED.set_to_current_time()
        return None

    def begin_again(self) -> None:
        """After a failure it isn't known what was stored: the comparison is opened anew."""
        self._held.drop()
        self._opened, self._has_compared = None, False
        self._reconciler.forget()
        self._watch.forget()
        self._told.forget()
        self._labels.forget()

    def close(self) -> None:
        self._held.drop()

    def _rest(self, stopping: threading.Event, seconds: float) -> None:
        """Decisions that wait to be read back, labels, and what was told, wait for nothing else."""
        is_behind = self._watch.is_behind or self._labels.is_behind or self._told.is_behind
        stopping.wait(0.0 if is_behind else seconds)

    def _open(self, connection: Connection) -> Comparison | None:
        for gap in self._reconciler.close_filled(connection):
            metrics.GAPS_CLOSED.labels(gap.kind).inc()
            log.info("gap_closed", **_fields(gap))
        if time.monotonic() >= self._watch_due_s:
            self._reconciler.watch_months(connection)
            for due in self._drills.look(connection):
                log.warning("drill_overdue", drill=due.drill, last_at_ms=due.last_at_ms)
            for currency, found in self._statements.look(connection):
                log.error("statement_missing", currency=currency, detail=found.detail)
            self._watch_due_s = time.monotonic() + WATCH_S
        for gap in self._reconciler.name_quarantined(connection):
            metrics.count_gap(gap)
            log.error("record_quarantined", **_fields(gap))
        self._look_at_ledger(connection)
        self._grace_ends_s = time.monotonic() + self._grace_s
        return self._reconciler.open(connection)

    def _look_at_ledger(self, connection: Connection) -> None:
        gaps: list[Gap] = []
        if time.monotonic() >= self._holds_due_s:
            gaps += self._reconciler.name_stale_holds(connection)
            self._holds_due_s = time.monotonic() + HOLDS_S
        for _ in range(SWEEPS_A_TURN):
            found = self._reconciler.sweep_ledger(connection)
            if found is None:
                break
            gaps += found
        for gap in gaps:
            metrics.count_gap(gap)
            log.error("gap_found", **_fields(gap))


def _fields(gap: Gap) -> dict[str, object]:
    return {**gap._asdict(), "side": gap.side}
