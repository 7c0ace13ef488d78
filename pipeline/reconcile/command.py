"""`fraud reconcile`. Each command imports what it needs when it is called."""

from __future__ import annotations

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

reconcile_app = typer.Typer()


@reconcile_app.command("run")
def run() -> None:
    """Run reconciliation until SIGTERM. FRAUD_* variables configure it."""
    from pipeline.reconcile.service_command import run_reconcile

    settings = settings_from_environment("reconcile")
    run_reconcile(settings, wire_format(settings))


@reconcile_app.command("check")
def check(as_json: Json = False) -> None:
    """Account for every record taken in, once. Exit 1 when one was not decided, audited or executed."""
    from pipeline.reconcile.service_command import reconcile_once

    settings = settings_from_environment("reconcile")
    is_whole = reconcile_once(settings, wire_format(settings), Output(as_json=as_json))
    raise typer.Exit(0 if is_whole else 1)
