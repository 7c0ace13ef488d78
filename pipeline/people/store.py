"""People and their roles in PostgreSQL: the table control.person_grant, whose latest row about a role counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, statements
from pipeline.people.roles import Grant, GrantRefusal, Person, Role, grant_refusal, person

_SQL: Final = statements("pipeline.people", "people")


class Granted(NamedTuple):
    name: str
    role: Role
    is_held: bool
    granted_by: str
    granted_at: datetime


def read_person(connection: Connection, name: str) -> Person:
    """Read a person; they have no roles where nobody was given any under that name."""
    rows = connection.execute(_SQL["read_grants"], [name]).fetchall()
    return person(name, (Grant(Role(role), is_held) for role, is_held in rows))


def change_role(connection: Connection, name: str, role: Role, by: str, *, is_held: bool) -> GrantRefusal | None:
    """Append the grant or revocation; return why not where it is refused."""
    with connection.transaction():
        connection.execute(_SQL["lock_grants"])
        found = connection.execute(_SQL["has_admin"]).fetchone()
        assert found is not None, "EXISTS has one row"
        refusal = grant_refusal(name, role, read_person(connection, by), has_admin=found[0])
        if refusal is None:
            connection.execute(_SQL["append_grant"], [name, role, is_held, by])
        return refusal


def read_grants(connection: Connection) -> Iterator[Granted]:
    """Yield everything that was ever granted or revoked, in order."""
    for name, role, is_held, granted_by, granted_at in connection.execute(_SQL["read_all_grants"]).fetchall():
        yield Granted(name, Role(role), is_held, granted_by, granted_at)
