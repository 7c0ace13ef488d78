"""`fraud breaker`. Each command imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json, Limit, Reason
from pipeline.terminal.output import Output

breaker_app = typer.Typer()

Scope = Annotated[
    str, typer.Argument(metavar="SCOPE", help="One of all, model:VERSION, segment:NAME=VALUE, channel:NAME.")
]


@breaker_app.command("show")
def show(as_json: Json = False) -> None:
    """Show the state of every scope. Exit 1 unless all are closed."""
    from pipeline.breaker.control_command import show_states, states

    raise typer.Exit(0 if show_states(Output(as_json=as_json), states(settings_from_environment())) else 1)


@breaker_app.command("status")
def status(
    scope: Annotated[str | None, typer.Argument(metavar="SCOPE", help="Show this scope only.")] = None,
    as_json: Json = False,
) -> None:
    """Show how detectors stand, and what a probation waits for."""
    from pipeline.breaker.status_command import show_standings, standings

    output = Output(as_json=as_json)
    show_standings(output, standings(settings_from_environment(), scope))
    output.end_list("scopes are judged")


@breaker_app.command("history")
def history(limit: Limit = 50, as_json: Json = False) -> None:
    """Show the latest changes with their causes, oldest first."""
    from pipeline.breaker.control_command import changes, show_transition

    output = Output(as_json=as_json)
    for change in changes(settings_from_environment(), limit):
        show_transition(output, change)
    output.end_list("changes of the breaker are recorded")


@breaker_app.command("force-open")
def force_open(scope: Scope, reason: Reason, as_json: Json = False) -> None:
    """Take the model out of the loop. This is the kill switch: it stays out until somebody releases it."""
    from pipeline.breaker import control_command as control
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("breaker")
    thrown = control.force_open(settings, scope, identity_of(settings), reason)
    control.show_thrown(Output(as_json=as_json), thrown)


@breaker_app.command("release")
def release(
    scope: Scope,
    reason: Reason,
    accept_shift: Annotated[
        bool, typer.Option("--accept-shift", help="Take how the model answers now for its new normal.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let the model try again, on a sample first."""
    from pipeline.breaker import control_command as control
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("breaker")
    thrown = control.release(settings, scope, identity_of(settings), reason, accept_shift=accept_shift)
    control.show_thrown(Output(as_json=as_json), thrown)
