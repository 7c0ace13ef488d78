"""A key set: the public keys that heads, witness statements and seals may be signed with, and when each was good.

Invariants
1. A key that the set doesn't hold, or holds for another use, signs nothing.
2. A signature counts only within its key's validity. A revoked key's counts only where something outside shows that
   it stood before the revocation: whoever has the key can write any time into what they sign.
3. Where something outside says when a signature came, an ended key's counts only where that was before its end, or so
   soon after that it may have waited: whoever finds an old key can date back what they sign.
4. No key is ever taken out of a set, and none gets another meaning: what it signed must stay verifiable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.times import utc_text

KIND: Final = "fraud-key-set-v1"
KEY_ID_DIGITS: Final = 16
PUBLIC_BYTES: Final = 32
"""Length of a raw Ed25519 key."""
POINT_BYTES: Final = 33
"""Length of a compressed point of P-256 (SEC 1, section 2.3.3), which begins with 2 or 3."""
_NAMES: Final = frozenset({"key_id", "use", "public", "valid_from", "valid_until", "revoked_at", "reason"})
KEYS_MAX: Final = 10_000
"""Most keys of a set: a key a day for 27 years."""
REASON_MAX: Final = 500
WAITED_MS_MAX: Final = 24 * 3_600_000
"""Longest time for which a head may wait in its file while the broker is away; as long as two keys overlap."""


class KeyUse(StrEnum):
    AUDIT = "audit"
    """Signs the audit log's heads."""
    WITNESS = "witness"
    """Signs what the witness has seen."""
    DECISIONS = "decisions"
    """Seals what the workers decide."""
    REVIEWS = "reviews"
    """Seals the outcomes of reviews."""
    REVERSALS = "reversals"
    """Seals the reversals of rollbacks."""
    LABELS = "labels"
    """Seals what payments turned out to be, as the publisher of labels.v1."""
    EXECUTIONS = "executions"
    """Seals what became of payments, as the executor that tells it on executions.v1."""
    DRILLS = "drills"
    """Signs the reports of drills."""
    FEEDS = "feeds"
    """Signs the exchange rates and sanctions that decisions are made by."""
    MODELS = "models"
    """Signs what a registry of models says: its aliases, evidence and history."""
    ARTEFACTS = "artefacts"
    """Signs the files of models as OpenSSF Model Signing does: by ECDSA on P-256, not by Ed25519."""

    @property
    def public_bytes(self) -> int:
        """Return the length of a raw public key for this use."""
        return POINT_BYTES if self is KeyUse.ARTEFACTS else PUBLIC_BYTES


class TrustedKey(NamedTuple):
    """An Ed25519 key, or for artefacts one of P-256. Its times are milliseconds since 1970; None: no end, or never.

    revoked_at_ms: the moment from which somebody else may have had the key, not that of the command.
    """

    key_id: str
    use: KeyUse
    public: bytes
    valid_from_ms: int
    valid_until_ms: int | None = None
    revoked_at_ms: int | None = None
    reason: str | None = None


class KeySet(NamedTuple):
    keys: Mapping[str, TrustedKey]  # by id, in the order in which they came

    def of_use(self, use: KeyUse) -> list[TrustedKey]:
        return [key for key in self.keys.values() if key.use is use]


class KeySetRefused(Exception):
    """A text is no key set, or a change of one is refused; one sentence, without a full stop."""


def key_id_of(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:KEY_ID_DIGITS]


def untrusted(keys: KeySet, use: KeyUse, key_id: str, signed_at_ms: int, seen_at_ms: int | None) -> str | None:
    """Return why a key's signature does not count, or None where it does.

    signed_at_ms: the time in what it signed. seen_at_ms: the earliest time that something outside gives; None: none.
    """
    key = keys.keys.get(key_id)
    if key is None:
        return f"the key {key_id} is not in the key set"
    if key.use is not use:
        return f"the key {key_id} is for {key.use}, not for {use}"
    if signed_at_ms < key.valid_from_ms:
        return f"the key {key_id} is valid only from {utc_text(key.valid_from_ms)}"
    if key.valid_until_ms is not None and signed_at_ms > key.valid_until_ms:
        return f"the key {key_id} was valid only until {utc_text(key.valid_until_ms)}"
    if key.revoked_at_ms is None:
        return None
    if signed_at_ms < key.revoked_at_ms and seen_at_ms is not None and seen_at_ms < key.revoked_at_ms:
        return None
    return (
        f"the key {key_id} is revoked since {utc_text(key.revoked_at_ms)} ({key.reason}), "
        "and no witness saw this before"
    )


