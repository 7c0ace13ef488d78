"""Who published a feed: an Ed25519 signature over its bytes, in the archive beside its copy.

The key set that says which keys seal decisions holds the publishers' keys too, for the use `feeds`. In production a
feed without a good signature is refused: whoever can write into the folder could otherwise lift every sanction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from models.artefact.plain_files import read_plain
from pipeline.decide.feeds.feed import AHEAD_MS_MAX, Feed, FeedRefused, parse_feed
from pipeline.decide.feeds.feed_files import HASH_DIGITS, archive_folder, replace
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey, is_signed, read_key_set
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, key_set_of, untrusted

DOMAIN: Final = b"fraud-feed-v1\n"
"""Begins what is signed, so that no signature of another protocol by the same key is one of a feed."""
SIGNATURE_BYTES_MAX: Final = 4096


def signature_text(key: SigningKey, content: bytes, signed_at_ms: int) -> bytes:
    """The signature of a feed as its file holds it; the time is signed with it."""
    signature = key.sign(_signed(content, signed_at_ms)).hex()
    fields = {"key_id": key.key_id, "signed_at_ms": signed_at_ms, "signature": signature}
    return json.dumps(fields, indent=2).encode() + b"\n"


def signature_beside(path: Path) -> Path:
    """Where a publisher puts the signature of a feed's file."""
    return path.with_name(f"{path.name}.sig")


def keep_signature(feeds_path: Path, feed: Feed, signature: bytes) -> None:
    """Keep a signature in the archive, where workers look for it; before its feed comes into force."""
    archive_folder(feeds_path).mkdir(parents=True, exist_ok=True)
    replace(_kept(feeds_path, feed), signature)


def signature_fault(settings: Settings, feed: Feed, content: bytes, seen_at_ms: int | None = None) -> str | None:
    """Return why a feed may not be in force for want of a signature; None where it has a good one, or needs none.

    Outside production none is needed, and none is looked at. seen_at_ms: as `fault_of` has it.
    """
    if settings.profile is not Profile.PRODUCTION:
        return None
    try:
        signature = read_plain(_kept(settings.feeds_path, feed), SIGNATURE_BYTES_MAX)
    except OSError:
        return "the feed is not signed (`fraud feeds sign`)"
    return fault_of(settings, content, signature, seen_at_ms)


def fault_of(settings: Settings, content: bytes, signature: bytes, seen_at_ms: int | None = None) -> str | None:
    """Return what is wrong with a signature by the key set that the settings name.

    seen_at_ms: when something besides the publisher's key shows that it stood, as a decision that names the feed does.
    """
    try:
        fields = json.loads(signature)
        key_id, signed_at_ms, signature_bytes = _fields(fields)
        keys = _keys(settings)
    except KeySetRefused as refusal:
        return str(refusal)
    except (ValueError, KeyError, TypeError):
        return "the feed's signature can't be read"
    if (why := untrusted(keys, KeyUse.FEEDS, key_id, signed_at_ms, seen_at_ms)) is not None:
        return f"the feed's signature does not count: {why}"
    try:
        as_of_ms = parse_feed(content).as_of_ms
    except FeedRefused as refusal:
        return str(refusal)
    if signed_at_ms < as_of_ms - AHEAD_MS_MAX:
        return "the feed's signature does not count: it was made before the time that the feed holds for"
    if not is_signed(keys.keys[key_id].public, _signed(content, signed_at_ms), signature_bytes):
        return f"the feed's signature is not one of the key {key_id} over these bytes"
    return None


def _signed(content: bytes, signed_at_ms: int) -> bytes:
    return DOMAIN + f"{signed_at_ms}\n".encode() + content


def _fields(read: object) -> tuple[str, int, bytes]:
    """The key, the time and the signature. Raises ValueError, KeyError or TypeError."""
    if not isinstance(read, dict):
        raise TypeError("a signature is an object")
    key_id, at_ms, signature = read["key_id"], read["signed_at_ms"], read["signature"]
    if not isinstance(key_id, str) or type(at_ms) is not int or not isinstance(signature, str):
        raise TypeError("a field of a signature has another type")
    return key_id, at_ms, bytes.fromhex(signature)


def _keys(settings: Settings) -> KeySet:
    if settings.seal_keys is not None:
        return key_set_of(settings.seal_keys)
    if settings.seal_keys_file is None:
        raise KeySetRefused("FRAUD_SEAL_KEYS_FILE names no key set that holds a publisher's key")
    return read_key_set(settings.seal_keys_file)


def _kept(feeds_path: Path, feed: Feed) -> Path:
    return archive_folder(feeds_path) / f"{feed.kind}-{feed.sha256.hex()[:HASH_DIGITS]}.sig"
