"""The weight of one account in what the breaker counts.

Invariants
1. Of no account more than `most` payments count in any window, however many it makes.
2. Memory is fixed, whatever accounts there are.

Accounts share places by a salted hash, and `most` is a place's: two accounts that meet in one count less than they
might, never more. The salt is this process', so nobody can choose an account that meets another's. All payments of an
account come to one worker; where they go over to another, it may count as many once more.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from pipeline.breaker.answer_counts import Answer

PLACES: Final = 1 << 16
"""65,536 places of 2 payments in 5 minutes let 437 a second count, which is sample enough; they take 1 MB."""


class AccountWeights:
    """Remembers, for each place, when its latest payments were counted, oldest first from a cursor on."""

    def __init__(self, salt: bytes, places: int = PLACES) -> None:
        self._salt, self._places, self._most = salt, places, 0
        self._counted_ms, self._cursors = array("q"), bytearray()

    def counted(self, answers: Sequence[Answer], most: int, window_ms: int, now_ms: int) -> list[Answer]:
        """Return the answers that count: those about money, and of each account no more than `most` in a window.

        A payment of nothing costs its publisher nothing, so any number of them could drown those that matter. One
        that the model fails on counts all the same: it says nothing of rates, but of the model. most: 1 to 100.
        """
        if self._most != most:
            self._most = most
            self._counted_ms = array("q", [now_ms - window_ms]) * (self._places * most)
            self._cursors = bytearray(self._places)
        return [
            answer
            for answer in answers
            if (answer.outcome is None or not answer.is_of_nothing)
            and self._admit(answer.account_id, window_ms, now_ms)
        ]

    def _admit(self, account_id: str, window_ms: int, now_ms: int) -> bool:
        place = int.from_bytes(blake2b(account_id.encode(), key=self._salt, digest_size=8).digest()) % self._places
        cursor = self._cursors[place]
        oldest = place * self._most + cursor
        if now_ms - self._counted_ms[oldest] < window_ms:
            return False
        self._counted_ms[oldest] = now_ms
        self._cursors[place] = (cursor + 1) % self._most
        return True
