"""Which payments on wrong partitions are told of now, so that a flood of them is one alert a partition and minute.

Whoever publishes payments decides how many stand where they don't belong, and would otherwise fill alerts.v1 and what
is made of it, with a trip of the breaker somewhere behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TELL_AGAIN_MS: Final = 60_000


@dataclass(slots=True)
class _Partition:
    reached: int = -1  # the last offset that was counted
    untold: int = 0
    told_at_ms: int | None = None
    told_from: int = -1  # the first offset of the batch that was told of last


class Misplaced:
    """Counts what is misplaced, by partition, across batches."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def due(self, partition: int, offsets: Sequence[int], now_ms: int) -> int:
        """Return how many to tell of now, 0 for none; each is counted once.

        offsets: of the batch's, in order. A batch that is judged again, because it wasn't committed, is told again.
        """
        known = self._partitions.setdefault(partition, _Partition())
        fresh = sum(offset > known.reached for offset in offsets)
        is_again = known.told_at_ms is not None and offsets[0] <= known.told_from
        known.untold += fresh
        known.reached = max(known.reached, offsets[-1])
        if is_again:
            return max(known.untold, len(offsets))
        if known.told_at_ms is not None and 0 <= now_ms - known.told_at_ms < TELL_AGAIN_MS:
            return 0
        count, known.untold = known.untold, 0
        known.told_at_ms, known.told_from = now_ms, offsets[0]
        return count
