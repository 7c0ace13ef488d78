"""Acts about incidents: people sign the incident, the event's place and time, and every word of it."""

from __future__ import annotations

import hashlib
from typing import Final

from pipeline.incident.incidents import EventKind, PersonEvent
from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import Role

ROLES: Final = (Role.OPERATOR,)
ACT_KINDS: Final = {
    EventKind.ACKNOWLEDGED: ActKind.INCIDENT_ACKNOWLEDGED,
    EventKind.NOTED: ActKind.INCIDENT_NOTED,
    EventKind.RESOLVED: ActKind.INCIDENT_RESOLVED,
}


def expected(incident_id: str, event: PersonEvent) -> Expected:
    """Return the act that an event must have; `event.act` doesn't count."""
    assessed = None if event.assessment is None else hashlib.sha256(event.assessment.encode()).hexdigest()
    subject: Subject = {
        "incident_id": incident_id,
        "sequence": event.sequence,
        "event_at_ms": event.at_ms,
        "text": event.text,
        "criterion": event.criterion,
        "answer": event.answer,
        "assessment_sha256": assessed,
    }
    return Expected(ACT_KINDS[event.kind], event.actor, subject, ROLES)
