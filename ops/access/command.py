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

Expected = Annotated[
    list[str] | None,
    typer.Option("--expected", metavar="User:NAME", help="A user of your own whose grants are known; may be repeated."),
]


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
    expected: Expected = None,
    as_json: Json = False,
) -> None:
    """Grant each process what it needs on the broker. What it holds beyond that is revoked.

    Exit 1 where somebody else granted more: to everybody, on everything, or on what is ours.
    """
    from ops.access.grants_command import applied_access, foreign_findings, show_access, show_findings

    output, settings = Output(as_json=as_json), settings_from_environment("topics")
    show_access(output, applied_access(settings, passwords))
    raise typer.Exit(0 if show_findings(output, foreign_findings(settings, expected or ())) else 1)


@access_app.command("check")
def check_access(expected: Expected = None, as_json: Json = False) -> None:
    """Look for grants that no process needs. Exit 1 where there is one."""
    from ops.access.grants_command import foreign_findings, show_findings

    output, settings = Output(as_json=as_json), settings_from_environment("topics")
    is_clean = show_findings(output, foreign_findings(settings, expected or ()))
    output.end_list("grants beyond the table")
    raise typer.Exit(0 if is_clean else 1)


@passwords_app.command("create")
def create_passwords(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they are kept, one file each.")],
    keep_owner: Annotated[
        bool,
        typer.Option("--keep-owner", help="Leave the files to whoever runs this, who takes them to Vault or the like."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create the missing passwords; give each file to its reader.

    There is a password for every user and role, and none is overwritten. The settings that hold them are written, too.
    Run it as root, again after each file that is added by hand.
    """
    from ops.access.folder_command import made_folder, show_folder

    show_folder(Output(as_json=as_json), made_folder(folder, is_owner_kept=keep_owner))


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
