"""The desk where people see to incidents: each act is one transaction, signed by the person's own key.

Whether an act is possible is judged by what is proved at that moment, and nobody places an alert meanwhile, so that no
alert joins what is just being resolved.

Who resolves an incident says that what people were paged for is over. So the same transaction holds that person's act
on each group of alerts that is the incident's alone, and the service of alerts tells every sink, once it runs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from psycopg import errors

from pipeline.domain.free_text import reason_fault, tidied
from pipeline.incident.acts import ROLES, expected
from pipeline.incident.dora import Answer, Criterion
from pipeline.incident.incident_store import PageOfIncident, append_event, read_incident, read_pages, take_turn
from pipeline.incident.incidents import EVENTS_MAX, EventKind, Incident, PersonEvent, is_possible
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, failures_named
from pipeline.oncall.desk_store import DeskRefused, end_group
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known, person_of


class ActRefusal(StrEnum):
    """Why an act is refused, in order of precedence."""

    KEY_UNKNOWN = UNKNOWN_KEY
    NO_OPERATOR = "only an OPERATOR sees to incidents"
    RESOLVED_ALREADY = "the incident is resolved; only notes are added to it"
    ACKNOWLEDGED_ALREADY = "the incident is acknowledged already"
    TOO_MANY = "the incident has more events than can be kept"
    BAD_TEXT = "the text"  # and what is wrong with it


class ActRefused(Exception):
    """An act is refused; the message is one sentence without a full stop."""


class Said(NamedTuple):
    """What a person says. criterion, answer: of a note about one of DORA's criteria."""

    kind: EventKind
    text: str
    criterion: Criterion | None = None
    answer: Answer | None = None


def act(
    connection: Connection,
    incident_id: str,
    by: Identity,
    said: Said,
    assessment: str | None = None,
) -> Incident:
    """Sign and store what somebody does about an incident; return the incident after it.

    assessment: JSON of what is known, kept with a resolution. Raises ActRefused, DatabaseRefused, DatabaseUnavailable.
    """
    with failures_named():
        registry = read_registry(connection)
        try:
            with connection.transaction():
                take_turn(connection)
                before = _read(connection, incident_id, registry)
                event = _event(connection, before, registry, by, said)._replace(assessment=assessment)
                wanted = expected(incident_id, event)
                signed = sign_act(connection, by, wanted.kind, wanted.subject, registry)
                append_event(connection, incident_id, event._replace(act=signed))
                if said.kind is EventKind.RESOLVED:
                    _end_pages(connection, incident_id, by)
            return _read(connection, incident_id, registry)
        except errors.CheckViolation as error:
            # Our own triggers' sentences name no incident; a constraint's message would quote one.
            own = None if error.diag.constraint_name else error.diag.message_primary
            raise ActRefused(own or "a check failed") from None
        except DeskRefused as refusal:
            raise ActRefused(f"the pages about it can't be ended: {refusal}") from None
        except errors.UniqueViolation:
            raise ActRefused("somebody else acted at the same moment; look at the incident again") from None


def pages_left(connection: Connection, incident_id: str) -> list[PageOfIncident]:
    """Return the groups of alerts that are not over, though the incident is: they hold others' alerts, too.

    Raises DatabaseRefused, DatabaseUnavailable.
    """
    with failures_named():
        return read_pages(connection, incident_id)


def _end_pages(connection: Connection, incident_id: str, by: Identity) -> None:
    for page in read_pages(connection, incident_id):
        if page.is_whole:
            note = f"the incident {incident_id} is resolved"
            end_group(connection, page.group_id, note, by)


def refusal_of(incident: Incident, registry: Registry, by: Identity, said: Said) -> str | None:
    """Return why an act is refused, or None where it isn't."""
    if not is_known(registry, by):
        return ActRefusal.KEY_UNKNOWN
    if not person_of(registry, by).holds(*ROLES):
        return ActRefusal.NO_OPERATOR
    if not is_possible(incident.state, said.kind):
        is_over = incident.resolved is not None
        return ActRefusal.RESOLVED_ALREADY if is_over else ActRefusal.ACKNOWLEDGED_ALREADY
    if len(incident.events) >= EVENTS_MAX:
        return ActRefusal.TOO_MANY
    fault = reason_fault(said.text)
    return None if fault is None else f"{ActRefusal.BAD_TEXT} {fault}"


def _event(connection: Connection, incident: Incident, registry: Registry, by: Identity, said: Said) -> PersonEvent:
    if (refusal := refusal_of(incident, registry, by, said)) is not None:
        raise ActRefused(refusal)
    return PersonEvent(
        incident.next_sequence,
        said.kind,
        by.name,
        server_now_ms(connection),
        tidied(said.text),
        None if said.criterion is None else str(said.criterion),
        None if said.answer is None else str(said.answer),
        None,
        "",
    )


def _read(connection: Connection, incident_id: str, registry: Registry) -> Incident:
    found = read_incident(connection, incident_id, registry)
    if found is None:
        raise DatabaseRefused(f"there is no incident {incident_id}")
    return found
