"""The pace at which a plan is carried out, and the portions in which it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

CHUNK_RECORDS_MAX: Final = 500
CHUNKS_A_SECOND: Final = 5
"""Portions a second in which records are appended, so that a rate is kept within a fifth of it."""


class Pace:
    """Keeps a rate, and knows when to stop."""

    def __init__(self, rate_per_s: float, stopping: threading.Event) -> None:
        self._rate_per_s, self._stopping = rate_per_s, stopping
        self._begun, self._due_s = time.monotonic(), 0.0
        self.chunk_records = max(1, min(CHUNK_RECORDS_MAX, int(rate_per_s / CHUNKS_A_SECOND)))

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def is_told_to_stop(self, count: int) -> bool:
        """Wait until as much time has passed as what was appended may take."""
        self._due_s += count / self._rate_per_s
        return self._stopping.wait(max(0.0, self._due_s - self.seconds))

    def pause(self, seconds: float) -> bool:
        """Wait for something else; time that passes so doesn't let the next records come faster."""
        begun = time.monotonic()
        is_stopped = self._stopping.wait(seconds)
        self._due_s += time.monotonic() - begun
        return is_stopped


_Each = TypeVar("_Each")


def chunks(lines: Iterable[_Each], size: int) -> Iterator[list[_Each]]:
    left = iter(lines)
    while chunk := list(islice(left, size)):
        yield chunk
