"""`fraud witness`. Each command imports what it needs when it is called."""

from __future__ import annotations

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format

witness_app = typer.Typer()


@witness_app.command("run")
def run() -> None:
    """Run the witness until SIGTERM. It says in a place of its own which heads of the audit log it has seen, and when.
    FRAUD_* variables configure it; run it as another user than the audit service, best on another machine.
    """
    from pipeline.witness.service_command import run_witness

    settings = settings_from_environment("witness")
    run_witness(settings, wire_format(settings))
