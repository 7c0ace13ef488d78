"""The whole log checked in the background, again and again, while the service goes on storing.

It takes at most a fifth of the time, on a thread and a connection of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from pipeline.audit.chain import Tree
from pipeline.audit.continuing.bounds import EVERYTHING, Bounds, NotContinued
from pipeline.audit.continuing.check_service import Continued
from pipeline.audit.continuing.refusal_files import mark
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable
from pipeline.keys.key_sets import KeySetRefused

RECHECK_S: Final = 86_400.0
"""From the end of one whole check to the next."""
RETRY_S: Final = 60.0
REST_RATIO: Final = 4.0
REST_S_MAX: Final = 1.0
_logger = structlog.stdlib.get_logger(__name__)


class Stopped(Exception):
    """The service ends, or has no partition to check."""


class Pace:
    """Rests four times as long as was worked since the last rest."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping, self._since = stopping, time.monotonic()

    def rest(self) -> None:
        """Raises Stopped."""
        worked_s = time.monotonic() - self._since
        if self._stopping.wait(min(worked_s * REST_RATIO, REST_S_MAX)):
            raise Stopped
        self._since = time.monotonic()


class Check(Protocol):
    """A check of a log that goes on."""

    def check(
        self, connection: Connection, trees: Mapping[int, Tree], bounds: Bounds, *, is_still: bool
    ) -> Continued: ...


Checked = tuple[Callable[[Callable[[], None]], Check], Callable[[], Mapping[int, Tree]]]
"""What makes a check that calls its argument whenever it may rest, and the trees that it is to check."""


class Recheck:
    """A thread that finds what the check at once did not read. `refused`: what it found, None so far."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        directory: Path,
        checked: Sequence[Checked],
        *,
        wait_s: float = RETRY_S,
    ) -> None:
        """wait_s: before the first check."""
        self._connect, self._directory, self._checked = connect, directory, checked
        self._wait_s = wait_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-recheck", daemon=True)
        self.refused: str | None = None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(REST_S_MAX * 10)

    def _run(self) -> None:
        wait_s = self._wait_s
        while not self._stopping.wait(wait_s) and self.refused is None:
            try:
                wait_s = RECHECK_S if self._check() else RETRY_S
            except Stopped:
                return
            except NotContinued as refusal:
                self.refused = str(refusal)
                mark(self._directory, self.refused, time.time_ns() // 1_000_000)
            except (BrokerFailed, DatabaseRefused, DatabaseUnavailable, KeySetRefused, OSError) as error:
                _logger.warning("audit_recheck_failed", error=type(error).__name__, why=str(error))
                wait_s = RETRY_S

    def _check(self) -> bool:
        """False where there is nothing to check yet."""
        is_any = False
        for make, trees_now in self._checked:
            trees = trees_now()
            if not trees:
                continue
            is_any, began = True, time.monotonic()
            with self._connect() as connection:
                found = make(Pace(self._stopping).rest).check(connection, trees, EVERYTHING, is_still=False)
            _logger.info("audit_rechecked", seconds=round(time.monotonic() - began, 1), **found.looked._asdict())
        return is_any
