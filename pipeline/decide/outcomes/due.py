"""How far the outcomes of each partition must be taken in, for what they tell to be known (ADR 0012, I4).

Invariants
1. Before a partition's first payment is observed, its outcomes are due up to the end that their log had then, and up to
   what the partition's latest decision had seen.
2. What was seen once stays due. So a state that goes back, as a snapshot of Redis that somebody restores, never tells
   less than it told before: it tells UNKNOWN.
3. Where it isn't known what is due, everything is.
"""

from __future__ import annotations

from typing import Final

ALL: Final = 2**47
"""Behind every offset of a log, and within the 6 bytes that an offset takes in a request to Redis."""


class OutcomesDue:
    """The offset below which all outcomes of a partition must be taken in, for each partition that is decided."""

    def __init__(self) -> None:
        self._due: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def expect_all(self, partition: int, seen: int) -> None:
        """Record that a partition is about to be decided, and what its latest decision had seen, before the end of its
        outcomes is known."""
        self._due[partition] = ALL
        self.saw(partition, seen)

    def expect(self, partition: int, end: int) -> None:
        """Record the end of a partition's outcomes. What comes later is not waited for."""
        self._due[partition] = end

    def saw(self, partition: int, position: int) -> None:
        """Record that the state had taken in all outcomes below `position`; less than 0 says nothing."""
        self._seen[partition] = max(position, self._seen.get(partition, 0))

    def of(self, partition: int) -> int:
        return max(self._due.get(partition, ALL), self._seen.get(partition, 0))

    @property
    def unknown(self) -> list[int]:
        """Partitions that are decided, and whose end of outcomes isn't known."""
        return sorted(partition for partition, due in self._due.items() if due == ALL)
