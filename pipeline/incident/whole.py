"""An incident with all that is known of it: the value that commands and reports show, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.breaker.told_transitions import conditions_of
from pipeline.domain.times import utc_text
from pipeline.incident.dora import REGULATION, Classification, Finding
from pipeline.incident.incidents import Incident, PersonEvent, timeline
from pipeline.incident.radius import Affected, Radius

FORMAT: Final = "fraud-incident-v1"


class Whole(NamedTuple):
    """read_at_ms: the moment of the database at which all of it was read."""

    incident: Incident
    radius: Radius
    classification: Classification
    read_at_ms: int


def brief_json(incident: Incident) -> dict[str, object]:
    """The incident without what takes the audit log to know."""
    acknowledged, resolved = incident.acknowledged, incident.resolved
    return {
        "incident_id": incident.incident_id,
        "kind": incident.kind,
        "state": str(incident.state),
        "raised_at": utc_text(incident.first_ms),
        "suspect_since": utc_text(incident.suspect_ms),
        "scopes": {scope: incident.state_of(scope) for scope in incident.scopes},
        "cause": cause_of(incident),
        "counts": counts_of(incident),
        "conditions": list(conditions_in(incident)),
        "alerts": {group.code: group.raised for group in incident.groups},
        "acknowledged_by": None if acknowledged is None else acknowledged.actor,
        "acknowledged_at": None if acknowledged is None else utc_text(acknowledged.at_ms),
        "resolved_by": None if resolved is None else resolved.actor,
        "resolved_at": None if resolved is None else utc_text(resolved.at_ms),
    }


def whole_json(whole: Whole) -> dict[str, object]:
    """Everything, with times in ISO 8601 and amounts in minor units."""
    incident = whole.incident
    return {
        "format": FORMAT,
        "read_at": utc_text(whole.read_at_ms),
        **brief_json(incident),
        "blast_radius": radius_json(whole.radius),
        "classification": classification_json(whole.classification),
        "alerts_told": [{**each._asdict(), "raised_at": utc_text(each.raised_at_ms)} for each in incident.alerts],
        "timeline": [{**each._asdict(), "at": utc_text(each.at_ms)} for each in timeline(incident)],
        "events": [_event_json(each, is_proved=True) for each in incident.events]
        + [_event_json(each, is_proved=False) for each in incident.unproved],
    }


def assessment_text(radius: Radius, classification: Classification) -> str:
    """What was known when somebody resolved it: canonical JSON, as the act's digest covers it."""
    known = {"blast_radius": radius_json(radius), "classification": classification_json(classification)}
    return json.dumps(known, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)


def radius_json(radius: Radius) -> dict[str, object]:
    usual = radius.usual
    return {
        "decisions": radius.decisions,
        "customers": radius.customers,
        "worth_gbp_minor": radius.worth_gbp_minor,
        "worth_unknown_decisions": radius.worth_unknown,
        "by_outcome": [group._asdict() for group in radius.groups],
        "by_currency": [share._asdict() for share in radius.shares],
        "beneficiary_countries": dict(sorted(radius.countries.items())),
        "first": _affected_json(radius.first),
        "last": _affected_json(radius.last),
        "audit_log_read_until": {str(partition): offset for partition, offset in radius.audited_until.items()},
        "usual": None
        if usual is None
        else {**usual._asdict(), "since": utc_text(usual.since_ms), "until": utc_text(usual.until_ms)},
        "left_out": list(radius.left_out),
    }


def classification_json(classification: Classification) -> dict[str, object]:
    return {
        "regulation": REGULATION,
        "class": str(classification.major),
        "why": classification.why,
        "criteria": [_finding_json(each) for each in classification.findings],
        "recurring": list(classification.recurring),
    }


def cause_of(incident: Incident) -> str:
    """The sentence of the first alert."""
    return incident.alerts[0].summary if incident.alerts else ""


def counts_of(incident: Incident) -> dict[str, int]:
    """The counts that the first alert's transition was made on; none where it isn't the breaker's."""
    return dict(incident.transitions[0].counts) if incident.transitions else {}


def conditions_in(incident: Incident) -> Sequence[Mapping[str, str]]:
    """The breaker's conditions that held when the first alert was raised; none where it doesn't say."""
    return conditions_of(incident.alerts[0].evidence) if incident.alerts else []


def _finding_json(finding: Finding) -> dict[str, object]:
    word = finding.word
    said = None if word is None else {**word._asdict(), "at": utc_text(word.at_ms)}
    return {**finding._asdict(), "open": list(finding.open), "word": said}


def _affected_json(affected: Affected | None) -> dict[str, object] | None:
    return None if affected is None else {**affected._asdict(), "at": utc_text(affected.at_ms)}


def _event_json(event: PersonEvent, *, is_proved: bool) -> dict[str, object]:
    return {
        **event._asdict(),
        "at": utc_text(event.at_ms),
        "assessment": _assessment(event.assessment) if is_proved else event.assessment,
        "is_proved": is_proved,
    }


def _assessment(text: str | None) -> object:
    """The assessment as JSON; the text itself where it is none, or holds what no output can."""
    if text is None:
        return None
    try:
        read: object = json.loads(text)
        json.dumps(read, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return read
