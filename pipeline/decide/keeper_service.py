"""`fraud worker run --keep`: a worker's slot, filled again at once whenever its worker was killed or gave up.

Importing is most of what a worker's start costs (2 s of CPU, several seconds of a busy machine), so the keeper does it
once and forks each worker from itself. It opens no connection and starts no thread: a worker shares nothing with it or
with its predecessor but memory that nobody writes.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections import deque
from types import FrameType
from typing import Final

import structlog

from pipeline.io import logs
from pipeline.io.settings import Settings
from pipeline.terminal.failures import UNUSABLE

IMPORTED_LATE: Final = (
    "aiokafka",
    "faust.assignor.leader_assignor",
    "faust.tables.globaltable",
    "faust.tables.manager",
    "faust.tables.recovery",
    "faust.tables.sets",
    "faust.topics",
    "faust.transport.drivers.aiokafka",
    "faust.web.cache.backends.memory",
    "faust.web.drivers.aiohttp",
)
"""The modules that Faust imports by name when an app is made."""
EXPORTER: Final = "pipeline.traces.otlp_client"
"""The module that a worker imports where it traces; OpenTelemetry takes 0.2 s."""
SHORT_LIFE_S: Final = 5.0
"""A worker that ended sooner is followed after a pause: what ended it may be there still."""
PAUSE_S: Final = 1.0
ENDS_MAX: Final = 30
ENDS_WINDOW_S: Final = 120.0
"""So many ends in so short a time: a worker that can't live here. Whoever keeps the keeper is told by its exit."""

log = structlog.get_logger("keeper")


def keep_filled(settings: Settings) -> None:
    """Returns in each worker, never in the keeper: that exits as its last worker did, and when SIGTERM or SIGINT has
    ended that one."""
    logs.configure(settings.log_level)
    importlib.import_module("pipeline.decide.worker_command")
    late = IMPORTED_LATE if settings.otlp_endpoint is None else (*IMPORTED_LATE, EXPORTER)
    for module in late:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that looking for garbage copies no page of what workers share
    _Keeper().run()


class _Keeper:
    def __init__(self) -> None:
        self._worker_pid: int | None = None
        self._is_stopping = False
        self._ends: deque[float] = deque(maxlen=ENDS_MAX)
        self._has_lived = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while True:
            started_s = time.monotonic()
            exit_code = self._worker_ended()
            if exit_code is None:
                return
            lived_s = time.monotonic() - started_s
            self._has_lived |= lived_s > SHORT_LIFE_S
            if self._is_over(exit_code):
                sys.exit(exit_code if exit_code >= 0 else 128 - exit_code)
            log.warning("worker_followed", exit_code=exit_code, lived_s=round(lived_s, 1))
            if lived_s < SHORT_LIFE_S:
                time.sleep(PAUSE_S)

    def _worker_ended(self) -> int | None:
        """The exit code of a worker, negative where a signal ended it; None in the worker itself."""
        keeper_is_gone, keeper_is_there = os.pipe()
        self._worker_pid = os.fork()
        if self._worker_pid == 0:
            os.close(keeper_is_there)
            _be_a_worker(keeper_is_gone)
            return None
        os.close(keeper_is_gone)
        if self._is_stopping:  # told so before there was a worker to tell
            os.kill(self._worker_pid, signal.SIGTERM)
        _, status = os.waitpid(self._worker_pid, 0)
        self._worker_pid = None
        os.close(keeper_is_there)
        return os.waitstatus_to_exitcode(status)

    def _is_over(self, exit_code: int) -> bool:
        now_s = time.monotonic()
        are_too_many = len(self._ends) == ENDS_MAX and now_s - self._ends[0] < ENDS_WINDOW_S
        self._ends.append(now_s)
        is_unusable = exit_code == UNUSABLE and not self._has_lived  # later on, a broker may be away for a while
        return exit_code == 0 or self._is_stopping or is_unusable or are_too_many

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        if self._worker_pid:
            os.kill(self._worker_pid, signal.SIGTERM)


def _be_a_worker(keeper_is_gone: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def end_with_keeper() -> None:
        os.read(keeper_is_gone, 1)  # the end of the pipe: nobody holds its other side any more
        os._exit(os.EX_TEMPFAIL)

    threading.Thread(target=end_with_keeper, name="keeper-is-there", daemon=True).start()
