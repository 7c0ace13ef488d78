"""Incidents in PostgreSQL: what the service appends of alerts, and incidents as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from pipeline.breaker.told_transitions import UNPROVED, ToldTransition
from pipeline.domain.alert import Alert, IncidentKind
from pipeline.incident.acts import expected
from pipeline.incident.incidents import AlertGroup, EventKind, Incident, PersonEvent, ToldAlert
from pipeline.incident.placing import Standing
from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import proved
from pipeline.people.registry import Expected, Registry

ALERTS_READ: Final = 500
"""Alerts of an incident that are read one by one, the first; all are counted."""
TRANSITIONS_READ: Final = 2_000
"""Transitions of an incident, the first; the first and the last of each scope are read in any case."""
PAGES_MAX: Final = 200
"""Groups of alerts that are ended with an incident; each takes a signature. An incident has a few dozen at most, and
beyond 50 scopes they are one."""
_SQL: Final = statements("pipeline.incident", "incident")


class Place(NamedTuple):
    """A record's place on alerts.v1."""

    partition: int
    offset: int


def take_turn(connection: Connection) -> None:
    """Wait until nobody else places alerts or resolves incidents; until the transaction ends."""
    connection.execute(_SQL["take_turn"])


def append_transition(connection: Connection, told: Alert, transition: ToldTransition, place: Place) -> bool:
    """Store a transition; return whether it wasn't there yet. told: as it is kept."""
    row = {
        **transition._asdict(),
        **place._asdict(),
        "alert_id": told.alert_id,
        "counts": Jsonb(dict(transition.counts)),
        "evidence": Jsonb(told.evidence),
    }
    return connection.execute(_SQL["append_transition"], row).rowcount == 1


def is_stored(connection: Connection, told: Alert) -> bool:
    """Return whether exactly this raising of an alert is part of an incident."""
    row = {"alert_id": told.alert_id, "raised_at_ms": told.raised_at_ms}
    found = connection.execute(_SQL["is_stored"], row).fetchone()
    assert found is not None, "EXISTS has one row"
    return bool(found[0])


class OpenIncidents:
    """The incidents that nobody is proved to have resolved. For one thread.

    Those that somebody has are remembered, because what was proved once is proved for ever.
    """

    def __init__(self) -> None:
        self._resolved: set[str] = set()

    def of(self, connection: Connection, kind: IncidentKind, registry: Registry) -> list[Standing]:
        """Within the caller's transaction, who has its turn."""
        asked = {"kind": str(kind), "resolved": sorted(self._resolved), "unproved": UNPROVED}
        found = []
        for incident_id, scopes, first_ms, last_ms, has_resolution, is_proved in connection.execute(
            _SQL["standing"], asked
        ).fetchall():
            if has_resolution and _is_resolved(connection, incident_id, registry):
                self._resolved.add(incident_id)
                continue
            found.append(Standing(incident_id, frozenset(scopes), first_ms, last_ms, is_proved))
        return found


def append_incident(
    connection: Connection, incident_id: str, kind: IncidentKind, told: Alert, suspect_since_ms: int
) -> None:
    row = {"incident_id": incident_id, "kind": str(kind), "suspect_since_ms": suspect_since_ms, **told._asdict()}
    connection.execute(_SQL["append_incident"], {name: row[name] for name in _INCIDENT_COLUMNS})


_INCIDENT_COLUMNS: Final = ("incident_id", "kind", "alert_id", "raised_at_ms", "suspect_since_ms")


def append_alert(connection: Connection, incident_id: str, told: Alert, place: Place) -> None:
    row = {
        **told._asdict(),
        **place._asdict(),
        "incident_id": incident_id,
        "severity": str(told.severity),
        "evidence": Jsonb(told.evidence),
    }
    connection.execute(_SQL["append_alert"], row)


class PageOfIncident(NamedTuple):
    """A group of alerts that people are told of. is_whole: whether all of it that isn't over is of the incident."""

    group_id: str
    code: str
    scope: str
    is_whole: bool


