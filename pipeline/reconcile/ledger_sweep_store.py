"""Looks at the ledger by itself, whatever stretch of the topics is compared: holds that nothing frees, and postings.

What somebody plants in the ledger may name any place of the topics, also one that was compared long ago. But money
moves by postings only, and those have growing numbers: each posting is looked at once, with the execution that it
names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, Positions, statements
from pipeline.reconcile.gaps import Gap, GapKind

POSTINGS_A_LOOK: Final = 10_000
"""Half a second to a second of the database's time."""
HOLDS_A_LOOK: Final = 100
"""Stale holds that are told at a time, the oldest first."""
LEDGER: Final = "ledger.posting"
"""What a gap of postings names instead of a topic; its offsets are postings' numbers, its partition is 0."""


class _End(NamedTuple):
    """A number that postings were given, and the transaction before which all must have ended until it is looked at."""

    number: int
    transaction: int


class LedgerSweep:
    """For one thread. Raises psycopg's errors."""

    def __init__(self, decisions_topic: str, consumer: str, *, is_stored: bool) -> None:
        """is_stored: go on from the stored position and tell a hold once; else from the first posting, of all holds."""
        self._topic, self._is_stored = decisions_topic, is_stored
        self._positions = Positions(f"{consumer}-postings", LEDGER)
        self._statements = statements("pipeline.reconcile", "reconcile")
        self._end: _End | None = None
        self._next = 0

    def stale_holds(self, connection: Connection) -> list[Gap]:
        """Return payments that are held although no case can free them."""
        wanted = {"topic": self._topic, "is_untold": self._is_stored, "limit": HOLDS_A_LOOK}
        rows = connection.execute(self._statements["stale_holds"], wanted).fetchall()
        return [Gap(GapKind.STALE_HOLD, self._topic, partition, at, at, 1) for partition, at in rows]

    def faults(self, connection: Connection) -> tuple[list[Gap], int] | None:
        """Return what is wrong with the next postings and their executions, and the number up to which they were
        looked at; None where there are none, or a transaction that may still store one has not ended.
        """
        if self._end is None:
            self._end = _End(*self._one(connection, "posting_end"))
        if self._is_stored and self._one(connection, "oldest_transaction")[0] < self._end.transaction:
            return None
        if self._is_stored:
            self._next = self._positions.read(connection, [0])[0]
        if self._next >= self._end.number:
            self._end = None
            return None
        through = min(self._end.number, self._next + POSTINGS_A_LOOK)
        return self._look(connection, {"after": self._next, "through": through}), through

    def move_on(self, connection: Connection, through: int) -> None:
        """In the transaction that stores the gaps. Raises PositionMoved."""
        if self._is_stored:
            self._positions.advance(connection, 0, self._next, through)
        self._next = through

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._end = None

    def _one(self, connection: Connection, name: str) -> tuple[int, ...]:
        row = connection.execute(self._statements[name]).fetchone()
        assert row is not None, "it always has one row"
        return row

    def _look(self, connection: Connection, numbers: dict[str, int]) -> list[Gap]:
        strays = connection.execute(self._statements["posting_faults"], numbers).fetchall()
        moved = connection.execute(self._statements["moved_faults"], numbers).fetchall()
        return [
            *(Gap(GapKind.POSTED_OTHERWISE, LEDGER, 0, number, number, 1) for (number,) in strays),
            *(Gap(GapKind(fault), self._topic, partition, at, at, 1) for fault, partition, at in moved),
        ]
