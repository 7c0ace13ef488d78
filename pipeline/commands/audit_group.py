"""What `fraud audit` and `fraud database` offer. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

audit_app = typer.Typer(help="The audit log: stored, anchored, exported, proved, verified.", no_args_is_help=True)
database_app = typer.Typer(help="The PostgreSQL database.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@audit_app.command("run")
def audit_run(
    refill: Annotated[
        bool, typer.Option("--refill", help="The database was restored from a backup: read again what it lacks.")
    ] = False,
) -> None:
    """Run the audit service until SIGTERM, as FRAUD_* variables configure it. SIGUSR1 anchors at once."""
    from pipeline.commands.audit import run_audit
    from pipeline.commands.failures import settings_from_environment, wire_format

    settings = settings_from_environment("audit")
    run_audit(settings, wire_format(settings), is_refill=refill)


@audit_app.command("keygen")
def audit_keygen(path: Path, as_json: Json = False) -> None:
    """Make the key that heads are signed with, and beside it PATH.pub for whoever verifies."""
    from pipeline.commands.audit import keygen
    from pipeline.commands.output import Output

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
    from pipeline.commands.audit_outside import export_log
    from pipeline.commands.failures import settings_from_environment, wire_format
    from pipeline.commands.output import Output

    settings = settings_from_environment()
    exported = export_log(settings, wire_format(settings), directory, with_topic=topic)
    rows = ", ".join(f"{count:,} of {table}" for table, count in exported.rows.items())
    Output(as_json=as_json).record(exported._asdict(), f"{directory}: {rows}, {exported.anchors:,} anchors")


@audit_app.command("verify")
def audit_verify(
    directory: Annotated[Path, typer.Argument(metavar="EXPORT", help="From `fraud audit export`.")],
    public_key: Annotated[Path, typer.Option(help="Of the key that signs heads.")],
    outside: Annotated[Path | None, typer.Option(help="Leaf files and heads; the export's when not given.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every leaf must have its row.")] = False,
    as_json: Json = False,
) -> None:
    """Run the offline verifier on an export; exit 1 when something is not as it was written."""
    from pipeline.commands.audit_outside import show_report, verify
    from pipeline.commands.output import Output

    report = verify(directory, outside, public_key, is_all=is_all)
    raise typer.Exit(0 if show_report(Output(as_json=as_json), report) else 1)


@audit_app.command("prove")
def audit_prove(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of a decision or of a transaction.")],
) -> None:
    """Print the proof that a decision is in the log, as JSON for `python -m ops.verifier proof`."""
    import json

    from pipeline.commands.audit_outside import prove
    from pipeline.commands.failures import settings_from_environment

    typer.echo(json.dumps(prove(settings_from_environment(), wanted), indent=2))


@audit_app.command("heads")
def audit_heads(
    public_key: Annotated[
        Path | None, typer.Option(help="Also check their signatures; exit 1 unless all hold.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The signed heads of every partition, oldest first."""
    from pipeline.commands.audit_outside import heads, show_heads
    from pipeline.commands.failures import settings_from_environment
    from pipeline.commands.output import Output

    found = heads(settings_from_environment())
    raise typer.Exit(0 if show_heads(Output(as_json=as_json), found, public_key) else 1)


@database_app.command("migrate")
def database_migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date, as its owner."""
    from pipeline.commands.database import migrate_database, show_migrations
    from pipeline.commands.failures import settings_from_environment
    from pipeline.commands.output import Output

    show_migrations(Output(as_json=as_json), migrate_database(settings_from_environment("migrate")))


@database_app.command("roles")
def database_roles(
    passwords: Annotated[Path, typer.Option(help="Folder of postgres_password_ROLE files.")], as_json: Json = False
) -> None:
    """Set the passwords that the processes log in with, as the database's owner."""
    from pipeline.commands.access import set_role_passwords
    from pipeline.commands.failures import settings_from_environment
    from pipeline.commands.output import Output

    for role in set_role_passwords(settings_from_environment("migrate"), passwords):
        Output(as_json=as_json).record({"role": role}, f"{role:<16} password set")
