"""`fraud access`, `passwords` and `keys`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.keys.key_sets import KeyUse
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


_DEAD_LETTER: Final = "dead-letter"
_KINDS: Final = (_DEAD_LETTER, *KeyUse)
"""A key is made for one of these. Dead letters are no use of the key sets: the key of their payloads stands in none."""


def _kind(text: str) -> str:
    if text not in _KINDS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_KINDS)}")
    return text


KeySetFile = Annotated[Path, typer.Option("--set", metavar="PATH", help="The key set.")]


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
    renew: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Put another password into this file, and wherever it is held; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create the missing passwords; give each file to its reader.

    There is a password for every user and role, and none is overwritten but by --renew. The settings that hold them are
    written, too. Run it as root, again after each file that is added by hand. A server knows a renewed password after
    `fraud database set-passwords` or `fraud access apply --passwords`, and Redis when it has read its users anew.
    """
    from ops.access.folder_command import made_folder, show_folder

    show_folder(Output(as_json=as_json), made_folder(folder, renew or (), is_owner_kept=keep_owner))


@keys_app.command("create")
def create_key(
    kind: Annotated[
        str,
        typer.Argument(
            parser=_kind,
            metavar="KIND",
            help=f"Say what it is for, one of: {', '.join(_KINDS)}.",
        ),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new file, which only its owner can read.")],
    key_set: Annotated[
        Path | None,
        typer.Option("--set", metavar="PATH", help="Take a signing key into this key set, instead of a new one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key; none is overwritten. A signing key's public half goes to PATH.pub, and into the key set PATH.keys
    or into the one that is named.
    """
    from ops.access import keys_command as keys

    if kind == _DEAD_LETTER:
        created = keys.create_dead_letter_key(path)
    else:
        created = keys.create_signature_key(KeyUse(kind), path, key_set)
    keys.show_key(Output(as_json=as_json), created)


@keys_app.command("rotate")
def rotate_key(
    kind: Annotated[KeyUse, typer.Argument(metavar="KIND", help="The use of the key.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new file, which only its owner can read.")],
    key_set: KeySetFile,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 30, help="Hours for which the key before stays valid.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Create the next key, and end the one before after an overlap. What it has signed until then stays verifiable."""
    from ops.access import keys_command as keys

    keys.show_key(Output(as_json=as_json), keys.rotate_key(kind, path, key_set, overlap_hours))


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id.")],
    key_set: KeySetFile,
    reason: Annotated[str, typer.Option(help="Say why; whoever verifies reads it.")],
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            help="Name the moment from which somebody else may have had it: 2026-01-31T12:00:00Z; now if not given.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Revoke a key. What it signed before counts only where the witness saw it before."""
    from ops.access import keys_command as keys

    keys.show_trusted(Output(as_json=as_json), keys.revoke_key(key_id, key_set, since, reason))


@keys_app.command("list")
def list_keys(key_set: KeySetFile, as_json: Json = False) -> None:
    """List the keys of a key set, and when each was valid."""
    from ops.access import keys_command as keys

    for key in keys.listed_keys(key_set):
        keys.show_trusted(Output(as_json=as_json), key)
