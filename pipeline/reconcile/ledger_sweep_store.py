"""Looks at the ledger by itself, whatever stretch of the topics is compared: holds that nothing frees, and postings.

What somebody plants in the ledger may name any place of the topics, also one that was compared long ago. But money
moves by postings only, and between two snapshots exactly those became visible whose transaction the first didn't see:
each posting is looked at with the execution that it names, whatever its number. A transaction that stays open hides
nothing but its own postings; after a start, what came since the oldest that was open is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, Positions, statements
from pipeline.reconcile.gaps import Gap, GapKind

POSTINGS_A_LOOK: Final = 10_000
"""Half a second to a second of the database's time."""
HOLDS_A_LOOK: Final = 100
"""Stale holds that are told at a time, the oldest first."""
LEDGER: Final = "ledger.posting"
"""What a gap of postings names instead of a topic; its offsets are postings' numbers, its partition is 0."""


class _Pass(NamedTuple):
    """A look at what a snapshot sees. oldest: its oldest transaction that had not ended; reached: the last posting."""

    snapshot: str
    oldest: int
    reached: tuple[int, int]  # transaction and number
    has_looked: bool = False


class LedgerSweep:
    """For one thread. Raises psycopg's errors."""

    def __init__(self, decisions_topic: str, consumer: str, *, is_stored: bool) -> None:
        """is_stored: go on from the stored position and tell a hold once; else from the first posting, of all holds."""
        self._topic, self._is_stored = decisions_topic, is_stored
        self._positions = Positions(f"{consumer}-postings", LEDGER)
        self._statements = statements("pipeline.reconcile", "reconcile")
        self._pass: _Pass | None = None
        self._seen: str | None = None  # the snapshot of the last pass that came to its end
        self._stored: int | None = None

    def stale_holds(self, connection: Connection) -> list[Gap]:
        """Return payments that are held although no case can free them."""
        wanted = {"topic": self._topic, "is_untold": self._is_stored, "limit": HOLDS_A_LOOK}
        rows = connection.execute(self._statements["stale_holds"], wanted).fetchall()
        return [Gap(GapKind.STALE_HOLD, self._topic, partition, at, at, 1) for partition, at in rows]

    def faults(self, connection: Connection) -> tuple[list[Gap], int] | None:
        """Return what is wrong with the next postings and their executions, and the transaction up to which all were
        looked at; None where there are no more.
        """
        if self._stored is None:
            self._stored = self._positions.read(connection, [0])[0] if self._is_stored else 0
        if self._pass is None:
            self._pass = self._begun(connection, self._stored)
        xid, number = self._pass.reached
        wanted = {"xid": xid, "number": number, "now": self._pass.snapshot, "before": self._seen}
        rows = connection.execute(self._statements["postings_since"], {**wanted, "limit": POSTINGS_A_LOOK}).fetchall()
        if not rows:
            ended, self._seen, self._pass = self._pass, self._pass.snapshot, None
            # Storing takes a transaction, too: only a pass that found something moves the position on.
            return ([], ended.oldest) if ended.has_looked and ended.oldest > self._stored else None
        self._pass = self._pass._replace(reached=rows[-1], has_looked=True)
        return self._look(connection, rows), max(self._stored, min(self._pass.oldest, rows[-1][0]))

    def move_on(self, connection: Connection, through: int) -> None:
        """In the transaction that stores the gaps. Raises PositionMoved."""
        if self._is_stored and self._stored is not None:
            self._positions.advance(connection, 0, self._stored, through)
        self._stored = through

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._pass = self._seen = self._stored = None

    def _begun(self, connection: Connection, stored: int) -> _Pass:
        """A database that has given fewer transactions than were looked at was laid out anew: all is looked at."""
        row = connection.execute(self._statements["posting_snapshot"]).fetchone()
        assert row is not None, "there is always a snapshot"
        snapshot, oldest, next_one = row
        return _Pass(snapshot, oldest, (stored if stored <= next_one else 0, 0))

    def _look(self, connection: Connection, rows: Sequence[tuple[int, int]]) -> list[Gap]:
        wanted = {"first": rows[0][0], "last": rows[-1][0], "numbers": [number for _, number in rows]}
        strays = connection.execute(self._statements["posting_faults"], wanted).fetchall()
        moved = connection.execute(self._statements["moved_faults"], wanted).fetchall()
        return [
            *(Gap(GapKind.POSTED_OTHERWISE, LEDGER, 0, number, number, 1) for (number,) in strays),
            *(Gap(GapKind(fault), self._topic, partition, at, at, 1) for fault, partition, at in moved),
        ]
