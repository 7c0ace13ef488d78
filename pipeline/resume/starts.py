"""Where a worker goes on in a partition, by the offset that its group committed and by what was decided.

Invariants
1. Nothing that was decided is read again, whatever the group's offset says (I2).
2. Nothing is passed over that the log still holds and that was not decided (I1).
3. Without an offset, deciding begins at the oldest record only where nothing of the partition was ever decided; with
   one, it begins there only where a person has said so.
"""

from __future__ import annotations

from typing import NamedTuple


class Decided(NamedTuple):
    """How far a partition was decided.

    end: the offset behind the last payment with a decision or a dead letter; None where there is none. is_whole: what
    was decided is kept from the beginning, so that None means that nothing ever was.
    """

    end: int | None
    is_whole: bool


def start_of(committed: int | None, decided: Decided, oldest: int, *, begins_at_committed: bool = False) -> int | None:
    """Return the offset to go on from; None where neither the group nor what is kept says.

    committed: the group's offset, None for none. oldest: the oldest offset that the log holds. begins_at_committed:
    what lies before the group's offset is not ours to decide, where nothing was decided yet.
    """
    if decided.end is None:
        if not decided.is_whole or (begins_at_committed and committed is not None):
            return committed
        return committed if committed is not None and committed <= oldest else oldest
    if committed is None or committed < decided.end:
        return decided.end
    return min(committed, max(decided.end, oldest))
