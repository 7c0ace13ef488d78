"""Silences: until when nobody is told of which groups, by whom and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.oncall.groups import NEVER_SILENCED, GroupKey, matches


class Silence(NamedTuple):
    """code, scope: patterns with * and ?. severity: one, or * for all. ended_by: who ended it before its time."""

    silence_id: str
    code: str
    scope: str
    severity: str
    began_at_ms: int
    ends_at_ms: int
    silenced_by: str
    reason: str
    ended_by: str | None = None

    def covers(self, key: GroupKey) -> bool:
        return (
            key.code not in NEVER_SILENCED
            and matches(key.code, self.code)
            and matches(key.scope, self.scope)
            and self.severity in ("*", key.severity)
        )

    def is_in_force(self, now_ms: int) -> bool:
        return self.ended_by is None and self.began_at_ms <= now_ms < self.ends_at_ms


def silenced(silences: Iterable[Silence], key: GroupKey, now_ms: int) -> Silence | None:
    """The silence that keeps people from being told of a group now."""
    return next((each for each in silences if each.is_in_force(now_ms) and each.covers(key)), None)
