"""Who published the feeds that a stored decision was made by: asked of the signatures in the feeds' archive.

A decision made again from a feed comes out the same whoever wrote the feed. So in production a decision counts as
verified only where its feeds were signed, as they had to be to come into force.
"""

from __future__ import annotations

from typing import Final

from pipeline.decide.feeds.feed import NOT_THERE, OF_THE_POLICY, FeedKind
from pipeline.decide.feeds.signature_files import signature_fault
from pipeline.io.settings import Profile, Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.regimes import FeedsFault, Missing, RegimeKey, feeds_unasked

_PROVED_MAX: Final = 1024
"""Answers that are remembered: a regime a day for almost three years, in 0.2 MB."""


def feeds_fault_of(settings: Settings) -> FeedsFault:
    """Return what asks each feed for its signature in production, and nothing elsewhere."""
    if settings.profile is not Profile.PRODUCTION:
        return feeds_unasked
    archive, proved = RegimeArchive.of(settings), set[RegimeKey]()

    def fault_at(key: RegimeKey, seen_at_ms: int | None) -> str | None:
        for kind, name in ((FeedKind.EXCHANGE_RATES, key.exchange_rates), (FeedKind.SANCTIONS, key.sanctions)):
            if name in (NOT_THERE, OF_THE_POLICY):
                continue
            found = archive.feed_of(kind, name)
            fault = found.why if isinstance(found, Missing) else signature_fault(settings, *found, seen_at_ms)
            if fault is not None:
                return f"nothing proves who published its {kind} {name.version}: {fault}"
        return None

    def feeds_fault(key: RegimeKey, decided_at_ms: int) -> str | None:
        """A revoked key's signature counts where the decision, which names the feed, was made before."""
        if key in proved:
            return None
        if fault_at(key, None) is not None:  # not remembered: the signature may yet come
            return fault_at(key, decided_at_ms)
        if len(proved) < _PROVED_MAX:
            proved.add(key)
        return None

    return feeds_fault
