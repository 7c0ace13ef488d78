"""Which drills are due, by the records of those that were carried out.

Only a drill that was carried out in full counts: one with shortened windows shows that the parts work, and not how long
they take. One that failed counts as carried out, because its report says what is wrong; one that could not be carried
out does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.drills.drills import DrillName, Verdict

DAY_MS: Final = 24 * 3_600_000


class Carried(NamedTuple):
    """A record of a drill. is_full: with the windows of the policy in force."""

    drill: str
    ended_at_ms: int
    verdict: str
    is_full: bool


class Due(NamedTuple):
    """When a drill was last carried out, None for never, and when it is due: then at once."""

    drill: DrillName
    last_at_ms: int | None
    last_verdict: str | None
    due_at_ms: int
    is_overdue: bool


def schedule(carried: Iterable[Carried], every_days: int, now_ms: int) -> list[Due]:
    """Return every drill, in the order of their names. A record from the future says nothing about now."""
    latest: dict[str, Carried] = {}
    for each in carried:
        if not each.is_full or each.verdict not in (Verdict.PASSED, Verdict.FAILED) or each.ended_at_ms > now_ms:
            continue
        if each.drill not in latest or latest[each.drill].ended_at_ms < each.ended_at_ms:
            latest[each.drill] = each
    return [_due(drill, latest.get(drill), every_days, now_ms) for drill in DrillName]


def _due(drill: DrillName, last: Carried | None, every_days: int, now_ms: int) -> Due:
    if last is None:
        return Due(drill, None, None, now_ms, is_overdue=True)
    due_at_ms = last.ended_at_ms + every_days * DAY_MS
    return Due(drill, last.ended_at_ms, last.verdict, due_at_ms, is_overdue=due_at_ms <= now_ms)
