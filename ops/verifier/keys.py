"""Key sets: the public keys that heads and witness statements may be signed with, and when each was good."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .findings import Kind

KEY_SET_KIND: Final = "fraud-key-set-v1"
AUDIT: Final = "audit"
WITNESS: Final = "witness"
ARTEFACTS: Final = "artefacts"
"""Its keys are points of P-256; they stand in sets beside those of feeds, and sign nothing that is verified here."""
KEY_BYTES: Final = 32
POINT_BYTES: Final = 33


class Key(NamedTuple):
    """Times are milliseconds since 1970; None: without end, or never revoked."""

    use: str
    public: bytes
    valid_from_ms: int
    valid_until_ms: int | None
    revoked_at_ms: int | None
    reason: str | None


KeySet = Mapping[str, Key]


class Signed(NamedTuple):
    """What a signature is over, and when it says that it was made. use: what the key must be for."""

    text: bytes
    key_id: str
    signature: bytes
    use: str
    signed_at_ms: int


def read_keys(path: Path) -> KeySet:
    """Raises ValueError, OSError."""
    try:
        read = json.loads(path.read_bytes())
        if not isinstance(read, dict):
            raise ValueError("it is no JSON object")
        if read["kind"] != KEY_SET_KIND:
            raise ValueError("it is of another kind")
        keys = {each["key_id"]: _key(each) for each in read["keys"]}
        if len(keys) != len(read["keys"]):
            raise ValueError("it holds a key twice")
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no key set (it is no JSON)") from error
    except KeyError as error:
        raise ValueError(f"{path} is no key set (it lacks {error})") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no key set (a value in it is of another type)") from error
    except ValueError as error:
        raise ValueError(f"{path} is no key set ({error})") from error
    return keys


def distrusted(signed: Signed, keys: KeySet, seen_at_ms: int | None, refused: Kind) -> tuple[Kind, str] | None:
    """Return why a signature doesn't count, or None where it does.

    seen_at_ms: the earliest time that something outside gives for what was signed; None: nothing does. `refused`: the
    kind of finding where the signature itself does not hold.
    """
    key = keys.get(signed.key_id)
    if key is None:
        return Kind.KEY_UNKNOWN, f"its key {signed.key_id} is not in the key set"
    if key.use != signed.use:
        return Kind.KEY_UNKNOWN, f"its key {signed.key_id} is for {key.use}"
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signed.signature, signed.text)
    except InvalidSignature:
        return refused, "its signature does not hold"
    if signed.signed_at_ms < key.valid_from_ms:
        return Kind.KEY_EXPIRED, f"its key {signed.key_id} was not valid yet"
    if key.valid_until_ms is not None and signed.signed_at_ms > key.valid_until_ms:
        return Kind.KEY_EXPIRED, f"its key {signed.key_id} was no longer valid"
    if key.revoked_at_ms is None or (
        signed.signed_at_ms < key.revoked_at_ms and seen_at_ms is not None and seen_at_ms < key.revoked_at_ms
    ):
        return None
    return Kind.KEY_REVOKED, f"its key {signed.key_id} is revoked ({key.reason}), and nothing outside saw it before"


def is_of_set(signed: Signed, keys: KeySet) -> bool:
    """Return whether some key of the set made the signature, in its time or not."""
    key = keys.get(signed.key_id)
    if key is None or key.use != signed.use:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signed.signature, signed.text)
    except InvalidSignature:
        return False
    return True


def _key(fields: Mapping[str, Any]) -> Key:
    public = bytes.fromhex(fields["public"])
    length = POINT_BYTES if fields["use"] == ARTEFACTS else KEY_BYTES
    if hashlib.sha256(public).hexdigest()[:16] != fields["key_id"] or len(public) != length:
        raise ValueError(f"the key {fields['key_id']} does not have that id")
    begins_ms = _time(fields["valid_from"])
    if begins_ms is None:
        raise ValueError(f"the key {fields['key_id']} has no time from which it is valid")
    ends_ms, revoked_ms = _time(fields["valid_until"]), _time(fields["revoked_at"])
    return Key(fields["use"], public, begins_ms, ends_ms, revoked_ms, fields["reason"])


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no time zone")
    return round(at.timestamp() * 1000)
