"""People whose keys the tests know, registered and appointed by the same functions as real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.io.postgres import Connection
from pipeline.people.act_store import read_registry
from pipeline.people.key_files import Identity, sealed_text, write_private
from pipeline.people.roles import Role
from pipeline.people.store import change_role, name_first_admin, register_key

ADMIN = "ada"
PASSPHRASE = "correct horse battery staple"
COST = 2**14


def private_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"test:{name}".encode()).digest())


@cache
def identity(name: str) -> Identity:
    """The same in every test."""
    return Identity(name, private_of(name))


def appoint(owner: Connection, roles: Mapping[str, str | Iterable[str]], *, admin: str = ADMIN) -> None:
    """Register people's keys and grant them their roles; the first call names the admin the first ADMIN."""
    by = identity(admin)
    if not read_registry(owner).root:
        assert name_first_admin(owner, by) is None
    for name, held in roles.items():
        enrol(owner, name, admin=admin)
        for role in [held] if isinstance(held, str) else held:
            refusal = change_role(owner, name, Role(role), by, is_held=True)
            assert refusal is None, refusal


def enrol(owner: Connection, name: str, *, admin: str = ADMIN) -> None:
    """Register a person's key, where that was not done."""
    if identity(name).key_id not in read_registry(owner).keys:
        refusal = register_key(owner, name, identity(name).claim(), identity(admin))
        assert refusal is None, refusal


def grant(owner: Connection, name: str, role: str, *, admin: str = ADMIN) -> None:
    refusal = change_role(owner, name, Role(role), identity(admin), is_held=True)
    assert refusal is None, refusal


def revoke(owner: Connection, name: str, role: str, *, admin: str = ADMIN) -> None:
    refusal = change_role(owner, name, Role(role), identity(admin), is_held=False)
    assert refusal is None, refusal


def settings_of(folder: Path, name: str) -> dict[str, str]:
    """The settings of a command that this person runs."""
    key, passphrase = folder / f"{name}.key", folder / "passphrase"
    folder.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        write_private(key, sealed_text(private_of(name), name, PASSPHRASE, COST))
    if not passphrase.exists():
        write_private(passphrase, PASSPHRASE)
    return {"identity_file": str(key), "identity_passphrase_file": str(passphrase)}


def environment_of(folder: Path, name: str) -> dict[str, str]:
    """The same, as environment variables."""
    return {f"FRAUD_{setting.upper()}": value for setting, value in settings_of(folder, name).items()}
