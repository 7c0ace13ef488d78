"""The policy, the model and the feeds in force, from the files that people and publishers change while workers run.

Invariants
1. What can't be used changes nothing, whatever stands in the files and whatever kind of file they are.
2. A file that is refused keeps no other file's change out: a champion goes back whatever stands in the policy's file.
3. A feed that is older than the one in force, changes too much, or was taken back, is taken up only with a person's
   proved word. A worker that starts asks the same of its feeds, against what the archive shows was in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from models.artefact.files import ModelRefused
from models.artefact.plain_files import read_plain
from models.versions.loading_files import Loaded, glance, load_champion_of
from models.versions.registry_files import RegistryUnavailable
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide import metrics
from pipeline.decide.feeds.feed import (
    FEED_BYTES_MAX,
    NO_FEEDS,
    Feed,
    FeedKind,
    FeedRefused,
    Feeds,
    feed_versions,
    parse_new_feed,
)
from pipeline.decide.feeds.feed_files import in_force_path, keep, provide_feeds
from pipeline.decide.feeds.signature_files import signature_fault
from pipeline.decide.feeds.standing_files import require_at_start, require_follows
from pipeline.decide.policy import Policy, PolicyRefused, parse_new_policy
from pipeline.decide.rollout.moves_files import Moves, rollout_of
from pipeline.decide.rollout.sharing import SHARE_PPM_ALL
from pipeline.decide.verdict import Regime, regime
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings

LOAD_AGAIN_S: Final = 10.0
"""How long a champion that was refused is not tried again: what it is proved by (keys, people, memory, files that are
still being copied) may have come since, and nothing of the alias changes when it does."""

log = structlog.get_logger("worker")


class _Files(NamedTuple):
    """The bytes as they were last read; empty where no such file can be. `champion`: what names the model."""

    policy: bytes
    champion: bytes
    exchange_rates: bytes
    sanctions: bytes

    def of(self, kind: FeedKind) -> bytes:
        return self.exchange_rates if kind is FeedKind.EXCHANGE_RATES else self.sanctions


class RegimeSource:
    """The policy file, the model registry and the folder of feeds, looked at again every few seconds."""

    def __init__(self, settings: Settings, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError, PolicyRefused, ModelRefused or FeedRefused."""
        self._settings, self._moves, self._clock_s = settings, Moves(settings.model_registry), clock_s
        self._refused_champion: str | None = None  # why, so that the same is told once
        self._load_again_s = 0.0
        provide_feeds(settings)
        policy_bytes = read_plain(settings.policy_path, POLICY_BYTES_MAX)
        rates, sanctions = (read_plain(in_force_path(settings.feeds_path, kind), FEED_BYTES_MAX) for kind in FeedKind)
        self._seen = _Files(policy_bytes, glance(settings), rates, sanctions)
        policy, self._loaded, feeds = parse_new_policy(policy_bytes), load_champion_of(settings), NO_FEEDS
        for kind in FeedKind:
            feeds = feeds.with_feed(self._first(kind, self._seen.of(kind), policy))
        self._decide_by(policy, self._loaded, feeds)

    def changed(self) -> Regime | None:
        """A new regime when policy, champion or a feed changed and can be used; what can't be used changes nothing."""
        self._moves.look()
        before, self._seen = self._seen, self._read()
        is_champion_due = self._seen.champion != before.champion or self._is_champion_tried_again
        if self._seen == before and not is_champion_due:
            return None
        policy = self._policy(before)
        loaded = self._champion(before) if is_champion_due else self._loaded
        feeds = self._feeds(before, policy)
        if policy is self.current.policy and loaded is self._loaded and feeds == self.current.feeds:
            return None
        self._decide_by(policy, loaded, feeds)
        return self.current

    @property
    def is_moved(self) -> bool:
        """Whether the registry's champion was moved since `changed` last looked: cheap enough to ask at each batch."""
        return self._moves.is_moved

    def _decide_by(self, policy: Policy, loaded: Loaded, feeds: Feeds) -> None:
        self._loaded = loaded
        self.current, self.rollout = regime(policy, loaded.model, feeds), rollout_of(policy, loaded, feeds)
        self._report()

    @property
    def _is_champion_tried_again(self) -> bool:
        return self._refused_champion is not None and self._clock_s() >= self._load_again_s

    def _policy(self, before: _Files) -> Policy:
        """Return the policy to decide by from now on."""
        if self._seen.policy == before.policy:
            return self.current.policy
        try:
            return parse_new_policy(self._seen.policy)
        except Exception as error:  # a refusal, or whatever else a person's file makes our code raise
            self._tell_refused(error)
            return self.current.policy

    def _champion(self, before: _Files) -> Loaded:
        """Return the model to decide by from now on, and whoever is on trial beside it."""
        try:
            loaded = load_champion_of(self._settings)
        except Exception as error:  # a refusal, or whatever else a person's file makes our code raise
            why = str(error)
            if self._seen.champion != before.champion or why != self._refused_champion:
                self._tell_refused(error)
            self._refused_champion, self._load_again_s = why, self._clock_s() + LOAD_AGAIN_S
            if isinstance(error, RegistryUnavailable):
                self._seen = self._seen._replace(champion=before.champion)  # it may be there at the next look
            return self._loaded
        self._refused_champion = None
        return loaded

    def _tell_refused(self, error: Exception) -> None:
        metrics.POLICY_REFUSED.inc()
        is_refusal = isinstance(error, (PolicyRefused, ModelRefused))
        why = str(error) if is_refusal else type(error).__name__
        log.error("change_refused", why=why, kept=self.current.policy.version, exc_info=not is_refusal)

    def _feeds(self, before: _Files, policy: Policy) -> Feeds:
        feeds = self.current.feeds
        assert feeds is not None, "no policy in force has tables of its own"
        for kind in FeedKind:
            content, running = self._seen.of(kind), feeds.of(kind)
            assert running is not None, "no worker starts without a feed"
            if content == before.of(kind):
                continue
            try:
                feeds = feeds.with_feed(self._next(kind, content, running, policy))
            except Exception as error:  # a refusal, or whatever else a publisher's file makes our code raise
                metrics.FEED_REFUSED.labels(kind).inc()
                is_refusal = isinstance(error, FeedRefused)
                why = str(error) if is_refusal else type(error).__name__
                log.error("feed_refused", kind=kind, why=why, kept=running.version, exc_info=not is_refusal)
        return feeds

    def _first(self, kind: FeedKind, content: bytes, policy: Policy) -> Feed:
        """Raises FeedRefused, or OSError from the archive."""
        feed = self._proved(kind, content)
        assert policy.feeds is not None, "parse_new_policy refuses a policy without"
        require_at_start(self._settings, feed, content, policy.feeds, now_ms())
        return self._kept(feed, content)

    def _next(self, kind: FeedKind, content: bytes, running: Feed, policy: Policy) -> Feed:
        """Return the feed that takes the running one's place. Raises FeedRefused, or OSError from the archive."""
        if not content:
            raise FeedRefused("the file is gone, empty or can't be read")
        feed = self._proved(kind, content)
        assert policy.feeds is not None, "parse_new_policy refuses a policy without"
        require_follows(self._settings, running, feed, policy.feeds, now_ms())
        return self._kept(feed, content)

    def _proved(self, kind: FeedKind, content: bytes) -> Feed:
        feed = parse_new_feed(content, kind)
        if fault := signature_fault(self._settings, feed, content):
            raise FeedRefused(fault)
        return feed

    def _kept(self, feed: Feed, content: bytes) -> Feed:
        """Keep what decisions will name, also where somebody put the file there by hand and the archive can be written.

        Where it can't, `fraud feeds install` has kept it: a worker needs no right to write there.
        """
        try:
            keep(self._settings.feeds_path, feed, content)
        except OSError as error:
            log.warning("feed_not_kept", kind=feed.kind, version=feed.version, error=error.strerror)
        return feed

    def _read(self) -> _Files:
        rates, sanctions = (_read(in_force_path(self._settings.feeds_path, kind), FEED_BYTES_MAX) for kind in FeedKind)
        return _Files(_read(self._settings.policy_path, POLICY_BYTES_MAX), glance(self._settings), rates, sanctions)

    def _report(self) -> None:
        model = "none" if self.current.model is None else self.current.model.version
        metrics.IN_FORCE.clear()
        metrics.IN_FORCE.labels(self.current.policy.version, model).set(1)
        if self.rollout is not None:
            metrics.IN_FORCE.labels(self.current.policy.version, self.rollout.model.version).set(1)
        share_ppm = 0 if self.rollout is None else self.rollout.sharing.share_ppm
        metrics.CANDIDATE_SHARE.set(share_ppm / SHARE_PPM_ALL)
        metrics.tell_review_capacity(self.current.policy)
        metrics.tell_feeds(self.current)
        metrics.begin_currencies(self.current)
        candidate = None if self.rollout is None else self.rollout.model.version
        versions = feed_versions(self.current.feeds)
        log.info(
            "regime",
            policy=self.current.policy.version,
            model=model,
            candidate=candidate,
            share_ppm=share_ppm,
            **versions,
        )


def _read(path: Path, bytes_max: int) -> bytes:
    """Empty where no such file can be read: parsed, that is refused with a sentence."""
    try:
        return read_plain(path, bytes_max)
    except OSError:
        return b""
