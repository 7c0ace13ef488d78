"""`fraud alerts`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from pipeline.domain.alert import Severity
from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Limit, Reason, utc_time
from pipeline.terminal.output import Output

alerts_app = typer.Typer()

Group = Annotated[str, typer.Argument(metavar="ID", help="The group's id, or enough of its beginning.")]
Note = Annotated[str, typer.Option("--reason", metavar="TEXT", help="What you know or do; others are told.")]


@alerts_app.command("run")
def run() -> None:
    """Run the service that delivers alerts until SIGTERM. FRAUD_ALERT_ROUTES_PATH names the file that says to whom;
    other FRAUD_* variables configure it. A second one stands by until the first is gone.
    """
    from pipeline.oncall.service_command import run_alerts

    settings = settings_from_environment("alerts")
    run_alerts(settings, wire_format(settings))


@alerts_app.command("list")
def list_groups(
    every: Annotated[bool, typer.Option("--all", help="List what is over, too.")] = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List groups of alerts that are not over, the newest first."""
    from pipeline.oncall.desk_command import groups, show_group

    output = Output(as_json=as_json)
    for group in groups(settings_from_environment(), limit, with_resolved=every):
        show_group(output, group)
    output.end_list("alerts")


@alerts_app.command("show")
def show(group: Group, as_json: Json = False) -> None:
    """Show a group of alerts, and every message about it."""
    from pipeline.oncall.desk_command import show_whole_group

    show_whole_group(Output(as_json=as_json), settings_from_environment(), group)


@alerts_app.command("ack")
def ack(group: Group, note: Note = "I have it.", as_json: Json = False) -> None:
    """Acknowledge a group of alerts, so nobody else is called. You sign it, as an OPERATOR."""
    from pipeline.oncall.desk_command import act_on
    from pipeline.oncall.groups import EventKind
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("oncall")
    act_on(Output(as_json=as_json), settings, group, EventKind.ACKNOWLEDGED, note, identity_of(settings))


@alerts_app.command("resolve")
def resolve(group: Group, note: Note, as_json: Json = False) -> None:
    """Say that what a group of alerts told of is over. You sign it, as an OPERATOR."""
    from pipeline.oncall.desk_command import act_on
    from pipeline.oncall.groups import EventKind
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("oncall")
    act_on(Output(as_json=as_json), settings, group, EventKind.RESOLVED, note, identity_of(settings))


@alerts_app.command("silence")
def silence(
    until: Annotated[datetime, typer.Option(parser=utc_time, metavar="TIME", help="Its end, within 7 days; UTC.")],
    reason: Reason,
    code: Annotated[str, typer.Option(metavar="PATTERN", help="Codes, with * and ?.")] = "*",
    scope: Annotated[str, typer.Option(metavar="PATTERN", help="Scopes, with * and ?.")] = "*",
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    as_json: Json = False,
) -> None:
    """Silence alerts until a time. Nobody is told of what matches; what still fires then is told. You sign it, as an
    OPERATOR.
    """
    from pipeline.oncall.desk_command import silence_until
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("oncall")
    matching = code, scope, "*" if severity is None else severity.value
    silence_until(Output(as_json=as_json), settings, matching, until, reason, identity_of(settings))


@alerts_app.command("silences")
def list_silences(as_json: Json = False) -> None:
    """List the silences in force, with their authors."""
    from pipeline.oncall.desk_command import show_silence, silences

    output = Output(as_json=as_json)
    for found in silences(settings_from_environment()):
        show_silence(output, found)
    output.end_list("silences")


@alerts_app.command("unsilence")
def unsilence(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="The silence's id.")], as_json: Json = False
) -> None:
    """End a silence before its time. You sign it, as an OPERATOR."""
    from pipeline.oncall.desk_command import end_silence
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("oncall")
    end_silence(Output(as_json=as_json), settings, silence_id, identity_of(settings))


@alerts_app.command("test")
def try_sinks(
    severity: Annotated[Severity, typer.Option(help="The severity that chooses the route.")] = Severity.WARNING,
    scope: Annotated[str, typer.Option(metavar="SCOPE", help="The scope that chooses the route.")] = "all",
    wait_s: Annotated[float, typer.Option("--wait", min=1, max=600, metavar="SECONDS", help="How long to wait.")] = 60,
    as_json: Json = False,
) -> None:
    """Raise a test alert, and wait until its sinks have taken it. Run it as the service is run: it needs that one's
    rights on the broker, and the service must run.
    """
    from pipeline.oncall.trial_command import try_out

    settings = settings_from_environment("alerts")
    if not try_out(Output(as_json=as_json), settings, wire_format(settings), severity, scope, wait_s):
        raise typer.Exit(1)
