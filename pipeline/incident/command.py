"""`fraud incident`. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, Limit, Page, Reason
from pipeline.terminal.output import Output

incident_app = typer.Typer()

IncidentId = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id, or how it begins.")]


class CriterionName(StrEnum):
    """DORA's criteria, as pipeline.incident.dora has them."""

    CRITICAL_SERVICES = "critical-services"
    CLIENTS = "clients"
    REPUTATION = "reputation"
    DURATION = "duration"
    GEOGRAPHY = "geography"
    DATA_LOSSES = "data-losses"
    MALICIOUS_ACCESS = "malicious-access"
    ECONOMIC = "economic"


class AnswerName(StrEnum):
    MET = "met"
    NOT_MET = "not-met"


@incident_app.command("run")
def run() -> None:
    """Run the incident service until SIGTERM. It stores what the breaker did, and opens incidents.

    FRAUD_* variables configure it.
    """
    from pipeline.incident.service_command import run_incident

    settings = settings_from_environment("incident")
    run_incident(settings, wire_format(settings))


@incident_app.command("list")
def list_incidents(
    is_all: Annotated[bool, typer.Option("--all", help="Show resolved incidents, too.")] = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List open incidents, newest first; with --all, every one."""
    from pipeline.incident.report_command import incidents, show_brief

    output = Output(as_json=as_json)
    for found in incidents(settings_from_environment(), limit, is_all=is_all):
        show_brief(output, found)
    output.end_list("incidents")


@incident_app.command("show")
def show(incident_id: IncidentId, as_json: Json = False) -> None:
    """Show an incident: cause, radius, timeline and DORA class."""
    from pipeline.incident.report_command import show_whole, whole_of

    show_whole(Output(as_json=as_json), whole_of(settings_from_environment(), incident_id))


@incident_app.command("ack")
def acknowledge(incident_id: IncidentId, reason: Reason = "I am looking at it", as_json: Json = False) -> None:
    """Acknowledge an incident, as an OPERATOR: you are seeing to it."""
    from pipeline.incident.incidents import EventKind

    _do(incident_id, EventKind.ACKNOWLEDGED, reason, None, None, as_json)


@incident_app.command("note")
def note(
    incident_id: IncidentId,
    reason: Reason,
    criterion: Annotated[CriterionName | None, typer.Option(help="Answer this criterion of DORA's.")] = None,
    answer: Annotated[AnswerName | None, typer.Option(help="Say whether its threshold is met.")] = None,
    as_json: Json = False,
) -> None:
    """Add a note to an incident, or answer a DORA criterion.

    It takes an OPERATOR, as acknowledging and resolving do.
    """
    from pipeline.incident.incidents import EventKind

    if (criterion is None) != (answer is None):
        raise Failure("A criterion and its answer go together.", "Give --criterion and --answer, or neither.")
    _do(incident_id, EventKind.NOTED, reason, criterion, answer, as_json)


@incident_app.command("resolve")
def resolve(incident_id: IncidentId, reason: Reason, as_json: Json = False) -> None:
    """Resolve an incident, as an OPERATOR. What is known of it then is kept with it."""
    from pipeline.incident.incidents import EventKind

    _do(incident_id, EventKind.RESOLVED, reason, None, None, as_json)


@incident_app.command("report")
def report(incident_id: IncidentId, html: Page = None, as_json: Json = False) -> None:
    """Report an incident for Risk, Compliance and the regulator. It is one HTML page, or JSON."""
    from pipeline.incident.report_command import show_whole, whole_of, write_page

    if html is None and not as_json:
        raise Failure("Nothing says where the report goes.", "Give --html PATH, or --json.")
    whole = whole_of(settings_from_environment(), incident_id)
    if html is not None:
        write_page(html, whole)
    if as_json:
        show_whole(Output(as_json=True), whole)


def _do(
    incident_id: str,
    kind: str,
    text: str,
    criterion: CriterionName | None,
    answer: AnswerName | None,
    as_json: bool,
) -> None:
    from pipeline.incident.desk_store import Said
    from pipeline.incident.dora import Answer, Criterion
    from pipeline.incident.incidents import EventKind
    from pipeline.incident.report_command import do, not_closed, pages_of, show_brief
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("incident-desk")
    said = Said(
        EventKind(kind),
        text,
        None if criterion is None else Criterion[criterion.name],
        None if answer is None else Answer[answer.name],
    )
    by, output = identity_of(settings), Output(as_json=as_json)
    after = do(settings, incident_id, by, said, is_assessed=said.kind is EventKind.RESOLVED)
    show_brief(output, after)
    if said.kind is EventKind.RESOLVED and (scopes := not_closed(after)):
        output.note(f"The breaker is not closed in {', '.join(scopes)}; a trip there opens another incident.")
    if said.kind is EventKind.RESOLVED and (pages := pages_of(settings, after)):
        output.note(
            f"Still firing, as other alerts are in them, too: {', '.join(pages)}. `fraud alerts list` shows them, and "
            "`fraud alerts resolve` ends them."
        )
