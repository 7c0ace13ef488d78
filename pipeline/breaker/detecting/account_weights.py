"""The weight of one account, and of all new accounts, in what the breaker counts.

Invariants
1. Of no account more than `most` payments count in any window, however many it makes.
2. Memory is fixed, whatever accounts there are.
3. New accounts take nothing from those that were known before. Where enough payments of known accounts count, those of
   new ones that count are at most a quarter as many, and NEW_FLOOR more, however many accounts somebody makes up.
4. On a probation an account's answers count once a draw. The sample is of accounts, and what one account is answered
   is much of a kind: counted each time, one that the model rightly blocks could condemn it.

An account costs whoever publishes payments nothing, so any number of new ones could drown what happens to customers.
Where few known accounts pay, as in a deployment's first days, new ones are all that there is to judge by, and count.

Accounts share places by a salted hash, and `most` is a place's: two accounts that meet in one count less than they
might, never more. The salt is this process', so nobody can choose an account that meets another's. All payments of an
account come to one worker; where they go over to another, or the account becomes known, as many may count once more.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from copy import copy
from hashlib import blake2b
from typing import Final

from pipeline.breaker.answer_counts import Answer

PLACES: Final = 1 << 16
"""65,536 places of 2 payments in 5 minutes let 437 a second count, which is sample enough; they take 1 MB. Known and
new accounts have as many each."""
KNOWN_ENOUGH: Final = 250
"""Payments of known accounts in a window from which on new ones are bounded: half of a usual least sample."""
NEW_FLOOR: Final = 625
"""Payments of new accounts that count in any window, a quarter above a usual least sample: a deployment whose customers
are just becoming known goes on being judged. Beside 5 payments a second of known accounts, of which 40 % are blocked, a
flood of new ones leaves 24 %."""
NEW_PER_KNOWN: Final = 4
_SLOTS: Final = 16
"""Parts of a window; what counted is forgotten a part at a time, and never before its window is over."""


class AccountWeights:
    """Remembers when the latest payments of each place were counted, and how many of known and of new accounts were."""

    def __init__(self, salt: bytes, places: int = PLACES) -> None:
        self._salt, self._most = salt, 0
        self._known, self._new, self._probed = _Places(places), _Places(places), _Places(places)
        self._draw_ms = 0
        self._known_recent, self._new_recent = _Recent(), _Recent()
        self.uncounted = 0
        """Payments of new accounts that didn't count because others had taken their share."""

    def counted(
        self, answers: Sequence[Answer], most: int, window_ms: int, now_ms: int, draw_ms: int = 0
    ) -> list[Answer]:
        """Return the answers that count: those about money, and of each account no more than `most` in a window.

        draw_ms: how long a draw of a probation holds; 0 where there is none. What counts, but no more in that draw, is
        returned as of no probation.

        Those of known accounts come first. A payment of nothing costs its publisher nothing, so any number of them
        could drown those that matter. One that the model fails on counts all the same: it says nothing of rates, but of
        the model. most: 1 to 100.
        """
        if self._most != most:
            self._most = most
            for places in (self._known, self._new):
                places.clear(most, now_ms - window_ms)
        for recent in (self._known_recent, self._new_recent):
            recent.forget(window_ms, now_ms)
        relevant = [answer for answer in answers if answer.outcome is None or not answer.is_of_nothing]
        # Known accounts go first, so that the bound on new ones doesn't depend on who comes first in a batch.
        known = [each for each in relevant if each.is_of_known_account and self._admit_known(each, window_ms, now_ms)]
        new = [each for each in relevant if not each.is_of_known_account and self._admit_new(each, window_ms, now_ms)]
        if draw_ms != self._draw_ms:
            self._draw_ms = draw_ms
            self._probed.clear(1, now_ms - draw_ms)
        return [self._once_a_draw(each, now_ms) for each in known + new]

    def _once_a_draw(self, answer: Answer, now_ms: int) -> Answer:
        if answer.probed is None or not self._draw_ms:
            return answer
        if self._probed.admit(self._hash(answer), self._draw_ms, now_ms):
            return answer
        again = copy(answer)
        again.probed = None
        return again

    def _admit_known(self, answer: Answer, window_ms: int, now_ms: int) -> bool:
        if not self._known.admit(self._hash(answer), window_ms, now_ms):
            return False
        self._known_recent.add()
        return True

    def _admit_new(self, answer: Answer, window_ms: int, now_ms: int) -> bool:
        known = self._known_recent.total
        if known >= KNOWN_ENOUGH and self._new_recent.total >= NEW_FLOOR + known // NEW_PER_KNOWN:
            self.uncounted += 1
            return False
        if not self._new.admit(self._hash(answer), window_ms, now_ms):
            return False
        self._new_recent.add()
        return True

    def _hash(self, answer: Answer) -> int:
        # In front of the id the salt does what a key would, which takes a block of its own: 40 % of the time.
        return int.from_bytes(blake2b(self._salt + answer.account_id.encode(), digest_size=8).digest())


class _Places:
    """When the latest payments of each place were counted, oldest first from a cursor on."""

    def __init__(self, places: int) -> None:
        self._places, self._most = places, 0
        self._counted_ms, self._cursors = array("q"), bytearray()

    def clear(self, most: int, long_ago_ms: int) -> None:
        self._most = most
        self._counted_ms = array("q", [long_ago_ms]) * (self._places * most)
        self._cursors = bytearray(self._places)

    def admit(self, hashed: int, window_ms: int, now_ms: int) -> bool:
        place = hashed % self._places
        cursor = self._cursors[place]
        oldest = place * self._most + cursor
        if now_ms - self._counted_ms[oldest] < window_ms:
            return False
        self._counted_ms[oldest] = now_ms
        self._cursors[place] = (cursor + 1) % self._most
        return True


class _Recent:
    """How many were counted in the last window, to a part of it."""

    def __init__(self) -> None:
        self.total = 0
        self._counts, self._slot = [0] * (_SLOTS + 1), 0

    def forget(self, window_ms: int, now_ms: int) -> None:
        slot = now_ms * _SLOTS // window_ms
        for passed in range(max(self._slot, slot - _SLOTS - 1) + 1, slot + 1):
            self.total -= self._counts[passed % (_SLOTS + 1)]
            self._counts[passed % (_SLOTS + 1)] = 0
        self._slot = max(self._slot, slot)

    def add(self) -> None:
        self._counts[self._slot % (_SLOTS + 1)] += 1
        self.total += 1
