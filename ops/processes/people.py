"""People of a demonstration or a bench: keys made anew, registered and appointed as real ones are."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.io.postgres import Connection
from pipeline.people.key_files import Identity, create_identity, write_private
from pipeline.people.roles import Role
from pipeline.people.store import change_role, name_first_admin, register_key

ADMINISTRATOR: Final = "ada"
COST: Final = 2**14
"""Cost of a passphrase that is drawn at random, and ends with the run."""


@dataclass(frozen=True, slots=True)
class People:
    """`folder` holds a file for each of them, NAME.key, and the passphrase of all."""

    folder: Path
    known: dict[str, Identity]

    def __getitem__(self, name: str) -> Identity:
        return self.known[name]

    def environment(self, name: str) -> dict[str, str]:
        """Return the settings of a command that this person runs."""
        return {
            "FRAUD_IDENTITY_FILE": str(self.folder / f"{name}.key"),
            "FRAUD_IDENTITY_PASSPHRASE_FILE": str(self.folder / "passphrase"),
        }


def appointed(owner: Connection, folder: Path, roles: Iterable[tuple[str, Role]]) -> People:
    """Appoint people, with ADMINISTRATOR as the first ADMIN. `owner`: as the database's owner; `folder`: a new one."""
    folder.mkdir(parents=True)
    passphrase, wanted = secrets.token_urlsafe(24), list(roles)
    write_private(folder / "passphrase", passphrase)
    names = dict.fromkeys([ADMINISTRATOR, *(name for name, _ in wanted)])
    known = {name: create_identity(folder / f"{name}.key", name, passphrase, COST) for name in names}
    admin = known[ADMINISTRATOR]
    refusals = [name_first_admin(owner, admin)]
    refusals += [register_key(owner, name, known[name].claim(), admin) for name in names if name != ADMINISTRATOR]
    refusals += [change_role(owner, name, role, admin, is_held=True) for name, role in wanted]
    assert not any(refusals), f"nobody refuses the first of a new registry: {refusals}"
    return People(folder, known)
