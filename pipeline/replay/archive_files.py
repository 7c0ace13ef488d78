"""The archive: every policy file, model artefact and feed that a stored decision may name, found by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.artefact.files import ModelRefused
from models.artefact.plain_files import read_plain
from models.artefact.scoring import Model
from models.versions.loading_files import load_registered
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.feeds.feed import (
    FEED_BYTES_MAX,
    NO_FEEDS,
    NOT_THERE,
    OF_THE_POLICY,
    ExchangeRates,
    FeedKind,
    FeedName,
    FeedRefused,
    Feeds,
    Sanctions,
    parse_feed,
)
from pipeline.decide.feeds.feed_files import archive_folder, plain_files
from pipeline.decide.policy import Policy, PolicyRefused, parse_policy
from pipeline.decide.verdict import Regime, regime
from pipeline.io.settings import Settings
from pipeline.replay.regimes import NO_MODEL, Missing, RegimeKey, RegimeOf

REGIMES_KEPT: Final = 64


class RegimeArchive:
    """Policies are files `*.toml` of one folder, models are versions of one registry, and feeds files `*.toml` beside
    the policies or in folders of their own. What was found is not looked for again."""

    def __init__(self, policy_folder: Path, registry: Path, feed_folders: Sequence[Path] = ()) -> None:
        self._policy_folder, self._registry = policy_folder, registry
        self._feed_folders = (policy_folder, *feed_folders)
        self._found: dict[RegimeKey, Regime] = {}

    def regime_of(self, key: RegimeKey) -> Regime | Missing:
        """The regime that a decision was made under, byte for byte, or what of it is missing, which may yet come."""
        found = self._found.get(key) or self._regime_of(key)
        if not isinstance(found, Missing):
            if len(self._found) >= REGIMES_KEPT and key not in self._found:
                del self._found[next(iter(self._found))]
            self._found[key] = found
        return found

    @classmethod
    def of(cls, settings: Settings, policy_folder: Path | None = None) -> RegimeArchive:
        """policy_folder: None stands for the archive of policies that the settings name."""
        feed_folders = (archive_folder(settings.feeds_path), settings.policy_archive)
        return cls(policy_folder or settings.policy_archive, settings.model_registry, feed_folders)

    def _regime_of(self, key: RegimeKey) -> Regime | Missing:
        policy = self._policy(key.policy_hash)
        if isinstance(policy, Missing):
            return policy
        feeds = self._feeds(key)
        if isinstance(feeds, Missing):
            return feeds
        if feeds is None and not policy.has_own_tables:
            return Missing(f"the decision names no feeds, and the policy {policy.version} has no tables in their place")
        if key.model_version == NO_MODEL:
            return regime(policy, None, feeds)
        model = self._model(key.model_version, key.model_hash)
        return model if isinstance(model, Missing) else regime(policy, model, feeds)

    def _policy(self, sha256: bytes) -> Policy | Missing:
        for path in plain_files(self._policy_folder, "*.toml"):
            content = read_plain(path, POLICY_BYTES_MAX)
            if hashlib.sha256(content).digest() == sha256:
                try:
                    return parse_policy(content)
                except PolicyRefused as refusal:
                    return Missing(f"the policy {path.name} is no longer accepted: {refusal}")
        return Missing(f"no policy in {self._policy_folder} has the hash {sha256.hex()}")

    def _feeds(self, key: RegimeKey) -> Feeds | Missing | None:
        """None where the decision names none, since the policy's own tables stood for them."""
        names = {FeedKind.EXCHANGE_RATES: key.exchange_rates, FeedKind.SANCTIONS: key.sanctions}
        if all(name == OF_THE_POLICY for name in names.values()):
            return None
        found = NO_FEEDS
        for kind, name in names.items():
            if name == NOT_THERE:
                continue
            feed = self._feed(kind, name)
            if isinstance(feed, Missing):
                return feed
            found = found.with_feed(feed)
        return found

    def _feed(self, kind: FeedKind, name: FeedName) -> ExchangeRates | Sanctions | Missing:
        found = self.feed_of(kind, name)
        return found if isinstance(found, Missing) else found[0]

    def feed_of(self, kind: FeedKind, name: FeedName) -> tuple[ExchangeRates | Sanctions, bytes] | Missing:
        """The feed that a decision names, and its bytes."""
        for path in (path for folder in self._feed_folders for path in plain_files(folder, "*.toml")):
            content = read_plain(path, FEED_BYTES_MAX)
            if hashlib.sha256(content).digest() != name.sha256:
                continue
            try:
                feed = parse_feed(content)
            except FeedRefused as refusal:
                return Missing(f"the feed {path.name} is no longer accepted: {refusal}")
            if feed.kind is not kind:
                return Missing(f"the feed {path.name} is one of {feed.kind}, and the decision names it for {kind}")
            return feed, content
        folders = " or ".join(map(str, dict.fromkeys(self._feed_folders)))
        return Missing(f"no feed of {kind} in {folders} has the hash {name.sha256.hex()}")

    def _model(self, version: str, sha256: bytes) -> Model | Missing:
        try:
            model = load_registered(self._registry, version)
        except ModelRefused as refusal:
            return Missing(str(refusal))
        if model.hash != sha256:
            return Missing(f"model {version} in {self._registry} has another hash than the decision names")
        return model


def archived_or_in_force(settings: Settings) -> RegimeOf:
    """Return what finds the archive's versions, and the policy that is in force, which may not be archived yet."""
    archives = [RegimeArchive.of(settings, folder) for folder in (settings.policy_archive, settings.policy_path.parent)]

    def regime_of(key: RegimeKey) -> Regime | Missing:
        found = archives[0].regime_of(key)
        return archives[1].regime_of(key) if isinstance(found, Missing) else found

    return regime_of
