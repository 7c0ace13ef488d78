"""The watchdog ends a process that stands still, so that its slot is filled again.

When a broker goes away and comes back, librdkafka may wait past its own timeouts, or aiokafka's thread may die while
others wait for it. Nothing outside can interrupt a thread that waits in C, or the event loop, but the process can be
ended. That loses nothing: what was not committed is read again, and the successor in the slot aborts the open
transaction.

The watch counts its own ticks instead of asking a clock, so that a machine or a process that was stopped as a whole
and continues doesn't count as one of which a part stood still.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import structlog

TICK_S: Final = 0.5
LOOP_LIMIT_S: Final = 20.0
"""Limit of one turn of the event loop. Judging a batch of 1000 payments takes a tenth of a second, and on a starved
machine a few seconds."""
LAST_RESORT_S: Final = 30.0
"""Limit within which the watch itself must tick; otherwise the process is ended from outside Python. A lock that is
never given back, such as the interpreter's own, stops every Python thread."""
LOG_LIMIT_S: Final = 2.0
"""Limit of the last line of the log, which may stand still too."""
FRAMES_SHOWN: Final = 6
STDERR: Final = 2  # the file descriptor itself, whatever has become of Python's stderr

log = structlog.get_logger("standstill")


class Pulse:
    """Something that is done again and again, but never for longer than `limit_s` at a time.

    One thread begins and ends it, another looks at it.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self.name, self.limit_s = name, limit_s
        self.turn = 0  # odd while it is under way

    def begin(self) -> None:
        self.turn += 1 + self.turn % 2

    def end(self) -> None:
        self.turn += self.turn % 2

    @property
    def is_under_way(self) -> bool:
        return self.turn % 2 == 1


class TurnAges:
    """The number of ticks that each pulse has been in the same turn; it knows neither threads nor clocks."""

    def __init__(self, pulses: Sequence[Pulse]) -> None:
        self._turns: dict[Pulse, tuple[int, int]] = {pulse: (pulse.turn, 0) for pulse in pulses}

    def tick(self) -> Pulse | None:
        """Count one tick; return the first pulse that is past its limit, or None."""
        for pulse, (turn, ticks) in self._turns.items():
            is_same = pulse.is_under_way and pulse.turn == turn
            self._turns[pulse] = (pulse.turn, ticks + 1 if is_same else 0)
            if is_same and (ticks + 1) * TICK_S > pulse.limit_s:
                return pulse
        return None


class Watch:
    """A thread that ends the process when a pulse, or the event loop, stands still."""

    def __init__(self, pulses: Sequence[Pulse], *, end: Callable[[str], object] | None = None) -> None:
        self._loop_turn = Pulse("a turn of the event loop", LOOP_LIMIT_S)
        self._turn_ages = TurnAges([*pulses, self._loop_turn])
        self._end = end or end_process
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standstill", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start to watch; call it from the event loop that is to be watched."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        assert self._loop is not None
        while not self._stopped.wait(TICK_S):
            end_unless_cancelled(LAST_RESORT_S)
            if not self._loop_turn.is_under_way and not self._loop.is_closed():
                self._loop_turn.begin()
                self._loop.call_soon_threadsafe(self._loop_turn.end)
            if (stuck := self._turn_ages.tick()) is not None:
                self._end(f"{stuck.name} took more than {stuck.limit_s:.0f} s")
                return


def end_process(why: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once, and log where each thread is; a graceful stop would wait for what stands still."""
    end_unless_cancelled(LOG_LIMIT_S)
    log.critical("worker_ended", why=why, threads=_threads(), exc_info=error)
    os._exit(os.EX_TEMPFAIL)


def end_unless_cancelled(deadline_s: float) -> None:
    """Let a thread outside Python write where each thread is and end the process.

    It does so unless this function is called again, or the end is cancelled, within `deadline_s`.
    """
    faulthandler.dump_traceback_later(deadline_s, exit=True, file=STDERR)


def _threads() -> dict[str, list[str]]:
    """Return each thread's stack as function names and lines only, without values, so without personal data (I10)."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = {names.get(ident, str(ident)): frame for ident, frame in sys._current_frames().items()}
    return {
        name: [
            f"{os.path.basename(f.filename)}:{f.lineno} {f.name}"
            for f in traceback.extract_stack(frame)[-FRAMES_SHOWN:]
        ]
        for name, frame in stacks.items()
    }
