"""Where an alert belongs: in an incident that is open, or in one that it opens.

Invariants
1. The same raising of an alert leads to the same incident id, whenever and how often it is read.
2. An alert never joins an incident that somebody is proved to have resolved.
3. What a worker is proved to have told never joins an incident in which nothing is proved. Whoever may write alerts.v1
   could else open one beforehand, and who resolves that as made up would end what the worker told of.
4. What is kept of an alert fits its columns, whatever it says: text of any length, characters and times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.alerts.catalogue import alert_id_of
from pipeline.breaker.told_transitions import window_from_ms
from pipeline.domain.alert import Alert, IncidentKind
from pipeline.domain.times import claim_ms

JOINED_MS: Final = 3_600_000
"""Alerts of one kind within an hour of an open incident's first or last are taken for the same: a model that goes wrong
trips its version first and single segments later, and what follows from one fault comes in minutes."""
OPEN_MAX: Final = 200
"""Open incidents of one kind beyond which an alert joins one in any case: more than people see to. Whoever may write
alerts.v1 names scopes and times as they like, each would open another, and placing an alert looks at all of them."""
WINDOW_MS_MAX: Final = 24 * 3_600_000
"""Longest window that is believed; a policy allows an hour."""
SCOPE_CHARACTERS_MAX: Final = 500
TEXT_CHARACTERS_MAX: Final = 4_000
EVIDENCE_MAX: Final = 100
"""Pieces of evidence that are kept, in the order of their names. Alerts have about ten."""
_NAMESPACE: Final = UUID("8a3c2f5e-6d1b-5f04-9e27-41c7d0b96a35")
_NUL: Final = "\x00"  # PostgreSQL holds it in no text


class Standing(NamedTuple):
    """An open incident: its scopes, and its first and last alert.

    is_proved: whether it holds what a worker is proved to have told.
    """

    incident_id: str
    scopes: frozenset[str]
    first_ms: int
    last_ms: int
    is_proved: bool = False

    def joined_by(self, told: Alert, *, is_proved: bool = False) -> Standing:
        at_ms = told.raised_at_ms
        return self._replace(
            scopes=self.scopes | {told.scope},
            first_ms=min(self.first_ms, at_ms),
            last_ms=max(self.last_ms, at_ms),
            is_proved=self.is_proved or is_proved,
        )


def kept(told: Alert) -> Alert:
    """Return an alert as it is kept, under the id that follows from what it says."""
    evidence = {
        _cut(name, SCOPE_CHARACTERS_MAX): _cut(told.evidence[name], TEXT_CHARACTERS_MAX)
        for name in sorted(told.evidence)[:EVIDENCE_MAX]
    }
    return told._replace(
        alert_id=alert_id_of(told.code, told.scope, told.evidence),
        raised_at_ms=claim_ms(told.raised_at_ms),
        code=_cut(told.code, SCOPE_CHARACTERS_MAX),
        summary=_cut(told.summary, TEXT_CHARACTERS_MAX),
        scope=_cut(told.scope, SCOPE_CHARACTERS_MAX),
        evidence=evidence,
    )


def joined(told: Alert, open_incidents: Sequence[Standing], *, is_proved: bool = False) -> Standing | None:
    """Return the open incident of its kind that an alert joins, or None where it opens one.

    is_proved: a worker is proved to have told it, so that only an incident that holds such an alert will do.

    The latest that has its scope goes first; then the latest whose first or last alert is within JOINED_MS. What lies
    between them doesn't count, or one alert of a wrong clock would take in everything up to its time. Beyond OPEN_MAX
    it is the one whose first or last alert is nearest.
    """
    fitting = [each for each in open_incidents if each.is_proved or not is_proved]
    latest_first = sorted(fitting, key=lambda each: (each.last_ms, each.incident_id), reverse=True)
    for each in latest_first:
        if told.scope in each.scopes:
            return each
    for each in latest_first:
        if _apart_ms(told, each) <= JOINED_MS:
            return each
    return None if len(latest_first) < OPEN_MAX else min(latest_first, key=lambda each: _apart_ms(told, each))


def _apart_ms(told: Alert, incident: Standing) -> int:
    return min(abs(told.raised_at_ms - at_ms) for at_ms in (incident.first_ms, incident.last_ms))


def incident_id_of(kind: IncidentKind, told: Alert) -> str:
    """Return the id of the incident that a kept alert opens."""
    return str(uuid5(_NAMESPACE, f"{kind}|{told.alert_id}|{told.raised_at_ms}"))


def suspect_since(told: Alert, lookback_ms: int) -> int:
    """Return the time of the first decisions that are suspect, in milliseconds.

    The breaker says on which window it decided; what went wrong may have begun before that, and some time back is
    looked at whatever it says.
    """
    before_ms = told.raised_at_ms - lookback_ms
    window_ms = window_from_ms(told.evidence)
    is_said = window_ms is not None and told.raised_at_ms - WINDOW_MS_MAX <= window_ms
    return claim_ms(min(before_ms, window_ms) if window_ms is not None and is_said else before_ms)


def _cut(text: str, characters_max: int) -> str:
    return text.replace(_NUL, "\ufffd")[:characters_max]
