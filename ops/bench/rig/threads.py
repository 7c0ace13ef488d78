"""A thread of a bench that can be stopped, and whose failure doesn't go unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Thread:
    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self._run = run
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask the thread to end, and wait until it has. Raises RuntimeError where it failed."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise RuntimeError(f"{self._thread.name} failed") from self.failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failure = error