def came_late(keys: KeySet, key_id: str, came_at_ms: int) -> str | None:
    """Return why what an ended key signed comes too late to be of its time, or None where it doesn't.

    came_at_ms: by a clock that its signer can't set.
    """
    key = keys.keys.get(key_id)
    if key is None or key.valid_until_ms is None or came_at_ms <= key.valid_until_ms + WAITED_MS_MAX:
        return None
    return f"the key {key_id} was valid only until {utc_text(key.valid_until_ms)}, and this came {utc_text(came_at_ms)}"


def with_key(keys: KeySet, use: KeyUse, public: bytes, valid_from_ms: int, retire_at_ms: int | None = None) -> KeySet:
    """Return the set with one key more. retire_at_ms: when the other keys of its use end that have no end yet.

    Raises KeySetRefused where it holds the key already, or a key would end before it begins.
    """
    key = TrustedKey(key_id_of(public), use, public, valid_from_ms)
    if key.key_id in keys.keys:
        raise KeySetRefused(f"the key set holds the key {key.key_id} already")
    if retire_at_ms is None:
        return KeySet({**keys.keys, key.key_id: key})
    retired = {
        other.key_id: _required(other._replace(valid_until_ms=retire_at_ms))
        for other in keys.of_use(use)
        if other.valid_until_ms is None or other.valid_until_ms > retire_at_ms
    }
    return KeySet({**keys.keys, **retired, key.key_id: key})


def with_revocation(keys: KeySet, key_id: str, revoked_at_ms: int, reason: str) -> KeySet:
    """Return the set with a key revoked. Raises KeySetRefused; a revocation can be moved back, never forward."""
    key = keys.keys.get(key_id)
    if key is None:
        raise KeySetRefused(f"the key set holds no key {key_id}")
    if key.revoked_at_ms is not None and revoked_at_ms > key.revoked_at_ms:
        raise KeySetRefused(f"the key {key_id} is revoked since {utc_text(key.revoked_at_ms)} already")
    return KeySet({**keys.keys, key_id: _required(key._replace(revoked_at_ms=revoked_at_ms, reason=reason.strip()))})


def key_set_text(keys: KeySet) -> str:
    """The set as its file holds it: JSON with times in ISO 8601 and public keys in hexadecimal."""
    return json.dumps({"kind": KIND, "keys": [_fields(key) for key in keys.keys.values()]}, indent=2) + "\n"


def key_set_of(text: str) -> KeySet:
    """Raises KeySetRefused."""
    try:
        read = json.loads(text)
        if read["kind"] != KIND or len(read["keys"]) > KEYS_MAX:
            raise KeySetRefused("it is no key set")
        return _by_id(map(_key, read["keys"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise KeySetRefused(f"it is no key set ({type(error).__name__})") from None


def _by_id(keys: Iterable[TrustedKey]) -> KeySet:
    found: dict[str, TrustedKey] = {}
    for key in keys:
        if key.key_id in found:
            raise KeySetRefused(f"it holds the key {key.key_id} twice")
        found[key.key_id] = key
    return KeySet(found)


def _key(written: Mapping[str, str | None]) -> TrustedKey:
    if set(written) != _NAMES:
        raise KeySetRefused("a key has other fields than a key set's keys")
    key_id, public, reason = _text(written["key_id"]), bytes.fromhex(_text(written["public"])), written["reason"]
    begins_ms = _time(written["valid_from"])
    if begins_ms is None:
        raise KeySetRefused(f"the key {key_id} has no time from which it is valid")
    use = KeyUse(_text(written["use"]))
    if len(public) != use.public_bytes or key_id_of(public) != key_id:
        raise KeySetRefused(f"the key {key_id} does not have that id")
    ends_ms, revoked_ms = _time(written["valid_until"]), _time(written["revoked_at"])
    return _required(
        TrustedKey(key_id, use, public, begins_ms, ends_ms, revoked_ms, None if reason is None else _text(reason))
    )


def _text(value: str | None) -> str:
    if not isinstance(value, str):
        raise KeySetRefused("a field of a key is no text")
    return value


def _required(key: TrustedKey) -> TrustedKey:
    if key.valid_until_ms is not None and key.valid_until_ms < key.valid_from_ms:
        raise KeySetRefused(f"the key {key.key_id} would end before it begins")
    reason = (key.reason or "").strip()
    if key.revoked_at_ms is not None and not (0 < len(reason) <= REASON_MAX and reason.isprintable()):
        raise KeySetRefused(
            f"the revocation of the key {key.key_id} needs a printable reason of 1 to {REASON_MAX} characters"
        )
    return key


def _fields(key: TrustedKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "use": key.use.value,
        "public": key.public.hex(),
        "valid_from": utc_text(key.valid_from_ms),
        "valid_until": None if key.valid_until_ms is None else utc_text(key.valid_until_ms),
        "revoked_at": None if key.revoked_at_ms is None else utc_text(key.revoked_at_ms),
        "reason": key.reason,
    }


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise KeySetRefused(f"the time {text} has no time zone")
    return round(at.timestamp() * 1000)
