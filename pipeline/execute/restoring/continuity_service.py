"""Refuses to pay from a ledger that was put back: by itself, before anything is paid, and again at every turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from pipeline.domain.execution import Execution
from pipeline.execute.notice_topics import Notices
from pipeline.execute.restoring.behind import latest_told, moved, outrun
from pipeline.execute.restoring.life_store import present_life, steps_of
from pipeline.io.postgres import Connection, failures_named

LOOK_AGAIN_S: Final = 5.0
REMEDY: Final = "run `fraud executor restore`"

log = structlog.get_logger("executor")


class Continuity:
    """For one thread."""

    def __init__(self, told: Callable[[], Iterable[Execution]], notices: Notices) -> None:
        """told: the last that executors told, on executions.v1."""
        self._told, self._notices = told, notices
        self._passed: tuple[Connection, int] | None = None  # the connection and the life that were compared
        self._why: str | None = None
        self._look_due_s = 0.0

    def refusal(self, connection: Connection) -> str | None:
        """Why nothing may be paid; None: the ledger goes on where it stood. Alerts when it begins to refuse."""
        if self._why is not None and time.monotonic() < self._look_due_s:
            return f"{self._why}: {REMEDY}"
        before, self._why = self._why, self._found(connection)
        self._look_due_s = time.monotonic() + LOOK_AGAIN_S
        if self._why is not None and self._why != before:
            log.critical("ledger_put_back", why=self._why)
            self._notices.raise_put_back(self._why)
        return None if self._why is None else f"{self._why}: {REMEDY}"

    def _found(self, connection: Connection) -> str | None:
        with failures_named():
            life = present_life(connection)
        why = moved(*life)
        if why is None and not self._has_passed(connection, life.number):
            # What was told is read first: the ledger only grows meanwhile, and another may begin its next life.
            latest = latest_told(self._told())
            with failures_named():
                life = present_life(connection)
                why = moved(*life) or outrun(life.number, latest, steps_of(connection, sorted(latest)))
        if why is not None:
            self._passed = None
            return why
        self._passed = connection, life.number
        self._notices.life = life.number
        return None

    def _has_passed(self, connection: Connection, life: int) -> bool:
        return self._passed is not None and self._passed[0] is connection and self._passed[1] == life
