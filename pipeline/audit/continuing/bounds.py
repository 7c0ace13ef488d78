"""How much is read before the audit log is continued, and the refusal to continue it."""

from __future__ import annotations

from typing import Final, NamedTuple


class NotContinued(Exception):
    """What the log would continue contradicts itself or what stands outside; one sentence, without a full stop.

    Nothing is signed until a person has looked into it.
    """


class Bounds(NamedTuple):
    """The most that is read, over all partitions together, newest first."""

    heads: int
    leaves: int
    rows: int
    anchors: int
    statements: int

    def share(self, partitions: int) -> Bounds:
        """What is read of one of so many partitions; the topics are read once for all of them."""
        parts = max(partitions, 1)
        heads, leaves, rows = (max(each // parts, 1) for each in (self.heads, self.leaves, self.rows))
        return Bounds(heads, leaves, rows, self.anchors, self.statements)


AT_ONCE: Final = Bounds(heads=20_000, leaves=200_000, rows=5_000, anchors=20_000, statements=1_000)
"""Before anything is signed, some seconds' work however long the log is: 20,000 heads are 4 days of 16 busy partitions,
1,000 statements over 3 days. The rest is checked in the background (RECHECK_S), and by `fraud audit check`."""
EVERYTHING: Final = Bounds(*[2**62] * 5)


class Looked(NamedTuple):
    """So much was read."""

    heads: int = 0
    leaves: int = 0
    rows: int = 0
    anchors: int = 0
    statements: int = 0

    def plus(self, other: Looked) -> Looked:
        return Looked(*(one + more for one, more in zip(self, other, strict=True)))
