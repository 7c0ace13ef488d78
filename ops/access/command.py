"""`fraud access`, `passwords` and `keys`. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

access_app = typer.Typer()
passwords_app = typer.Typer()
keys_app = typer.Typer()


class KeyKind(StrEnum):
    DEAD_LETTER = "dead-letter"
    """Seals the payloads of dead letters."""
    AUDIT = "audit"
    """Signs the audit log's heads; whoever verifies them has its public half."""


@access_app.command("apply")
def apply_access(
    passwords: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Set the passwords of its files kafka_password_PRINCIPAL."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Grant each process what it needs on the broker. What it holds beyond that is revoked."""
    from ops.access.grants_command import applied_access, show_access

    show_access(Output(as_json=as_json), applied_access(settings_from_environment("topics"), passwords))


@passwords_app.command("create")
def create_passwords(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they are kept, one file each.")],
    as_json: Json = False,
) -> None:
    """Create the passwords that are missing. There is one for every user and role, and none is overwritten. The
    settings that hold them are written, too.
    """
    from ops.access.secret_folder import make_secret_folder

    for name in make_secret_folder(folder):
        Output(as_json=as_json).record({"made": str(folder / name)}, f"made {folder / name}")


@keys_app.command("create")
def create_key(
    kind: Annotated[
        KeyKind,
        typer.Argument(help="The one that seals dead letters, or the one that signs the audit log's heads."),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new file, which only its owner can read.")],
    as_json: Json = False,
) -> None:
    """Create a key; none is overwritten. An audit key's public half goes to PATH.pub."""
    from ops.access import keys_command as keys

    create = keys.create_dead_letter_key if kind is KeyKind.DEAD_LETTER else keys.create_audit_key
    keys.show_key(Output(as_json=as_json), create(path))
