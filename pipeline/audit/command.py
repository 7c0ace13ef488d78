"""`fraud audit`. Each command imports what it needs when it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.domain.money import count_text
from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, PaymentId
from pipeline.terminal.output import Output

audit_app = typer.Typer()


@audit_app.command("run")
def run(
    refill: Annotated[
        bool, typer.Option("--refill", help="Read again what the database lacks since it was restored from a backup.")
    ] = False,
) -> None:
    """Run the audit service until SIGTERM. FRAUD_* variables configure it. SIGUSR1 anchors at once."""
    from pipeline.audit.service_command import run_audit

    settings = settings_from_environment("audit")
    run_audit(settings, wire_format(settings), is_refill=refill)


@audit_app.command("export")
def export(
    directory: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    topic: Annotated[bool, typer.Option(help="Export the heads that stand on anchors.v1, too.")] = True,
    as_json: Json = False,
) -> None:
    """Write what the offline verifier needs. That is the tables, the leaf files and the heads."""
    from pipeline.audit.outside_command import export_log

    settings = settings_from_environment()
    exported, passed_over = export_log(settings, wire_format(settings), directory, with_topic=topic)
    rows = "".join(f", {count:,} of {table}" for table, count in exported.rows.items() if count)
    empty = sum(not count for count in exported.rows.values())
    line = f"{directory}: {count_text(exported.anchors, 'head')}{rows}; {count_text(empty, 'table')} without a row"
    output = Output(as_json=as_json)
    output.record({**exported._asdict(), "passed_over": passed_over}, line)
    if passed_over:
        what = f"{count_text(len(passed_over), 'record')}, the first at {passed_over[0]}"
        output.note(f"Left out, because it is neither a head nor a statement: {what}. Look at who writes there.")


@audit_app.command("prove")
def prove(wanted: PaymentId, as_json: Json = False) -> None:
    """Print the proof that a decision is in the log. It is JSON, indented without --json; `python -m ops.verifier
    proof` checks it.
    """
    from pipeline.audit.outside_command import proof_of

    fields = proof_of(settings_from_environment(), wanted)
    Output(as_json=as_json).record(fields, json.dumps(fields, indent=2))


@audit_app.command("prove-row")
def prove_row(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A followed table, such as ledger.posting.")],
    wanted: Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE", help="What tells the row from all others.")],
    as_json: Json = False,
) -> None:
    """Print the proof that a table's row is in the log. Tables are those of ledger, reviews and control. It is JSON,
    indented without --json; `python -m ops.verifier proof` checks it.
    """
    from pipeline.audit.outside_command import proof_of_row

    fields = proof_of_row(settings_from_environment(), table, wanted)
    Output(as_json=as_json).record(fields, json.dumps(fields, indent=2))


@audit_app.command("heads")
def show_heads(
    keys: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Check their signatures with this key set. Exit 1 unless all hold."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the signed heads of every partition, oldest first."""
    from pipeline.audit import outside_command as outside

    found = outside.heads(settings_from_environment())
    raise typer.Exit(0 if outside.show_heads(Output(as_json=as_json), found, keys) else 1)


@audit_app.command("check")
def check(as_json: Json = False) -> None:
    """Check all of the log against itself and what stands outside. Exit 1 where something contradicts. Where nothing
    does, an audit service that refuses because of an earlier check may go on once it is started again.
    """
    from pipeline.audit.continuing.check_command import check_log

    settings = settings_from_environment()
    raise typer.Exit(0 if check_log(settings, wire_format(settings), Output(as_json=as_json)) else 1)
