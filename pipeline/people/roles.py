"""People by name, and the roles granted to them, which say what they may do.

Invariants
1. Nobody changes their own roles, however they write their name.
2. Two names that `folded` takes for one are one person's, who is always written in the same way.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final, NamedTuple

NAME_CHARACTERS_MAX: Final = 64
_NAME: Final = re.compile(rf"[A-Za-z][A-Za-z0-9._@-]{{1,{NAME_CHARACTERS_MAX - 1}}}", re.ASCII)


class Role(StrEnum):
    ADMIN = "ADMIN"  # registers keys, grants and revokes roles; the role allows nothing else
    REVIEWER = "REVIEWER"  # decides escalations
    SENIOR_REVIEWER = "SENIOR_REVIEWER"  # decides escalations, and is the second pair of eyes above an amount
    ROLLBACK_REQUESTER = "ROLLBACK_REQUESTER"  # makes rollback plans
    ROLLBACK_APPROVER = "ROLLBACK_APPROVER"  # applies a plan that somebody else made
    OPERATOR = "OPERATOR"  # throws switches, consents to live drills, forces feeds, redrives, answers for alerts
    RISK = "RISK"  # approves versions of the model, for those who answer for fraud and its costs
    COMPLIANCE = "COMPLIANCE"  # approves versions of the model, for those who answer for the rules
    ENGINEERING = "ENGINEERING"  # approves versions of the model, for those who run it


REVIEWERS: Final = (Role.REVIEWER, Role.SENIOR_REVIEWER)
UNKNOWN_KEY: Final = "your key is not registered for you, or it is revoked; an ADMIN registers it"


class Person(NamedTuple):
    name: str
    roles: frozenset[Role]

    def holds(self, *roles: Role) -> bool:
        """Return whether the person holds at least one of the roles."""
        return not self.roles.isdisjoint(roles)


class GrantRefusal(StrEnum):
    """Why a change of who people are, or of their roles, is refused, in order of precedence."""

    BROKEN = "the acts that say who people are were tampered with; `fraud people verify` says where"
    NAME_MALFORMED = "a name is 2 to 64 of A-Z a-z 0-9 . _ @ - and starts with a letter"
    NO_ADMIN_YET = "there is no ADMIN yet: the database's owner names the first with `fraud people first-admin`"
    ADMIN_ALREADY = "the first ADMIN was named before; only an ADMIN names others"
    NOT_AN_ADMIN = "only an ADMIN does this, with a key that is registered for them and not revoked"
    OWN_ROLE = "nobody changes their own roles"
    SPELT_OTHERWISE = "that person's name is written otherwise; `fraud people list` shows how"
    KEY_UNPROVEN = "that is no key of that person's: give them what `fraud people create-key NAME` printed"
    KEY_TAKEN = "that key was registered before, and a key is one person's for ever"
    KEY_UNKNOWN = "no such key is registered, or it is revoked already"
    LAST_ADMIN = "nobody could administer afterwards"
    PROVIDER_MALFORMED = "the provider's keys can't be used"
    LOGIN_MALFORMED = "that is no subject of a provider: give what `fraud login` printed"
    LOGIN_TAKEN = "that login was bound before, and a login is one person's for ever"


_LOOK_ALIKE: Final = str.maketrans("i10", "llo", "._-")
"""A capital i is an l to a reader; and ana.berg, ana-berg and anaberg are one person in most banks' mail."""


def folded(name: str) -> str:
    """Return what two names have in common that are one, or look alike. The database's control.folded is the same."""
    read = unicodedata.normalize("NFKC", name).casefold().translate(_LOOK_ALIKE)
    return read.replace("rn", "m").replace("vv", "w")


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def is_same(one: str, other: str) -> bool:
    """Return whether two names are one person's."""
    return folded(one) == folded(other)
