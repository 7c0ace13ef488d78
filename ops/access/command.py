"""`fraud access`: the commands, as `fraud` offers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

access_app = typer.Typer(help="Who may do what on the broker.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@access_app.command("apply")
def access_apply(
    passwords: Annotated[Path | None, typer.Option(help="Folder of kafka_password_PRINCIPAL files to set.")] = None,
    as_json: Json = False,
) -> None:
    """Grant each process what it needs on the broker, and revoke what it holds beyond that."""
    from ops.access.grants_command import applied_access, show_access
    from pipeline.terminal.failures import settings_from_environment
    from pipeline.terminal.output import Output

    show_access(Output(as_json=as_json), applied_access(settings_from_environment("topics"), passwords))


@access_app.command("passwords")
def access_passwords(folder: Path, as_json: Json = False) -> None:
    """Make the missing password files of every user and role, and the settings that hold them; none is overwritten."""
    from ops.access.secret_folder import make_secret_folder
    from pipeline.terminal.output import Output

    output = Output(as_json=as_json)
    for name in make_secret_folder(folder):
        output.record({"made": str(folder / name)}, f"made {folder / name}")
