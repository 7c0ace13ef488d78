"""Which refused payments are told of now, so that a flood of them is one alert a partition and minute.

Whoever publishes payments decides how many stand where they don't belong, or bear an id that another one has, and would
otherwise fill alerts.v1 and what is made of it, with a trip of the breaker somewhere behind.

Invariants
1. Each refused payment is counted in one alert: at once, with those of a minute, or with the first batch after it.
2. A batch that is judged again, because it wasn't committed, is told again, and nothing of it is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

TELL_AGAIN_MS: Final = 60_000


class Due(NamedTuple):
    """An alert that is due. first_offset: of the payments that it counts."""

    partition: int
    first_offset: int
    payments: int


@dataclass(slots=True)
class _Partition:
    reached: int = -1  # the last offset that was counted
    untold: int = 0
    untold_from: int = -1  # the first offset of those
    told_at_ms: int | None = None
    told_from: int = -1  # the first offset of the batch that was told of last
    told: Due | None = None  # what it told

    def add(self, offsets: Sequence[int]) -> None:
        fresh = [offset for offset in offsets if offset > self.reached]
        if fresh and not self.untold:
            self.untold_from = fresh[0]
        self.untold += len(fresh)
        self.reached = max(self.reached, *offsets[-1:])

    def tell(self, partition: int, batch_from: int, now_ms: int) -> Due:
        due = Due(partition, self.untold_from, self.untold)
        self.untold, self.told_at_ms, self.told_from, self.told = 0, now_ms, batch_from, due
        return due


class Flood:
    """Counts refused payments of one kind, by partition, across batches."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def due(self, refused: Mapping[int, Sequence[int]], begins: Mapping[int, int], now_ms: int) -> list[Due]:
        """Return what to tell of now, by partition.

        refused: the offsets of a batch that were refused so, by partition and in order. begins: the first offset that
        the batch holds of each of its partitions; what an earlier batch left untold is told with it.
        """
        for partition, offsets in refused.items():
            self._partitions.setdefault(partition, _Partition()).add(offsets)
        if not self._partitions:
            return []
        found = [self._due(partition, begins[partition], now_ms) for partition in sorted(begins)]
        return [due for due in found if due is not None]

    def _due(self, partition: int, batch_from: int, now_ms: int) -> Due | None:
        known = self._partitions.get(partition)
        if known is None:
            return None
        if known.told is not None and batch_from <= known.told_from:
            return known.told
        is_early = known.told_at_ms is not None and 0 <= now_ms - known.told_at_ms < TELL_AGAIN_MS
        return None if is_early or not known.untold else known.tell(partition, batch_from, now_ms)
