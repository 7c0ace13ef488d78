"""Which rows became visible from one snapshot of the database to the next.

Invariants
1. A row is visible in a snapshot exactly if its transaction is below `upper` and not among those in flight.
2. Of the rows that a later snapshot sees, those between two snapshots and those that the first saw are all, and none is
   in both. So whoever goes from snapshot to snapshot meets every row once, in whatever order transactions end; a
   transaction that stays open holds up nobody's rows but its own.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

XIDS_MAX: Final = 2**64 - 1
_TEXT: Final = re.compile(r"(\d{1,20}):(\d{1,20}):((?:\d{1,20},)*\d{1,20})?")


class Snapshot(NamedTuple):
    """upper: the first transaction id that was not given yet. in_flight: those below that had not ended, rising."""

    upper: int = 0
    in_flight: tuple[int, ...] = ()


def snapshot_of(text: str) -> Snapshot:
    """From what PostgreSQL writes of a pg_snapshot. Raises ValueError."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("the text is no snapshot")
    in_flight = tuple(int(xid) for xid in (match[3] or "").split(",") if xid)
    if list(in_flight) != sorted(set(in_flight)) or any(xid >= int(match[2]) for xid in in_flight):
        raise ValueError("the snapshot's transactions are not in their order")
    return Snapshot(int(match[2]), in_flight)


def snapshot_text(snapshot: Snapshot) -> str:
    """As PostgreSQL writes it."""
    lower = snapshot.in_flight[0] if snapshot.in_flight else snapshot.upper
    return f"{lower}:{snapshot.upper}:{','.join(map(str, snapshot.in_flight))}"


def cut_at(snapshot: Snapshot, upper: int) -> Snapshot:
    """The snapshot without transactions from `upper` on; it is one too, because what it sees has ended."""
    assert upper <= snapshot.upper, "a snapshot knows nothing of what comes after it"
    return Snapshot(upper, tuple(xid for xid in snapshot.in_flight if xid < upper))


def is_visible(snapshot: Snapshot, xid: int) -> bool:
    return xid < snapshot.upper and xid not in snapshot.in_flight


def landed(before: Snapshot, after: Snapshot) -> tuple[int, ...]:
    """Transactions that were in flight and are not any more."""
    return tuple(xid for xid in before.in_flight if is_visible(after, xid))
