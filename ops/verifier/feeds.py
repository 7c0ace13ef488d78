"""Who published the feeds that decisions were made by: their files in an archive, and the signatures beside them.

A decision names the exchange rates and the sanctions that it was made by, by their hashes. Whoever could put a feed in
force could decide what payments are worth, so each must be there and be signed by a publisher's key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .columns import Records
from .findings import Finding, Kind
from .keys import KeySet, Signed, distrusted
from .rows import Placed

KINDS = ("exchange_rates", "sanctions")
DOMAIN = b"fraud-feed-v1\n"
HASH_DIGITS = 16
USE = "feeds"


class Feeds(NamedTuple):
    """The folder of the archive, and the key set that holds the publishers' keys."""

    folder: Path
    keys: KeySet


class Named(NamedTuple):
    """A feed that a decision names: its kind and the hash of its bytes."""

    kind: str
    sha256: bytes


def named_by(rows: Iterable[Placed], records: Records) -> Iterator[Named]:
    """Yield what the rows' decisions name; a row that is none, or can't be read, is told of elsewhere."""
    for placed in rows:
        try:
            value = bytes.fromhex(str(placed.row.get("record")).removeprefix("\\x"))
            fields = records.feeds(value)
        except (ValueError, IndexError, KeyError, OverflowError):
            continue
        for kind, sha256 in zip(KINDS, fields, strict=False):
            if isinstance(sha256, bytes) and any(sha256):  # zeros stand for the policy's own tables, or for none
                yield Named(kind, sha256)


def check_feeds(feeds: Feeds, named: Iterable[Named]) -> list[Finding]:
    """Return a finding for each feed that isn't in the archive, or isn't signed by its publisher.

    A key that was revoked since signs nothing: nothing in an archive shows when its signature was made.
    """
    contents = [path.read_bytes() for path in sorted(feeds.folder.glob("*.toml"))]
    by_hash = {hashlib.sha256(content).digest(): content for content in contents}
    return [found for each in sorted(set(named)) for found in _check(feeds, each, by_hash.get(each.sha256))]


def _check(feeds: Feeds, named: Named, content: bytes | None) -> Iterator[Finding]:
    name = f"the {named.kind} {named.sha256.hex()} that decisions name"
    if content is None:
        yield Finding(Kind.FEED_MISSING, "feeds", None, None, f"{name} is not in the archive")
        return
    path = feeds.folder / f"{named.kind}-{named.sha256.hex()[:HASH_DIGITS]}.sig"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        at_ms, key_id, signature = fields["signed_at_ms"], fields["key_id"], bytes.fromhex(fields["signature"])
        if type(at_ms) is not int or not isinstance(key_id, str):
            raise TypeError("a field has another type")
    except (OSError, ValueError, KeyError, TypeError):
        yield Finding(Kind.FEED_UNSIGNED, "feeds", None, None, f"{name} has no signature that can be read")
        return
    signed = Signed(DOMAIN + f"{at_ms}\n".encode() + content, key_id, signature, USE, at_ms)
    if (why := distrusted(signed, feeds.keys, None, Kind.FEED_UNSIGNED)) is not None:
        yield Finding(why[0], "feeds", None, None, f"{name}: {why[1]}")
