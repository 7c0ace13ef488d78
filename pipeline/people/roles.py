"""People by name, and the roles granted to them, which say what they may do.

Invariants
1. A role is held from its grant to its revocation; the latest record about (name, role) counts.
2. Nobody grants a role to themselves, except the first ADMIN, whom nobody else can appoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

NAME_CHARACTERS_MAX: Final = 64
_NAME: Final = re.compile(rf"[A-Za-z][A-Za-z0-9._@-]{{1,{NAME_CHARACTERS_MAX - 1}}}", re.ASCII)


class Role(StrEnum):
    ADMIN = "ADMIN"  # grants and revokes roles; the role allows nothing else
    REVIEWER = "REVIEWER"  # decides escalations
    SENIOR_REVIEWER = "SENIOR_REVIEWER"  # decides escalations, and is the second pair of eyes above an amount
    ROLLBACK_REQUESTER = "ROLLBACK_REQUESTER"  # makes rollback plans
    ROLLBACK_APPROVER = "ROLLBACK_APPROVER"  # applies a plan that somebody else made


class Person(NamedTuple):
    name: str
    roles: frozenset[Role]

    def holds(self, *roles: Role) -> bool:
        """Return whether the person holds at least one of the roles."""
        return not self.roles.isdisjoint(roles)


class Grant(NamedTuple):
    """One record about a role: it is held from now on, or no longer."""

    role: Role
    is_held: bool


class GrantRefusal(StrEnum):
    """Why a change of a role is refused, in order of precedence."""

    NAME_MALFORMED = "a name is 2 to 64 of A-Z a-z 0-9 . _ @ - and starts with a letter"
    NOT_AN_ADMIN = "only an ADMIN grants and revokes roles"
    OWN_ROLE = "nobody changes their own roles"


def person(name: str, grants: Iterable[Grant]) -> Person:
    """Return the person with the roles that they hold; `grants` stand in the order in which they were made."""
    latest = {grant.role: grant.is_held for grant in grants}
    return Person(name, frozenset(role for role, is_held in latest.items() if is_held))


def grant_refusal(name: str, role: Role, by: Person, *, has_admin: bool) -> GrantRefusal | None:
    """Return why `by` may not change whether `name` holds `role`, or None where they may.

    `has_admin` says whether anybody is an ADMIN yet.
    """
    if not _NAME.fullmatch(name):
        return GrantRefusal.NAME_MALFORMED
    if not has_admin and role is Role.ADMIN:
        return None
    if not by.holds(Role.ADMIN):
        return GrantRefusal.NOT_AN_ADMIN
    return GrantRefusal.OWN_ROLE if name == by.name else None
