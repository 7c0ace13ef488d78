"""What `fraud audit` and `fraud database` offer. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

audit_app = typer.Typer(help="The audit log: stored, anchored, exported, proved, verified.", no_args_is_help=True)
database_app = typer.Typer(help="The PostgreSQL database.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@audit_app.command("run")
def audit_run() -> None:
    """Run the audit service until SIGTERM, as FRAUD_* variables configure it. SIGUSR1 anchors at once."""
    from pipeline.commands.audit import run_audit
    from pipeline.commands.failures import settings_from_environment, wire_format

    settings = settings_from_environment()
    run_audit(settings, wire_format(settings))


@audit_app.command("keygen")
def audit_keygen(path: Path, as_json: Json = False) -> None:
    """Make the key that heads are signed with, and beside it PATH.pub for whoever verifies."""
    from pipeline.commands.audit import keygen
    from pipeline.commands.output import Output

    key_id = keygen(path)
    line = f"Key {key_id} stands in {path}. Set FRAUD_AUDIT_KEY_FILE={path}; give {path}.pub to those who verify."
    Output(as_json=as_json).record({"key_id": key_id, "path": str(path), "public": f"{path}.pub"}, line)


@database_app.command("migrate")
def database_migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date, as its owner."""
    from pipeline.commands.database import migrate_database, show_migrations
    from pipeline.commands.failures import settings_from_environment
    from pipeline.commands.output import Output

    show_migrations(Output(as_json=as_json), migrate_database(settings_from_environment()))
