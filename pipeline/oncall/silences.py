"""Silences: until when nobody is told of which groups, by whom and why; and the word to those who would be told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.times import utc_text
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


_WORST_FIRST: Final = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


def silence_alert(silence: Silence) -> Alert:
    """Make the alert that tells of a silence, as urgent as the most urgent that it keeps from people: they are told.

    It is the same however often it is made.
    """
    severity = "" if silence.severity == "*" else f"{silence.severity} "
    what = f"{severity}{silence.code} ({silence.scope}) until {utc_text(silence.ends_at_ms)}"
    evidence = {
        "silence": silence.silence_id,
        "code": silence.code,
        "scope": silence.scope,
        "severity": silence.severity,
        "until": utc_text(silence.ends_at_ms),
        "by": silence.silenced_by,
    }
    summary = f"{silence.silenced_by} silenced {what}: {silence.reason}"
    return alert(
        AlertCode.ALERTS_SILENCED, summary, "all", evidence, silence.began_at_ms, _most_urgent_silenced(silence)
    )


def _most_urgent_silenced(silence: Silence) -> Severity:
    """Of a code that isn't in the catalogue it is taken to be whatever the silence allows: a later release may have
    it."""
    allowed = [each for each in _WORST_FIRST if silence.severity in ("*", each)]
    raised = {
        severity
        for code, entry in CATALOGUE.items()
        if code not in NEVER_SILENCED and matches(code, silence.code)
        for severity in entry.severities
    }
    found = [each for each in allowed if each in raised or not raised]
    return found[0] if found else Severity.INFO
