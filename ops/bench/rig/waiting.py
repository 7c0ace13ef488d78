"""Waiting for what a bench brings about; every wait has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ops.bench.rig.topics_io import committed_counts

GROUP: Final = "fraud-decide"
"""Consumer group of the worker, unless it is told otherwise."""
POLL_S: Final = 0.25


def wait_until(
    is_done: Callable[[], bool],
    deadline_s: float,
    what: str,
    *,
    every_s: float = POLL_S,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until `is_done`; raise TimeoutError once `what` took longer. `meanwhile` is called between two looks."""
    deadline = time.monotonic() + deadline_s
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {deadline_s:.0f} s")
        meanwhile()
        time.sleep(every_s)


def wait_committed(
    bootstrap_servers: str,
    count: int,
    deadline_s: float,
    what: str,
    *,
    prefix: str = "",
    group: str = GROUP,
    every_s: float = POLL_S,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until the group has committed `count` records of transactions.v1."""

    def is_committed() -> bool:
        return committed_counts(bootstrap_servers, group, f"{prefix}transactions.v1") >= count

    wait_until(is_committed, deadline_s, what, every_s=every_s, meanwhile=meanwhile)
