"""Noticing that the registry's champion was moved, at each batch, and what a worker decides by then (ADR 0046).

A move is a new file in a folder, which changes the folder's time. Asking for that takes a microsecond, so it is asked
before each batch; all else that may change is looked at every few seconds. A bucket has no such folder: there a move is
seen with the next look.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.versions.aliases import ALL_PPM, folder_of
from models.versions.loading_files import Loaded
from models.versions.locations import Alias
from pipeline.decide.feeds.feed import Feeds
from pipeline.decide.policy import Policy
from pipeline.decide.rollout.sharing import Rollout, Sharing, salt_key
from pipeline.decide.verdict import regime


class Moves:
    def __init__(self, registry: Path) -> None:
        self._folder = str(registry / folder_of(Alias.CHAMPION))
        self._looked_ns = self._changed_ns()

    def look(self) -> None:
        """Take what is there now as seen; whoever calls reads it afterwards, so that no move falls between."""
        self._looked_ns = self._changed_ns()

    @property
    def is_moved(self) -> bool:
        return self._changed_ns() != self._looked_ns

    def _changed_ns(self) -> int:
        try:
            return os.stat(self._folder).st_mtime_ns
        except OSError:  # a bucket, a registry without records, or one that can't be reached: the next look says so
            return 0


def rollout_of(policy: Policy, loaded: Loaded, feeds: Feeds) -> Rollout | None:
    """Return the candidate beside the champion; None where one model has all the traffic."""
    if loaded.candidate is None or loaded.record is None:
        return None
    assert loaded.record.share_ppm < ALL_PPM, "a version with all the traffic is no candidate"
    sharing = Sharing(loaded.record.share_ppm, salt_key(loaded.record.salt))
    return Rollout(regime(policy, loaded.candidate, feeds), sharing)
