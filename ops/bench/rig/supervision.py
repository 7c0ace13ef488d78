"""Processes of a bench that run together. They start in order, are started again where they end, and end together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ops.processes.servers import START_DEADLINE_S, ServerFailed, ServerProcess


@contextmanager
def running(*processes: ServerProcess) -> Iterator[None]:
    """Start processes in order, and end them on leaving, even those that were killed and started again meanwhile."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        stop_all(processes)


@contextmanager
def running_together(*processes: ServerProcess, deadline_s: float = START_DEADLINE_S) -> Iterator[None]:
    """Start processes that don't wait for each other all at once, and end them on leaving, as `running` does."""
    try:
        for process in processes:
            process.launch()
        for process in processes:
            process.wait_ready(deadline_s=deadline_s)
        yield
    finally:
        stop_all(processes)


def stop_all(processes: Iterable[ServerProcess]) -> None:
    for process in processes:
        process.stop()


class Supervisor:
    """Starts processes that ended by themselves again, as a supervisor in production would."""

    def __init__(self, restarts_max: int, start_deadline_s: float = START_DEADLINE_S) -> None:
        self._restarts_max, self._start_deadline_s = restarts_max, start_deadline_s
        self.restarts = 0

    def look_after(self, processes: Iterable[ServerProcess]) -> None:
        for process in processes:
            if not process.is_running:
                self.restarts += 1
                assert self.restarts <= self._restarts_max, f"processes keep ending; see {process.log_path}"
                self.start(process)

    def start(self, process: ServerProcess) -> None:
        """Start a process that was ended on purpose; where it ends by itself meanwhile, the next look starts it again.

        A server that has just come back, or a member of a group that another had taken for lost, may end it.
        """
        with contextlib.suppress(ServerFailed):
            process.start(deadline_s=self._start_deadline_s)
