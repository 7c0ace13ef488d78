"""Events of a case that are signed with nothing, as whoever has the review role's credential writes them."""

from __future__ import annotations

from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.people.act_store import append_act, read_registry
from pipeline.review.case_store import CaseFile, append_event, cases_by_name
from pipeline.review.cases import ACT_KINDS, CaseEvent, Kind, subject_of
from tests.known import identity
from tests.review.given import HOUR_MS


def look(connection: Connection, decision_id: str) -> CaseFile:
    return cases_by_name(connection, decision_id)[-1]


def event_of(file: CaseFile, kind: Kind, actor: str, **judged: object) -> CaseEvent:
    until_ms = now_ms() + HOUR_MS if kind is Kind.CLAIMED else None
    return CaseEvent(len(file.events) + 1, kind, actor, now_ms(), claimed_until_ms=until_ms, **judged)


def forge(thief: Connection, file: CaseFile, event: CaseEvent) -> CaseEvent:
    """Name the actor's key, and sign with nothing."""
    by, root = identity(event.actor), read_registry(thief).root
    act = by.sign(ACT_KINDS[event.kind], subject_of(file.case, event), server_now_ms(thief), root)
    append_act(thief, act._replace(signature=bytes(64)))
    return event._replace(act=act.digest)


def append_forged(thief: Connection, file: CaseFile, kind: Kind, actor: str, **judged: object) -> CaseFile:
    event = event_of(file, kind, actor, **judged)
    with thief.transaction():
        append_event(thief, file.case, forge(thief, file, event))
    return look(thief, file.case.decision_id)
