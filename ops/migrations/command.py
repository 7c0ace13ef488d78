"""`fraud database`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

database_app = typer.Typer()


@database_app.command("migrate")
def migrate(as_json: Json = False) -> None:
    """Migrate the database to the newest schema, as its owner."""
    from ops.migrations.migrate_command import migrate_database, show_migrations

    show_migrations(Output(as_json=as_json), migrate_database(settings_from_environment("migrate")))


@database_app.command("set-passwords")
def set_passwords(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="It holds a file postgres_password_ROLE for each.")],
    as_json: Json = False,
) -> None:
    """Set the passwords of every role, as the database's owner."""
    from ops.access.grants_command import set_role_passwords

    for role in set_role_passwords(settings_from_environment("migrate"), folder):
        Output(as_json=as_json).record({"role": role}, f"{role:<16} password set")
