"""What a feed is held against before it comes in force, for workers that run, for those that start and for commands.

Invariants
1. A feed that an OPERATOR took back comes in force only by a later word. The latest word about a feed decides.
2. A worker that starts holds its feed against what the archive shows was in force last, as one that runs does against
   the one that it decides by.
3. A feed of the archive that nobody can rely upon (unsigned, by a revoked key, of the future, unreadable) is a reason
   to refuse, and never one to look past it.
"""

from __future__ import annotations

import structlog

from pipeline.decide.feeds.changes import Objection, Refused, refusal_of, refusal_of_future
from pipeline.decide.feeds.feed import Feed, FeedKind, FeedRefused
from pipeline.decide.feeds.feed_files import is_shipped, kept_by_hash, kept_feeds, shipped_as_of
from pipeline.decide.feeds.forced_files import ProvedWord, proved_words, word_fault
from pipeline.decide.feeds.signature_files import signature_fault
from pipeline.decide.policy import FeedLimits
from pipeline.io.settings import Profile, Settings

log = structlog.get_logger("feeds")


def require_at_start(settings: Settings, feed: Feed, content: bytes, limits: FeedLimits, at_ms: int) -> None:
    """Raises FeedRefused where a worker may not start with a feed, and OSError where the archive can't be read."""
    require_follows(settings, None, feed, limits, at_ms)
    for before in in_force_before(settings, feed, content, at_ms):
        require_follows(settings, before, feed, limits, at_ms)


def require_follows(settings: Settings, before: Feed | None, feed: Feed, limits: FeedLimits, at_ms: int) -> None:
    """Raises FeedRefused where nobody's word lets it in; a word that lets in what was taken back is the latest."""
    refused = refusal_to_follow(settings, before, feed, limits, at_ms)
    if refused is None:
        return
    why = refused.why if before is None else f"{refused.why} (it would follow {before.version})"
    if before is None or not refused.may_be_forced or refused.objection is Objection.TAKEN_BACK:
        raise FeedRefused(why)
    unsaid = word_fault(settings.feeds_path, settings.people_file, before, feed, at_ms)
    if unsaid is not None:
        raise FeedRefused(f"{why}; {unsaid}")
    log.warning("feed_forced", kind=feed.kind, version=feed.version, why=refused.why)


def refusal_to_follow(
    settings: Settings, before: Feed | None, after: Feed, limits: FeedLimits, at_ms: int
) -> Refused | None:
    """Return why a feed may not follow `before`, also where an OPERATOR took it back. Raises FeedRefused."""
    if (future := refusal_of_future(after, at_ms)) is not None:
        return future
    if is_taken_back(settings, after, proved_words(settings.feeds_path, settings.people_file)):
        why = f"version: an OPERATOR took {after.version}, or what was published for its time, back"
        return Refused(Objection.TAKEN_BACK, why)
    return refusal_of(before, after, limits, at_ms)


def is_taken_back(settings: Settings, feed: Feed, words: list[ProvedWord]) -> bool:
    """Whether the latest word about a feed took it back. Of two words of one moment, the one that did counts.

    A word that puts an older feed in another's place takes all back that is for a time between the two: such feeds
    led to the one that was wrong, or would undo the word.
    """
    told = [(word.at_ms, takes) for word in words if (takes := _takes_back(settings, word, feed)) is not None]
    return max(told, default=(0, False))[1]


def _takes_back(settings: Settings, word: ProvedWord, feed: Feed) -> bool | None:
    """None where the word isn't about the feed."""
    if word.sha256 == feed.sha256.hex():
        return False
    if word.replaces == feed.sha256.hex():
        return True
    put, taken = (kept_by_hash(settings.feeds_path, feed.kind, hashed) for hashed in (word.sha256, word.replaces))
    if put is None or taken is None:
        return None
    return True if put.as_of_ms < feed.as_of_ms <= taken.as_of_ms else None


def standing(settings: Settings, kind: FeedKind) -> list[tuple[Feed, bytes]]:
    """Return the feeds of the archive that nobody took back, youngest first. Raises FeedRefused or OSError."""
    words = proved_words(settings.feeds_path, settings.people_file)
    kept = [each for each in kept_feeds(settings.feeds_path, kind) if not is_taken_back(settings, each[0], words)]
    return sorted(kept, key=lambda each: each[0].as_of_ms, reverse=True)


def in_force_before(settings: Settings, feed: Feed, content: bytes, at_ms: int) -> list[Feed]:
    """Return what a feed at a start is held against: the youngest of the archive, and the youngest with a good proof.

    Empty where there never was one. Of two for the same time, one with other content stands first. The shipped feeds of
    development follow each other freely, since a new release may ship others on the same day. Raises FeedRefused or
    OSError.
    """
    kept = standing(settings, feed.kind)
    if settings.profile is not Profile.PRODUCTION and content == shipped_as_of(feed.kind, at_ms):
        kept = [each for each in kept if not is_shipped(each[1])]
    kept.sort(key=lambda each: (each[0].as_of_ms, each[0].sha256 != feed.sha256), reverse=True)
    proved = [feed for feed, held in kept if signature_fault(settings, feed, held) is None]
    return [*(feed for feed, _ in kept[:1]), *proved[:1]]
