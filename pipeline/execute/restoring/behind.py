"""Whether a ledger is older than what was done from it, by where it stands and by what was told on executions.v1.

Invariants
1. A ledger is passed only where its life is known, was begun where the database stands, and nothing was told that it
   doesn't have.
2. What a crash leaves is passed: a step into rest is told before it is stored, so of each execution one step may have
   been told that the ledger lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.domain.execution import Execution
from pipeline.execute.restoring.lives import told_step


def moved(life: int, began_in: object, stands_in: object) -> str | None:
    """Why the ledger may have been put back, by its home; None: it stands where its life began."""
    if not life:
        return "the ledger does not say which life it is in"
    if began_in != stands_in:
        return "the database was restored from a backup, or a standby has taken over"
    return None


def latest_told(told: Iterable[Execution]) -> dict[str, tuple[int, int]]:
    """The life and the step of the last that was told about each execution."""
    latest: dict[str, tuple[int, int]] = {}
    for each in told:
        latest[each.execution_id] = max(latest.get(each.execution_id, (0, 0)), told_step(each.sequence))
    return latest


def latest_life(told: Iterable[Execution]) -> int:
    """The latest life that told anything; 0 where nothing was. One that was lost with its database may have."""
    return max((told_step(each.sequence)[0] for each in told), default=0)


def outrun(life: int, latest: Mapping[str, tuple[int, int]], taken: Mapping[str, int]) -> str | None:
    """Why the ledger is older than what was told; None: it has all of it.

    taken: how many steps each execution that the ledger knows has taken.
    """
    for name, (told_life, told) in sorted(latest.items()):
        if told_life > life:
            return f"executions.v1 tells of life {told_life} of the ledger, which is in life {life}"
        if told_life == life and (name not in taken or taken[name] < told - 1):
            return f"executions.v1 tells of steps of execution {name} that the ledger does not have"
    return None
