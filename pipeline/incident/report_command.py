"""`fraud incident`: what is read for the commands, and what they show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.domain.decision import BreakerState
from pipeline.domain.money import count_text, money_text, pounds_text
from pipeline.domain.times import utc_text
from pipeline.incident.desk_store import ActRefused, Said, act, pages_left
from pipeline.incident.dora import Answer, classify
from pipeline.incident.incident_store import ids_like, like_it, newest_ids, read_incident
from pipeline.incident.incidents import Incident, IncidentState, timeline
from pipeline.incident.page import page
from pipeline.incident.radius_store import begin_reading, read_radius
from pipeline.incident.whole import Whole, assessment_text, brief_json, cause_of, conditions_in, counts_of, whole_json
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.people.act_store import read_registry
from pipeline.people.key_files import Identity
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured
from pipeline.web.page_files import write

ID_CHARACTERS_MIN: Final = 6
_COLOUR: Final = {IncidentState.OPEN: "red", IncidentState.ACKNOWLEDGED: "yellow", IncidentState.RESOLVED: "green"}
_CLASS_COLOUR: Final = {"MAJOR": "red", "UNDECIDED": "yellow", "NOT_MAJOR": "green"}


def incidents(settings: Settings, limit: int, *, is_all: bool) -> Iterator[Incident]:
    """Yield so many, newest first; without `is_all` of those that nobody is proved to have resolved."""
    with connected(settings) as connection, failures_named():
        registry = read_registry(connection)
        for incident_id in newest_ids(connection, registry, limit, is_all=is_all):
            found = read_incident(connection, incident_id, registry)
            assert found is not None, "nothing is ever deleted"
            yield found


def whole_of(settings: Settings, wanted: str) -> Whole:
    """Read an incident, its radius and its class from one moment. Failure where there is none."""
    with connected(settings) as connection, failures_named():
        return _whole(settings, connection, incident_id_of(connection, wanted))


def incident_of(connection: Connection, wanted: str) -> tuple[Incident, int]:
    """Return an incident and the time of the moment at which it was read. Failure where there is none."""
    with failures_named():
        incident_id, registry = incident_id_of(connection, wanted), read_registry(connection)
        with connection.transaction():
            now_ms = begin_reading(connection)
            found = read_incident(connection, incident_id, registry)
    assert found is not None, "nothing is ever deleted"
    return found, now_ms


def do(settings: Settings, wanted: str, by: Identity, said: Said, *, is_assessed: bool) -> Incident:
    """Do something about an incident. is_assessed: what is known is kept with it. Failure where it is refused."""
    with connected(settings) as connection:
        with failures_named():
            incident_id = incident_id_of(connection, wanted)
            whole = _whole(settings, connection, incident_id) if is_assessed else None
        assessment = None if whole is None else assessment_text(whole.radius, whole.classification)
        try:
            return act(connection, incident_id, by, said, assessment)
        except ActRefused as refusal:
            fix = f"`fraud incident show {incident_id}` shows how it stands."
            raise Failure(f"Refused: {refusal}.", fix, FAILED_CHECK) from refusal


def pages_of(settings: Settings, incident: Incident) -> list[str]:
    """Say of each group of alerts about it that is not over, though the incident is."""
    with connected(settings) as connection:
        return [f"{page.code} ({page.scope})" for page in pages_left(connection, incident.incident_id)]


def not_closed(incident: Incident) -> list[str]:
    """List the scopes of the breaker that the model is not wholly back in."""
    if not incident.is_of_breaker:
        return []
    return [scope for scope in incident.scopes if incident.state_of(scope) != BreakerState.CLOSED]


def show_brief(output: Output, incident: Incident) -> None:
    state = incident.state
    raised = sum(group.raised for group in incident.groups)
    scopes = ", ".join(incident.scopes)
    line = (
        f"{incident.incident_id} {coloured(state, _COLOUR[state], is_bold=True)} {incident.kind} since "
        f"{utc_text(incident.first_ms)}, {scopes}, {count_text(raised, 'alert')}: {cause_of(incident)}"
    )
    output.record(brief_json(incident), line)


def show_whole(output: Output, whole: Whole) -> None:
    incident, classification = whole.incident, whole.classification
    colour = _CLASS_COLOUR[str(classification.major)]
    line = (
        f"{incident.incident_id} {coloured(incident.state, _COLOUR[incident.state], is_bold=True)} {incident.kind}, "
        f"{coloured(classification.major, colour, is_bold=True)} under DORA: {cause_of(incident)}"
    )
    output.record(whole_json(whole), line)
    if output.as_json:
        return
    for sentence in (*_facts(whole), *_radius(whole), *_criteria(whole)):
        output.line(f"  {sentence}")
    for each in timeline(incident):
        output.line(f"  {utc_text(each.at_ms)} {each.source} {each.what} ({each.who}) {each.text}")


def write_page(path: Path, whole: Whole) -> None:
    write(path, page(whole))


def incident_id_of(connection: Connection, wanted: str) -> str:
    """Return the id that begins so, if it is the only one."""
    text = wanted.lower()
    is_id = len(text) >= ID_CHARACTERS_MIN and set(text) <= set("0123456789abcdef-")
    found = ids_like(connection, text) if is_id else []
    if len(found) != 1:
        what = f"There is no incident {wanted}." if not found else f"Several incidents begin with {wanted}."
        raise Failure(what, "`fraud incident list --all` shows them.")
    return found[0]


def _whole(settings: Settings, connection: Connection, incident_id: str) -> Whole:
    registry = read_registry(connection)
    with connection.transaction():
        now_ms = begin_reading(connection)
        incident = read_incident(connection, incident_id, registry)
        assert incident is not None, "nothing is ever deleted"
        radius = read_radius(connection, incident, settings.topic("decisions.v1"), now_ms)
        recurring = like_it(connection, incident_id)
    return Whole(incident, radius, classify(incident, radius, recurring, now_ms), now_ms)


def _facts(whole: Whole) -> Iterator[str]:
    incident = whole.incident
    for scope in incident.scopes:
        yield scope if not incident.is_of_breaker else f"{scope}: the breaker is {incident.state_of(scope)}"
    yield f"decisions are suspect from {utc_text(incident.suspect_ms)}"
    if counts := counts_of(incident):
        yield "counts that caused it: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    for condition in conditions_in(incident):
        yield "condition: " + ", ".join(f"{name} {value}" for name, value in condition.items())
    if incident.unproved:
        events = count_text(len(incident.unproved), "event")
        yield f"not proved to be their authors', and so counting as nothing: {events}"


def _radius(whole: Whole) -> Iterator[str]:
    radius = whole.radius
    yield (
        f"affected so far: {count_text(radius.decisions, 'decision')} of {count_text(radius.customers, 'customer')}, "
        f"worth {pounds_text(radius.worth_gbp_minor)}"
    )
    for group in radius.groups:
        amounts = ", ".join(
            money_text(each.amount_minor, each.currency)
            for each in radius.shares
            if (each.route, each.outcome) == (group.route, group.outcome)
        )
        customers = count_text(group.customers, "customer")
        yield f"{group.outcome} by {group.route}: {group.decisions:,} of {customers}, {amounts}"
    if radius.first is not None and radius.last is not None:
        first, last = radius.first, radius.last
        yield f"first {first.decision_id} at {utc_text(first.at_ms)}, last {last.decision_id} at {utc_text(last.at_ms)}"
    read = ", ".join(f"{partition} to {offset:,}" for partition, offset in radius.audited_until.items())
    yield f"the audit log was read until: partition {read}" if read else "NOTHING is audited yet"
    yield from radius.left_out


def _criteria(whole: Whole) -> Iterator[str]:
    yield f"{whole.classification.major} under DORA: {whole.classification.why}"
    for finding in whole.classification.findings:
        yield f"{finding.criterion} ({finding.article}): {finding.answer}. {finding.known}"
        if finding.answer is Answer.NOT_KNOWN:
            for question in finding.open:
                yield f"  a person must say {question}"
