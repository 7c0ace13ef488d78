"""Who acts: the person whose key or session this process has been given. No option says a name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import typer

from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity, IdentityRefused, read_identity, read_private
from pipeline.people.session_files import read_session
from pipeline.terminal.failures import Failure

_FIX: Final = "Set FRAUD_IDENTITY_FILE to your key (`fraud people create-key` makes one), or log in with `fraud login`."


def identity_of(settings: Settings) -> Identity:
    """Return the identity of the key file, or else of the login session. Failure says why there is none."""
    try:
        if settings.identity_file is not None:
            return read_identity(settings.identity_file, lambda: passphrase_of(settings))
        session = session_path(settings)
        if session.exists():
            return read_session(session)
    except IdentityRefused as refusal:
        raise Failure(f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", _FIX) from refusal
    raise Failure("Nothing proves who you are.", _FIX)


def session_path(settings: Settings) -> Path:
    """Return where the login session is kept, which may not exist."""
    return settings.session_file or Path.home() / ".fraud" / "session.json"


def passphrase_of(settings: Settings, *, is_new: bool = False) -> str:
    """Return the passphrase of the key file: that of its own file, or as it is typed. Raises IdentityRefused."""
    if settings.identity_passphrase_file is not None:
        return read_private(settings.identity_passphrase_file).rstrip("\n")
    if not sys.stdin.isatty():
        raise IdentityRefused("nobody can be asked for the passphrase, and FRAUD_IDENTITY_PASSPHRASE_FILE names none")
    said = typer.prompt("Passphrase of your key", hide_input=True, confirmation_prompt=is_new, err=True)
    return str(said)
