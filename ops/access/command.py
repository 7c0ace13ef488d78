"""`fraud access`, `passwords` and `keys`. Each command imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
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
    """Signs the audit log's heads; whoever verifies them has the key set that holds its public half."""
    WITNESS = "witness"
    """Signs what the witness has seen."""


class SigningKind(StrEnum):
    AUDIT = "audit"
    WITNESS = "witness"


KeySetFile = Annotated[Path, typer.Option("--set", metavar="PATH", help="The key set.")]


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
        typer.Argument(help="The one that seals dead letters, signs the audit log's heads, or signs for the witness."),
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
    from pipeline.audit.key_sets import KeyUse

    if kind is KeyKind.DEAD_LETTER:
        created = keys.create_dead_letter_key(path)
    else:
        created = keys.create_signature_key(KeyUse(kind.value), path, key_set)
    keys.show_key(Output(as_json=as_json), created)


@keys_app.command("rotate")
def rotate_key(
    kind: Annotated[SigningKind, typer.Argument(help="The use of the key.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new file, which only its owner can read.")],
    key_set: KeySetFile,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 30, help="Hours for which the key before stays valid.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Create the next key, and end the one before after an overlap. What it has signed until then stays verifiable."""
    from ops.access import keys_command as keys
    from pipeline.audit.key_sets import KeyUse

    keys.show_key(Output(as_json=as_json), keys.rotate_key(KeyUse(kind.value), path, key_set, overlap_hours))


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
