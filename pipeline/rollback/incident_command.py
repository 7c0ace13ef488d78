"""What an incident says about the decisions that a plan is to be about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.domain.alert import IncidentKind
from pipeline.incident.incidents import Exposure, Incident, exposures
from pipeline.incident.radius import Sought, not_understood, sought
from pipeline.terminal.failures import FAILED_CHECK, Failure


class Selection(NamedTuple):
    """An incident's decisions, as options of `fraud rollback plan` select them."""

    incident_id: str
    model: str | None
    segment: str | None
    since: datetime
    until: datetime


def selection_of(incident: Incident, now_ms: int, *, is_scope_chosen: bool, is_time_chosen: bool = False) -> Selection:
    """Return the time of an incident, and its scope unless the request chooses one.

    Failure where no decisions of a model follow from it, where no option selects its scopes and none is chosen, and
    where all was well in between and no time is chosen: a plan would take back what was decided rightly.
    """
    if incident.kind != IncidentKind.MODEL:
        what = f"Incident {incident.incident_id} is not about a model, so no decisions of one follow from it."
        raise Failure(what, "Select by --since, --until, --list and the like.", FAILED_CHECK)
    exposed = exposures(incident, now_ms)
    scopes = sought(exposed)
    only = Sought(None, None, None, None, 0, 0) if is_scope_chosen else _one(incident, scopes)
    if not is_scope_chosen and not_understood(exposed):
        what = f"No option selects the scope {', '.join(incident.scopes)}."
        raise Failure(what, "Give --model, --segment or --list; the time is the incident's.", FAILED_CHECK)
    if not is_time_chosen and (gap := _gap(exposed)) is not None:
        what = f"The incident has several times: all was well from {_at(gap[0])} to {_at(gap[1])}."
        raise Failure(what, "Choose one by --since and --until; `fraud incident show` has its timeline.", FAILED_CHECK)
    segment = None if only.segment_name is None else f"{only.segment_name}={only.segment_value}"
    since_ms, until_ms = min(each.since_ms for each in scopes), max(each.until_ms for each in scopes)
    return Selection(incident.incident_id, only.model, segment, _at(since_ms), _at(until_ms))


def _gap(exposed: Sequence[Exposure]) -> tuple[int, int] | None:
    """The first stretch in which none of the incident's scopes was affected, though some were before and after."""
    reached_ms: int | None = None
    for each in sorted(exposed, key=lambda each: each.since_ms):
        if reached_ms is not None and each.since_ms > reached_ms:
            return reached_ms, each.since_ms
        reached_ms = max(each.until_ms, reached_ms or each.until_ms)
    return None


def _one(incident: Incident, scopes: list[Sought]) -> Sought:
    """The scope that a plan can select; that of all traffic includes the others."""
    everything = [each for each in scopes if each[:4] == (None, None, None, None)]
    if everything:
        return everything[0]
    if len({each[:4] for each in scopes}) > 1:
        what = f"The incident has several scopes: {', '.join(incident.scopes)}."
        raise Failure(what, "Choose by --model or --segment; its time is the incident's.", FAILED_CHECK)
    if scopes[0].channel is not None:
        what = f"No option selects the scope {incident.scopes[0]}."
        raise Failure(what, "Give --model, --segment or --list; the time is the incident's.", FAILED_CHECK)
    return scopes[0]


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
