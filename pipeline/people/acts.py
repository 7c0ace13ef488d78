"""Acts as a person signs them: each with every value that matters, in canonical bytes.

Invariants
1. Two acts that differ in anything have different bytes, and an act has one form in bytes only: a signature over one
   says nothing about another.
2. An act names the registry that it belongs to, by the digest of that one's first act: what was signed for one
   deployment is nothing in another.
3. An act's digest is its name. The database keeps it once, and refers to it once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

DOMAIN: Final = b"fraud-act-v1\n"
"""Begins what is signed, so that no signature of another protocol by the same key is one of ours."""
NONCE_BYTES: Final = 16
CONTENT_BYTES_MAX: Final = 64 * 1024
"""The longest reason takes 24 kB when each of its characters is escaped."""
_NAMES: Final = frozenset({"act", "at_ms", "key", "name", "root", "subject"})

T = TypeVar("T")
Value = str | int | bool | None
Subject = Mapping[str, Value]


class ActKind(StrEnum):
    FIRST_ADMIN = "FIRST_ADMIN"
    KEY_REGISTERED = "KEY_REGISTERED"
    KEY_REVOKED = "KEY_REVOKED"
    ROLE_GRANTED = "ROLE_GRANTED"
    ROLE_REVOKED = "ROLE_REVOKED"
    PROVIDER_TRUSTED = "PROVIDER_TRUSTED"
    LOGIN_BOUND = "LOGIN_BOUND"
    CASE_CLAIMED = "CASE_CLAIMED"
    CASE_RELEASED = "CASE_RELEASED"
    CASE_PROPOSED = "CASE_PROPOSED"
    CASE_DECLINED = "CASE_DECLINED"
    CASE_DECIDED = "CASE_DECIDED"
    RECOVERY_CLOSED = "RECOVERY_CLOSED"
    ROLLBACK_PLANNED = "ROLLBACK_PLANNED"
    ROLLBACK_APPROVED = "ROLLBACK_APPROVED"
    ROLLBACK_APPLIED = "ROLLBACK_APPLIED"  # a run that carries an approved plan out, or goes on with it
    QUARANTINE_PROPOSED = "QUARANTINE_PROPOSED"
    QUARANTINE_CONFIRMED = "QUARANTINE_CONFIRMED"
    RULING_PROPOSED = "RULING_PROPOSED"
    RULING_CONFIRMED = "RULING_CONFIRMED"
    LETTERS_REDRIVEN = "LETTERS_REDRIVEN"
    BREAKER_SWITCHED = "BREAKER_SWITCHED"
    FEED_FORCED = "FEED_FORCED"  # a feed put in force that is older than the one before, or changes too much
    MODEL_APPROVED = "MODEL_APPROVED"  # a version of the model, by its digest, as one of three roles
    MODEL_MOVED = "MODEL_MOVED"  # the champion: promoted, given a larger share, or put back
    LIVE_DRILL_PROPOSED = "LIVE_DRILL_PROPOSED"
    LIVE_DRILL_CONFIRMED = "LIVE_DRILL_CONFIRMED"
    LIVE_DRILL_BEGUN = "LIVE_DRILL_BEGUN"
    ALERT_ACKNOWLEDGED = "ALERT_ACKNOWLEDGED"
    ALERT_RESOLVED = "ALERT_RESOLVED"
    ALERTS_SILENCED = "ALERTS_SILENCED"
    ALERTS_UNSILENCED = "ALERTS_UNSILENCED"
    INCIDENT_ACKNOWLEDGED = "INCIDENT_ACKNOWLEDGED"
    INCIDENT_NOTED = "INCIDENT_NOTED"
    INCIDENT_RESOLVED = "INCIDENT_RESOLVED"
    DISAGREEMENT_REVIEWED = "DISAGREEMENT_REVIEWED"


REGISTRY_KINDS: Final = frozenset(
    {
        ActKind.FIRST_ADMIN,
        ActKind.KEY_REGISTERED,
        ActKind.KEY_REVOKED,
        ActKind.ROLE_GRANTED,
        ActKind.ROLE_REVOKED,
        ActKind.PROVIDER_TRUSTED,
        ActKind.LOGIN_BOUND,
    }
)
"""Acts that say who people are and what they may do. Each names the one before it."""
NO_ROOT: Final = ""
"""The registry that the first act belongs to: it begins one."""


class Act(NamedTuple):
    """`key_id` is that of the key that signs, `at_ms` when, and `root` the registry's, as `digest_of` has it.

    `nonce`: what nobody can guess before it is signed, in hexadecimal; empty in acts of before. An act's digest is its
    place in the database, so whoever may append acts could take those places that somebody is about to need.
    """

    kind: ActKind
    subject: Subject
    name: str
    key_id: str
    at_ms: int
    root: str
    nonce: str = ""


class Evidence(NamedTuple):
    """How a session proves whose it is: its public key, and the provider's ID token that commits to it."""

    public: bytes
    id_token: str


class SignedAct(NamedTuple):
    """An act as it was signed. `evidence` is None where a registered key signed it."""

    content: str
    signature: bytes
    evidence: Evidence | None = None

    @property
    def digest(self) -> str:
        return digest_of(self.content)


SESSION_S_MAX: Final = 8 * 3600
"""Longest time for which a login counts, whatever its ID token says."""


class ActMalformed(ValueError):
    """A text is no act. The message doesn't quote it."""


def content_of(act: Act) -> str:
    fields = {
        "act": act.kind.value,
        "at_ms": act.at_ms,
        "key": act.key_id,
        "name": act.name,
        "root": act.root,
        "subject": dict(act.subject),
        **({"nonce": act.nonce} if act.nonce else {}),
    }
    return json.dumps(fields, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)


def signed_bytes(content: str) -> bytes:
    """The bytes that a signature is over."""
    return DOMAIN + content.encode()


def digest_of(content: str) -> str:
    """The act's name: the SHA-256 of what was signed, in hexadecimal."""
    return hashlib.sha256(signed_bytes(content)).hexdigest()


def act_of(content: str) -> Act:
    """Raises ActMalformed for everything but the one form that an act has."""
    if len(content) > CONTENT_BYTES_MAX:
        raise ActMalformed("it is too long to be an act")
    try:
        read = json.loads(content)
        if not isinstance(read, dict) or read.keys() - {"nonce"} != _NAMES:
            raise ActMalformed("it has other fields than an act")
        act = Act(
            ActKind(read["act"]),
            _subject(read["subject"]),
            _typed(read["name"], str),
            _typed(read["key"], str),
            _typed(read["at_ms"], int),
            _typed(read["root"], str),
            _typed(read.get("nonce", ""), str),
        )
    except (ValueError, TypeError, RecursionError):
        raise ActMalformed("it can't be read as an act") from None
    if content_of(act) != content:
        raise ActMalformed("it is not in the form that an act has")
    return act


def key_id_of(public: bytes) -> str:
    """The name of a raw public key: all of its SHA-256, in hexadecimal."""
    return hashlib.sha256(public).hexdigest()


def _subject(read: object) -> dict[str, Value]:
    if not isinstance(read, dict):
        raise ActMalformed("it is about nothing")
    for value in read.values():
        if value is not None and not isinstance(value, str | int):
            raise ActMalformed("it holds a value that no act holds")
    return read


def _typed(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise ActMalformed("a field has another type")
    return value
