"""Which payments are traced: a share of them by their places, and some so many a second.

Invariants
1. No more than so many are allowed within any second, however they are spread over it.
2. Which payments the share takes follows from their places in the log alone. A publisher chooses ids, and no offsets,
   so it can't choose; and a batch that is read again takes the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SECOND: Final = 1.0
_MIX_1, _MIX_2, _MIX_3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The multipliers of splitmix64."""
_PARTITION_SHIFT: Final = np.uint64(40)
"""Offsets below 2^40 of different partitions never meet."""


class Allowance:
    """Takes up to `per_s` a second. The caller's clock is in seconds and never goes backwards."""

    def __init__(self, per_s: int) -> None:
        self._taken: deque[float] = deque(maxlen=per_s)

    def take(self, now_s: float) -> bool:
        """Return whether one more may be taken now."""
        taken = self._taken
        if len(taken) == taken.maxlen and (not taken or now_s - taken[0] < SECOND):
            return False
        taken.append(now_s)  # the oldest leaves by itself
        return True


def places_taken(partitions: Sequence[int], offsets: Sequence[int], share: float) -> list[int]:
    """Return the indices of those places that a share, from 0 to 1, takes; both sequences are as long."""
    if share <= 0:
        return []
    places = np.array(offsets, dtype=np.uint64) + (np.array(partitions, dtype=np.uint64) << _PARTITION_SHIFT)
    mixed = _folded(_folded(places * _MIX_1, 30) * _MIX_2, 27) * _MIX_3
    units = _folded(mixed, 31) >> np.uint64(11)  # 53 bits, which a float holds exactly
    taken: list[int] = np.flatnonzero(units < share * 2.0**53).tolist()
    return taken


def _folded(numbers: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    return numbers ^ (numbers >> np.uint64(bits))
