"""The feeds in force and their archive, as files of one folder.

`exchange_rates.toml` and `sanctions.toml` are in force; `archive` keeps every feed that ever was, under a name that
holds its version and hash, because decisions name them. A feed comes into force by a rename, after its copy lies in the
archive: no worker reads half of one, and none decides by one that nobody can verify with.

Development puts the shipped, illustrative feeds into a folder that has none, as of today, so that nothing is too old
for want of a publisher. Production never does.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import structlog

from models.artefact.plain_files import read_plain
from pipeline.decide.feeds.feed import (
    FEED_BYTES_MAX,
    NO_FEEDS,
    Feed,
    FeedKind,
    FeedRefused,
    Feeds,
    parse_feed,
    parse_new_feed,
)
from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings

log = structlog.get_logger("feeds")

SHIPPED: Final = Path(__file__).parent / "shipped"
SHIPPED_VERSION: Final = "shipped-"
HASH_DIGITS: Final = 16
_VERSION: Final = re.compile(r'^version = ".*"$', re.MULTILINE)
_AS_OF: Final = re.compile(r"^as_of = .*$", re.MULTILINE)


def archive_folder(feeds_path: Path) -> Path:
    return feeds_path / "archive"


def in_force_path(feeds_path: Path, kind: FeedKind) -> Path:
    return feeds_path / f"{kind}.toml"


@lru_cache
def shipped_feeds() -> Feeds:
    """The illustrative feeds as they are shipped: for tests, for training and for measurements of the past."""
    feeds = NO_FEEDS
    for kind in FeedKind:
        feeds = feeds.with_feed(parse_new_feed(_shipped(kind), kind))
    return feeds


def shipped_as_of(kind: FeedKind, at_ms: int) -> bytes:
    """The shipped feed as of the beginning of a day in UTC: the same bytes on the same day, wherever they are made."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
    text = _VERSION.sub(f'version = "{SHIPPED_VERSION}{day}"', _shipped(kind).decode(), count=1)
    return _AS_OF.sub(f"as_of = {day}T00:00:00Z", text, count=1).encode()


def read_feeds(settings: Settings) -> Feeds:
    """Return the feeds in force. Raises OSError where there is no such file, and FeedRefused."""
    feeds = NO_FEEDS
    for kind in FeedKind:
        feeds = feeds.with_feed(parse_new_feed(feed_bytes(settings, kind), kind))
    return feeds


def feed_bytes(settings: Settings, kind: FeedKind) -> bytes:
    """Return the bytes of the feed in force. Raises OSError."""
    return read_plain(in_force_path(settings.feeds_path, kind), FEED_BYTES_MAX)


def provide_feeds(settings: Settings) -> None:
    """In development, put the shipped feeds into a folder that never had any, and a day's anew over another day's.

    A feed that a person installed is never touched. Raises OSError.
    """
    if settings.profile is Profile.PRODUCTION:
        return
    for kind in FeedKind:
        path, content = in_force_path(settings.feeds_path, kind), shipped_as_of(kind, now_ms())
        before, archive = _held(path), archive_folder(settings.feeds_path)
        is_first = before is None and not any(archive.glob(f"{kind}-*.toml"))
        if is_first or (before is not None and before != content and is_shipped(before)):
            put_in_force(settings.feeds_path, parse_new_feed(content, kind), content)


def put_in_force(feeds_path: Path, feed: Feed, content: bytes) -> Path:
    """Keep a feed in the archive, then put it in force. Return its place in the archive. Raises OSError."""
    kept = keep(feeds_path, feed, content)
    replace(in_force_path(feeds_path, feed.kind), content)
    return kept


def keep(feeds_path: Path, feed: Feed, content: bytes) -> Path:
    """Write a feed's copy into the archive, unless it lies there. Raises OSError."""
    folder = archive_folder(feeds_path)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{feed.kind}-{feed.version}-{feed.sha256.hex()[:HASH_DIGITS]}.toml"
    if _held(kept) != content:
        replace(kept, content)
    return kept


def is_kept(feeds_path: Path, feed: Feed) -> bool:
    """Whether the archive holds a feed, so that it was in force, or was to be."""
    return kept_by_hash(feeds_path, feed.kind, feed.sha256.hex()) is not None


def kept_by_hash(feeds_path: Path, kind: FeedKind, sha256: str) -> Feed | None:
    """Return a feed of the archive by its hash, which its name holds; None where it isn't there or can't be read."""
    for path in plain_files(archive_folder(feeds_path), f"{kind}-*-{sha256[:HASH_DIGITS]}.toml"):
        feed = _kept_at(path)
        if not isinstance(feed, FeedRefused) and (feed[0].kind, feed[0].sha256.hex()) == (kind, sha256):
            return feed[0]
    return None


def kept_feeds(feeds_path: Path, kind: FeedKind) -> list[tuple[Feed, bytes]]:
    """Return every feed of a kind in the archive, in no order that counts: a copy keeps no times of files.

    Raises FeedRefused where one can't be read: it may be the one that was in force last.
    """
    found: list[tuple[Feed, bytes]] = []
    for path in plain_files(archive_folder(feeds_path), f"{kind}-*.toml"):
        kept = _kept_at(path)
        if isinstance(kept, FeedRefused):
            why = f"{path.name} of the archive can't be read, and may have been in force last"
            raise FeedRefused(f"{why} ({kept}); mend it, or move it away")
        if kept[0].kind is kind:
            found.append(kept)
    return found


def archived(feeds_path: Path) -> list[tuple[Path, Feed | FeedRefused]]:
    """Return every feed of the archive, by name, or why one can't be read."""
    found: list[tuple[Path, Feed | FeedRefused]] = []
    for path in plain_files(archive_folder(feeds_path), "*.toml"):
        kept = _kept_at(path)
        found.append((path, kept if isinstance(kept, FeedRefused) else kept[0]))
    return found


def _kept_at(path: Path) -> tuple[Feed, bytes] | FeedRefused:
    try:
        content = read_plain(path, FEED_BYTES_MAX)
        return parse_feed(content), content
    except FeedRefused as refusal:
        return refusal
    except OSError as error:
        return FeedRefused(f"the file can't be read: {error.strerror}")


def plain_files(folder: Path, pattern: str) -> list[Path]:
    """Return the plain files of an archive, by name. What is none (a link to nothing, a folder, a FIFO) is told, and
    is nothing that a decision was made by.
    """
    paths = sorted(folder.glob(pattern))
    if strange := [path.name for path in paths if not path.is_file()]:
        log.warning("archive_has_no_plain_file", names=strange)
    return [path for path in paths if path.name not in strange]


def replace(path: Path, content: bytes) -> None:
    """Write a file whole, then rename it, so that nobody reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    partial.write_bytes(content)
    partial.replace(path)


def _shipped(kind: FeedKind) -> bytes:
    return in_force_path(SHIPPED, kind).read_bytes()


def is_shipped(content: bytes) -> bool:
    """Whether it is a shipped feed, by whatever release; a person's own has another version."""
    return f'\nversion = "{SHIPPED_VERSION}'.encode() in content


def _held(path: Path) -> bytes | None:
    try:
        return read_plain(path, FEED_BYTES_MAX)
    except FileNotFoundError:
        return None
