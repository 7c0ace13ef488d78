"""`fraud database`: the migrations, and the passwords of the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

database_app = typer.Typer(help="The PostgreSQL database.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@database_app.command("migrate")
def database_migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date, as its owner."""
    from ops.migrations.command import migrate_database, show_migrations
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    show_migrations(Output(as_json=as_json), migrate_database(settings_from_environment("migrate")))


@database_app.command("roles")
def database_roles(
    passwords: Annotated[Path, typer.Option(help="Folder of postgres_password_ROLE files.")], as_json: Json = False
) -> None:
    """Set the passwords that the processes log in with, as the database's owner."""
    from ops.access.grants_command import set_role_passwords
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    for role in set_role_passwords(settings_from_environment("migrate"), passwords):
        Output(as_json=as_json).record({"role": role}, f"{role:<16} password set")
