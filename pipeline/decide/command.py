"""`fraud worker`, `config`, `decisions` and `dead-letters`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.domain.decision import Outcome
from pipeline.terminal.configuration import settings_from_environment, settings_to_check, wire_format
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

worker_app = typer.Typer()
config_app = typer.Typer()
decisions_app = typer.Typer()
dead_letters_app = typer.Typer()


@worker_app.command("run")
def run(keep: Annotated[bool, typer.Option("--keep", help="Replace a worker that dies.")] = False) -> None:
    """Run one decision worker until SIGTERM. FRAUD_* variables configure it."""
    if keep:
        from pipeline.decide.keeper_service import keep_filled

        keep_filled(settings_from_environment("worker"))
    from pipeline.decide.worker_command import run_worker

    run_worker(settings_from_environment("worker"))


@config_app.command("check")
def check_configuration(as_json: Json = False) -> None:
    """Check everything that a worker needs. Exit 1 when something is wrong."""
    from pipeline.decide.check_command import findings, show_findings

    settings = settings_to_check()
    raise typer.Exit(0 if show_findings(Output(as_json=as_json), findings(settings)) else 1)


@decisions_app.command("tail")
def tail_decisions(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as decisions are made.")] = False,
    outcome: Annotated[Outcome | None, typer.Option(help="Show only these.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=100_000, help="Show this many that were made before.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Show the latest decisions, oldest first."""
    from pipeline.decide.decision_topics import show_decision, tail

    settings, output = settings_from_environment(), Output(as_json=as_json)
    for decision in tail(settings, wire_format(settings), limit, outcome, is_followed=follow):
        show_decision(output, decision)
    output.end_list("decisions" if outcome is None else f"decisions to {outcome}")


@dead_letters_app.command("list")
def list_dead_letters(
    key_file: Annotated[
        Path | None,
        typer.Option("--open", metavar="KEYFILE", help="Open payloads with this key; they are customers' records."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the records that became no decision, and why."""
    from pipeline.decide.decision_topics import dead_letters, show_dead_letter

    settings, output = settings_from_environment(), Output(as_json=as_json)
    for letter in dead_letters(settings, wire_format(settings), key_file):
        show_dead_letter(output, letter)
    output.end_list("dead letters")
