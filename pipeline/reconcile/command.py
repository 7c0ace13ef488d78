"""`fraud reconcile`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Reason
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
    """Account for every record taken in, once. Exit 1 when one was not decided, audited or executed,
    or where it is not known what was taken in.
    """
    from pipeline.reconcile.service_command import reconcile_once

    settings = settings_from_environment("reconcile")
    is_whole = reconcile_once(settings, wire_format(settings), Output(as_json=as_json))
    raise typer.Exit(0 if is_whole else 1)


@reconcile_app.command("statement")
def take_statement(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A camt.053 of ISO 20022, or a CSV.")],
    as_json: Json = False,
) -> None:
    """Compare a statement of the rail with the ledger.

    By key, amount, direction and parties. Exit 1 where it differs.
    """
    from pipeline.reconcile.statement.statement_command import take_in

    settings = settings_from_environment("reconcile")
    is_same = take_in(settings, wire_format(settings), path, Output(as_json=as_json))
    raise typer.Exit(0 if is_same else 1)


@reconcile_app.command("vouch")
def vouch(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Your own copy, which you have from the rail.")],
    evidence: Annotated[str, typer.Option("--evidence", metavar="TEXT", help="Where you have your copy from.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Vouch for statements that were taken in, by your own copy.

    Two people do, a ROLLBACK_REQUESTER first and then a ROLLBACK_APPROVER, each with a copy of their own. A statement
    that was made up differs from it, and is refused.
    """
    from pipeline.reconcile.statement.vouch_command import vouch_for

    settings = settings_from_environment("rollback")
    vouch_for(settings, path, evidence, reason, Output(as_json=as_json))


@reconcile_app.command("findings")
def list_findings(as_json: Json = False) -> None:
    """List what differs from the rail's statements.

    And what two people have accounted for, as that. Exit 1 where something differs that nobody has, or where no two
    people vouch for a statement that was taken in.
    """
    from pipeline.reconcile.statement.statement_command import list_findings as listed

    raise typer.Exit(0 if listed(settings_from_environment("reconcile"), Output(as_json=as_json)) else 1)
