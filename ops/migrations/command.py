"""`fraud database`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json, utc_time
from pipeline.terminal.output import Output

database_app = typer.Typer()


@database_app.command("migrate")
def migrate(as_json: Json = False) -> None:
    """Migrate the database, as its owner. It gets the newest schema."""
    from ops.migrations.migrate_command import migrate_database, show_migrations

    show_migrations(Output(as_json=as_json), migrate_database(settings_from_environment("migrate")))


@database_app.command("ensure-partitions")
def ensure_partitions(
    months: Annotated[int, typer.Option(min=2, max=24, help="Months after this one.")] = 6,
    since: Annotated[
        datetime | None,
        typer.Option(parser=utc_time, metavar="TIME", help="Make the months from then on, to read an old log."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the months' partitions ahead. Run it daily, as a role that can do nothing else."""
    from ops.migrations.partitions_command import ensure_months, show_reach

    reach = ensure_months(settings_from_environment("partitions"), months, since)
    raise typer.Exit(0 if show_reach(Output(as_json=as_json), reach) else 1)


@database_app.command("set-passwords")
def set_passwords(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="It holds a file postgres_password_ROLE for each.")],
    as_json: Json = False,
) -> None:
    """Set every role's password, as the database's owner.

    Exit 1 where anybody holds more than a process needs, as `fraud database check-access` finds.
    """
    from ops.access.grants_command import database_findings, set_role_passwords, show_findings

    output, settings = Output(as_json=as_json), settings_from_environment("migrate")
    for role in set_role_passwords(settings, folder):
        output.record({"role": role}, f"{role:<16} password set")
    raise typer.Exit(0 if show_findings(output, database_findings(settings)) else 1)


@database_app.command("check-access")
def check_access(
    expected: Annotated[
        list[str] | None,
        typer.Option("--expected", metavar="ROLE", help="A role of your own whose rights are known; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for rights that no process needs. Exit 1 where there is one.

    Run it as the database's owner.
    """
    from ops.access.grants_command import database_findings, show_findings

    output = Output(as_json=as_json)
    found = database_findings(settings_from_environment("migrate"), expected or ())
    is_clean = show_findings(output, found)
    output.end_list("rights beyond the roles")
    raise typer.Exit(0 if is_clean else 1)
