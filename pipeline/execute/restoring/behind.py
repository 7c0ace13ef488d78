"""Whether a ledger is older than what was done from it, by where it stands and by what was told on executions.v1.

Invariants
1. A ledger is passed only where its life is known, was begun where the database stands, and nothing was told that it
   doesn't have.
2. What no executor of this ledger can have told is not obeyed, and stops nothing: whoever may write to executions.v1
   could have written it.
3. What a crash leaves is passed: a step into rest is told before it is stored, so of each execution one step may have
   been told that the ledger lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from pipeline.domain.execution import Execution
from pipeline.execute.restoring.lives import LIVES_LOST_MAX, told_step

TEXT_MAX: Final = 64
"""Characters of what stands in a record that no executor can have told, shown to people."""


class Heeded(NamedTuple):
    """What was told, as far as an executor of this ledger can have told it; and in words what can't have been."""

    told: list[Execution]
    implausible: list[str]


def heeded(life: int, told: Iterable[Execution]) -> Heeded:
    """Pass over what can't have been told by an executor of a ledger that is in this life, whoever wrote it."""
    found = Heeded([], [])
    for each in told:
        if (why := _implausible(life, each)) is None:
            found.told.append(each)
        else:
            found.implausible.append(why)
    return found


def _implausible(life: int, told: Execution) -> str | None:
    if not _is_id(told.execution_id):
        return f"execution {told.execution_id[:TEXT_MAX]!a} has no id of an execution"
    if told.sequence < 0:
        return f"execution {told.execution_id} has sequence {told.sequence}"
    told_life, _ = told_step(told.sequence)
    if told_life > life + LIVES_LOST_MAX:
        return f"execution {told.execution_id} is told of in life {told_life}, and the ledger is in life {life}"
    return None


def _is_id(text: str) -> bool:
    """Whether it is written as executors write ids; the database takes other spellings, too."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def moved(life: int, began_in: object, stands_in: object, restored_to: int) -> str | None:
    """Why the ledger may have been put back, by its home; None: it stands where its life began."""
    if not life:
        return "the ledger does not say which life it is in"
    if restored_to:
        return "a restore was begun and has not come to its end"
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
