"""What an incident says about the decisions that a plan is to be about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.alerts.incident_kinds import IncidentKind
from pipeline.breaker.answer_counts import ALL
from pipeline.incident.incidents import Incident, exposures
from pipeline.terminal.failures import FAILED_CHECK, Failure


class Selection(NamedTuple):
    """An incident's decisions, as options of `fraud rollback plan` select them."""

    incident_id: str
    model: str | None
    segment: str | None
    since: datetime
    until: datetime


def selection_of(incident: Incident, now_ms: int, *, is_scope_chosen: bool) -> Selection:
    """Return the time of an incident, and its scope unless the request chooses one.

    Failure where no decisions of a model follow from it, or several scopes do and none is chosen.
    """
    if incident.kind != IncidentKind.MODEL:
        what = f"Incident {incident.incident_id} is not about a model, so no decisions of one follow from it."
        raise Failure(what, "Select by --since, --until, --list and the like.", FAILED_CHECK)
    exposed = exposures(incident, now_ms)
    scopes = sorted({each.scope for each in exposed})
    model, segment = None, None
    if not is_scope_chosen and ALL not in scopes:
        if len(scopes) > 1:
            what = f"The incident has several scopes: {', '.join(scopes)}."
            raise Failure(what, "Choose by --model or --segment; its time is the incident's.", FAILED_CHECK)
        model, segment = _options_of(scopes[0])
    since_ms, until_ms = min(each.since_ms for each in exposed), max(each.until_ms for each in exposed)
    return Selection(incident.incident_id, model, segment, _at(since_ms), _at(until_ms))


def _options_of(scope: str) -> tuple[str | None, str | None]:
    """The model and the segment that a scope of the breaker names. Failure where no option can select it."""
    kind, _, rest = scope.partition(":")
    if kind == "model" and rest:
        return rest, None
    if kind == "segment" and "=" in rest:
        return None, rest
    raise Failure(f"No option selects the scope {scope}.", "Give --model, --segment or --list.", FAILED_CHECK)


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
