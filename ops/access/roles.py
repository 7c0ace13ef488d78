"""The passwords of the database's roles, each set from a secret file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import sql

from pipeline.io.postgres import opened
from pipeline.io.production import DATABASE_ROLES, READER

POSTGRES_OWNER: Final = "fraud_owner"
"""The role that lays out the database; no process of the pipeline runs as it."""
_WITHOUT_PASSWORD: Final = frozenset({POSTGRES_OWNER, DATABASE_ROLES["worker"]})
ROLES: Final = (*dict.fromkeys(role for role in DATABASE_ROLES.values() if role not in _WITHOUT_PASSWORD), READER)
"""Roles that log in, except the owner, who sets the passwords. fraud_worker gets none: it has no business there."""
PASSWORD_CHARACTERS_MIN: Final = 16


class RolesRefused(Exception):
    """A role does not exist, or the caller may not set its password. The message holds no password."""


def set_passwords(url: str, passwords: Mapping[str, str]) -> None:
    """Set all the passwords or none.

    They are salted here (SCRAM-SHA-256), so that no statement and no log of the server shows a password. Raises
    RolesRefused, and psycopg.OperationalError when the server is out of reach.
    """
    with opened(url) as connection:
        for role, password in passwords.items():
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            try:
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
                )
            except (psycopg.errors.UndefinedObject, psycopg.errors.InsufficientPrivilege) as error:
                raise RolesRefused(f"the password of {role} can't be set: {type(error).__name__}") from None
