"""Whether what people did in a case counts: their signatures, keys and roles, and the rules of the case.

The desk asks before anybody acts on what waits, the service before it publishes an outcome. Whatever a row says that
nobody proved is VOIDED, which makes the case open again.
"""

from __future__ import annotations

from pipeline.io.postgres import Connection
from pipeline.people.act_store import unproved
from pipeline.people.registry import Registry
from pipeline.review.case_store import CaseFile, append_event
from pipeline.review.cases import CaseEvent, ReviewRules, claimed_acts, rule_fault, voiding


def void_reason(connection: Connection, registry: Registry, file: CaseFile, rules: ReviewRules) -> str | None:
    """Return why what waits in the case counts as nothing; None where it counts, or nothing of a person's waits."""
    at = file.standing
    fault = unproved(connection, registry, claimed_acts(file.case, at), is_pending=True)
    return fault if fault is not None else rule_fault(file.case, at, rules)


def append_void(connection: Connection, file: CaseFile, reason: str, at_ms: int) -> tuple[CaseFile, CaseEvent | None]:
    """Void what waits, in the caller's transaction; return the case after it, and the event where there is one."""
    event = voiding(file.standing, f"It counts as nothing: {reason}.", at_ms)
    if event is None:
        return file, None
    append_event(connection, file.case, event)
    return file._replace(events=(*file.events, event)), event