def read_pages(connection: Connection, incident_id: str) -> list[PageOfIncident]:
    """Return the groups that hold an alert of the incident and that nothing says are over, the oldest first."""
    asked = {"incident_id": UUID(incident_id), "limit": PAGES_MAX}
    return [PageOfIncident(*row) for row in connection.execute(_SQL["read_pages"], asked).fetchall()]


def append_event(connection: Connection, incident_id: str, event: PersonEvent) -> None:
    row = {**event._asdict(), "incident_id": incident_id, "kind": str(event.kind)}
    connection.execute(_SQL["append_event"], row)


def newest_ids(connection: Connection, registry: Registry, limit: int, *, is_all: bool) -> list[str]:
    """Return so many of the newest incidents; without `is_all` of those that nobody is proved to have resolved."""
    found: list[str] = []
    for incident_id, has_resolution in connection.execute(_SQL["read_ids"]).fetchall():
        if len(found) == limit:
            break
        if is_all or not (has_resolution and _is_resolved(connection, incident_id, registry)):
            found.append(incident_id)
    return found


def ids_like(connection: Connection, beginning: str) -> list[str]:
    """Return up to two ids that begin so."""
    return [incident_id for (incident_id,) in connection.execute(_SQL["ids_like"], [beginning]).fetchall()]


def like_it(connection: Connection, incident_id: str) -> list[str]:
    """Return other incidents of its kind in its scopes, of the half year before, newest first."""
    return [other for other, _ in connection.execute(_SQL["like_it"], [UUID(incident_id)]).fetchall()]


def read_incident(connection: Connection, incident_id: str, registry: Registry) -> Incident | None:
    """Read an incident and prove what people are said to have done about it; in one snapshot if the caller wants."""
    key = UUID(incident_id)
    opened = connection.execute(_SQL["read_incident"], [key]).fetchone()
    if opened is None:
        return None
    _, kind, raised_at_ms, suspect_since_ms = opened
    scopes = [scope for (scope,) in connection.execute(_SQL["read_scopes"], [key]).fetchall()]
    alerts = [_told_alert(row) for row in connection.execute(_SQL["read_alerts"], [key, ALERTS_READ]).fetchall()]
    groups = [AlertGroup(*row) for row in connection.execute(_SQL["read_groups"], [key]).fetchall()]
    asked = {"incident_id": key, "limit": TRANSITIONS_READ}
    transitions = [_transition(row) for row in connection.execute(_SQL["read_transitions"], asked).fetchall()]
    events = read_events(connection, incident_id)
    counting = _proved(connection, incident_id, events, registry)
    return Incident(
        incident_id,
        kind,
        raised_at_ms,
        suspect_since_ms,
        scopes,
        alerts,
        groups,
        transitions,
        [event for event in events if event.act in counting],
        [event for event in events if event.act not in counting],
    )


def _told_alert(row: Sequence[Any]) -> ToldAlert:
    told = ToldAlert(*row)
    evidence = {name: value for name, value in _members(told.evidence).items() if isinstance(value, str)}
    return told._replace(evidence=evidence)


def _transition(row: Sequence[Any]) -> ToldTransition:
    told = ToldTransition(*row)
    return told._replace(counts={name: value for name, value in _members(told.counts).items() if type(value) is int})


def _members(stored: object) -> dict[str, object]:
    """Return a JSON column's members; none of what is no object, which the service itself never writes."""
    return stored if isinstance(stored, dict) else {}


def read_events(connection: Connection, incident_id: str) -> list[PersonEvent]:
    rows = connection.execute(_SQL["read_events"], [UUID(incident_id)]).fetchall()
    return [PersonEvent(sequence, EventKind(kind), *rest) for sequence, kind, *rest in rows]


def _is_resolved(connection: Connection, incident_id: str, registry: Registry) -> bool:
    events = [each for each in read_events(connection, incident_id) if each.kind is EventKind.RESOLVED]
    return bool(_proved(connection, incident_id, events, registry))


def _proved(connection: Connection, incident_id: str, events: Sequence[PersonEvent], registry: Registry) -> set[str]:
    claims: dict[str | None, Expected] = {event.act: expected(incident_id, event) for event in events}
    return proved(connection, registry, claims) if claims else set()
