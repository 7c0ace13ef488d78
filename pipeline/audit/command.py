"""What `fraud audit` offers. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

audit_app = typer.Typer(help="The audit log: stored, anchored, exported, proved, verified.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@audit_app.command("run")
def audit_run(
    refill: Annotated[
        bool, typer.Option("--refill", help="The database was restored from a backup: read again what it lacks.")
    ] = False,
) -> None:
    """Run the audit service until SIGTERM, as FRAUD_* variables configure it. SIGUSR1 anchors at once."""
    from pipeline.audit.service_command import run_audit
    from pipeline.terminal.failures import settings_from_environment, wire_format

    settings = settings_from_environment("audit")
    run_audit(settings, wire_format(settings), is_refill=refill)


@audit_app.command("keygen")
def audit_keygen(path: Path, as_json: Json = False) -> None:
    """Make the key that heads are signed with, and beside it PATH.pub for whoever verifies."""
    from pipeline.audit.service_command import keygen
    from pipeline.terminal.output import Output

    key_id = keygen(path)
    line = f"Key {key_id} stands in {path}. Set FRAUD_AUDIT_KEY_FILE={path}; give {path}.pub to those who verify."
    Output(as_json=as_json).record({"key_id": key_id, "path": str(path), "public": f"{path}.pub"}, line)


@audit_app.command("export")
def audit_export(
    directory: Annotated[Path, typer.Argument(help="A new folder.")],
    topic: Annotated[bool, typer.Option(help="Also the heads that stand on anchors.v1.")] = True,
    as_json: Json = False,
) -> None:
    """Write all that the offline verifier needs: the tables, leaf files, heads."""
    from pipeline.audit.outside_command import export_log
    from pipeline.terminal.failures import settings_from_environment, wire_format
    from pipeline.terminal.output import Output

    settings = settings_from_environment()
    exported = export_log(settings, wire_format(settings), directory, with_topic=topic)
    rows = ", ".join(f"{count:,} of {table}" for table, count in exported.rows.items())
    Output(as_json=as_json).record(exported._asdict(), f"{directory}: {rows}, {exported.anchors:,} anchors")


@audit_app.command("prove")
def audit_prove(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of a decision or of a transaction.")],
) -> None:
    """Print the proof that a decision is in the log, as JSON for `python -m ops.verifier proof`."""
    import json

    from pipeline.audit.outside_command import prove
    from pipeline.terminal.failures import settings_from_environment

    typer.echo(json.dumps(prove(settings_from_environment(), wanted), indent=2))


@audit_app.command("heads")
def audit_heads(
    public_key: Annotated[
        Path | None, typer.Option(help="Also check their signatures; exit 1 unless all hold.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The signed heads of every partition, oldest first."""
    from pipeline.audit.outside_command import heads, show_heads
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    found = heads(settings_from_environment())
    raise typer.Exit(0 if show_heads(Output(as_json=as_json), found, public_key) else 1)
