"""What a plan's decisions should have been made by, as files. Feeds are kept, and in production their publisher's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from models.artefact.plain_files import read_plain
from pipeline.decide.feeds.feed import FEED_BYTES_MAX, OF_THE_POLICY, FeedKind, FeedName, FeedRefused, parse_feed
from pipeline.decide.policy import PolicyRefused
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.feed_proof_files import feeds_fault_of
from pipeline.replay.redecide import Good
from pipeline.replay.regimes import NO_MODEL, Missing, RegimeKey
from pipeline.terminal.failures import Failure

_Read = TypeVar("_Read")


def good_feeds(settings: Settings, paths: Sequence[Path]) -> dict[FeedKind, FeedName]:
    """Return the names of feeds, each of a kind of its own. Raises Failure.

    Each must be in the archive: whoever approves the plan decides again by it, too.
    """
    archive, found = RegimeArchive.of(settings), dict[FeedKind, FeedName]()
    for path in paths:
        feed = accepted(path, FEED_BYTES_MAX, parse_feed, "feed")
        if feed.kind in found:
            raise Failure(f"Two feeds of {feed.kind} are given.", "Give one of them.")
        found[feed.kind] = FeedName(feed.version, feed.sha256)
        if isinstance(archive.feed_of(feed.kind, found[feed.kind]), Missing):
            raise Failure(f"{path} is not in the archive of feeds.", "Put it there by `fraud feeds install`.")
    return found


def accepted(path: Path, bytes_max: int, parse: Callable[[bytes], _Read], what: str) -> _Read:
    """Return what a file of a policy or of a feed holds. Raises Failure, in the same words of either."""
    try:
        return parse(read_plain(path, bytes_max))
    except OSError as error:
        raise Failure(f"{path} can't be read ({error.strerror}).", f"Give the path of a {what}.") from error
    except (PolicyRefused, FeedRefused) as refusal:
        raise Failure(f"{path} can't be used: {refusal}.", f"Give a {what} that is accepted.") from refusal


def require_published(settings: Settings, good: Good) -> None:
    """Raises Failure where nothing proves, in production, who published a feed that a plan names."""
    key = RegimeKey(b"", NO_MODEL, b"", good.exchange_rates or OF_THE_POLICY, good.sanctions or OF_THE_POLICY)
    fault = feeds_fault_of(settings)(key, now_ms())
    if fault is not None:
        raise Failure(f"The plan can't be relied on: {fault}.", "Have its publisher sign it: `fraud feeds sign`.")
