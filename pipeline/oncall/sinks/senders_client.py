"""Sends in threads of their own, so that a slow sink keeps no other waiting; at most one at a time for each name.

A send that does not end in time is abandoned: nobody knows whether it arrived, and its thread may go on for a while.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from pipeline.oncall.outbox import Answer, Result

SEND_S_MAX: Final = 60.0
"""More than any honest send takes: 5 s to connect, 10 s for an answer's head, 10 s for its body; mail has six steps."""
ABANDONED_MAX: Final = 32
_log = structlog.stdlib.get_logger("alerts")


class SendsStuck(Exception):
    """So many sends never ended that a new process is the better remedy."""


class Ended(NamedTuple):
    name: str
    result: Result


class _Running(NamedTuple):
    number: int
    began_at_s: float


class Senders:
    """For one thread, which starts sends and collects what became of them."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._running: dict[str, _Running] = {}
        self._ended: queue.SimpleQueue[tuple[int, Ended]] = queue.SimpleQueue()
        self._abandoned: set[int] = set()
        self._started = 0

    @property
    def abandoned(self) -> int:
        return len(self._abandoned)

    @property
    def is_idle(self) -> bool:
        return not self._running

    def is_busy(self, name: str) -> bool:
        return name in self._running

    def start(self, name: str, send: Callable[[], Result]) -> None:
        assert name not in self._running, "one send at a time"
        self._started += 1
        self._running[name] = _Running(self._started, self._clock_s())
        threading.Thread(
            target=self._carry_out, args=(self._started, name, send), name=f"send-{name}", daemon=True
        ).start()

    def collect(self) -> list[Ended]:
        """What has ended since. Raises SendsStuck."""
        found: list[Ended] = []
        while True:
            try:
                number, ended = self._ended.get_nowait()
            except queue.Empty:
                break
            if number in self._abandoned:
                self._abandoned.discard(number)  # it was told as in doubt
            else:
                del self._running[ended.name]
                found.append(ended)
        found += self._overdue()
        if len(self._abandoned) > ABANDONED_MAX:
            raise SendsStuck(f"{len(self._abandoned)} sends did not end")
        return found

    def _overdue(self) -> list[Ended]:
        now_s = self._clock_s()
        overdue = [name for name, running in self._running.items() if now_s - running.began_at_s > SEND_S_MAX]
        for name in overdue:
            self._abandoned.add(self._running.pop(name).number)
            _log.error("send_abandoned", sink=name)
        return [Ended(name, Result(Answer.IN_DOUBT, "it did not end in time")) for name in overdue]

    def _carry_out(self, number: int, name: str, send: Callable[[], Result]) -> None:
        try:
            result = send()
        except Exception as error:  # the thread's outermost frame: a fault of ours in one sink stops no other
            # The place only: a message could quote what the sink is sent.
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("send_failed", sink=name, error=type(error).__name__, at=f"{place.filename}:{place.lineno}")
            result = Result(Answer.IN_DOUBT, f"a fault of ours ({type(error).__name__})")
        self._ended.put((number, Ended(name, result)))
