"""The windows of one account: the plain reference, which takes one payment at a time."""

from __future__ import annotations

from collections import deque
from typing import Final

from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX, NONE, UNKNOWN
from pipeline.state.outcomes import AccountOutcomes
from pipeline.state.periods import (
    ACCOUNT_BENEFICIARIES_MAX,
    ACCOUNT_WINDOWS_MS,
    BLOCK_MS,
    BLOCK_SUM_MINOR_MAX,
    DAY_MS,
    NORMAL_MONTH_BLOCKS,
)
from pipeline.state.state_event import StateEvent
from pipeline.state.unusual.account_lifetime import AccountLifetime

_Paid = tuple[int, int, str, bool]  # effective time, amount, beneficiary, is near limit
_DAY: Final = ACCOUNT_WINDOWS_MS.index(DAY_MS)
_MONTH: Final = ACCOUNT_WINDOWS_MS.index(30 * DAY_MS)


class AccountWindows:
    __slots__ = (
        "beneficiaries", "block", "block_sums", "count", "first_block", "latest_ms", "lifetime", "near_limit", "recent",
        "sums", "windows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.latest_ms, self.count = NONE, 0
        # (time, amount, beneficiary, is near limit), oldest first, one queue a window
        self.windows = [(place, width, deque[_Paid]()) for place, width in enumerate(ACCOUNT_WINDOWS_MS)]
        self.sums = [0, 0, 0, 0]
        self.near_limit = 0
        self.recent: dict[str, int] = {}  # beneficiary → payments in 24 h
        self.beneficiaries: set[str] = set()
        self.first_block = self.block = 0
        self.block_sums = [0] * (NORMAL_MONTH_BLOCKS + 1)  # the current block first
        self.lifetime = AccountLifetime()

    @property
    def month_blocks(self) -> int:
        """Blocks that the normal month is the mean of."""
        return min(NORMAL_MONTH_BLOCKS, self.block - self.first_block)

    def observe(self, event: StateEvent, declared_month_minor: int, outcomes: AccountOutcomes | None) -> list[int]:
        """Count `event`; return its ACCOUNT_STATE features."""
        amount, beneficiary, previous_ms = event.amount_gbp_minor, event.beneficiary_account_id, self.latest_ms
        now_ms = self.latest_ms = max(event.event_time_ms, previous_ms)
        self.count += 1
        is_new = beneficiary not in self.beneficiaries
        if is_new and len(self.beneficiaries) < ACCOUNT_BENEFICIARIES_MAX:
            self.beneficiaries.add(beneficiary)
        elif is_new:
            beneficiary = f"\0{self.count}"  # no id: it counts as one more distinct each time
        self.recent[beneficiary] = self.recent.get(beneficiary, 0) + 1
        self.near_limit += event.is_near_limit
        row = self._enter((now_ms, amount, beneficiary, event.is_near_limit))
        is_day_whole = self._is_whole(_DAY)
        since_last_ms = NONE if previous_ms == NONE else now_ms - previous_ms
        month_minor = self._normal_month(now_ms // BLOCK_MS, amount, outcomes)
        month_minor = month_minor if declared_month_minor == NONE else declared_month_minor
        recent, near_limit = (len(self.recent), self.near_limit) if is_day_whole else (UNKNOWN, UNKNOWN)
        row += (since_last_ms, recent, near_limit, month_minor, int(is_new))
        _, volume_24h = self._volume(_DAY, now_ms, amount, outcomes)
        volume_count_30d, volume_30d = self._volume(_MONTH, now_ms, amount, outcomes)
        is_unpaid = outcomes is None or not outcomes.is_paid(event.beneficiary_account_id, now_ms)
        row += (volume_24h, volume_count_30d, volume_30d, int(is_unpaid))
        row += self.lifetime.observe(now_ms, amount)
        return row

    def _enter(self, payment: _Paid) -> list[int]:
        """Enter the payment into each window; return the count and sum of each, UNKNOWN where it isn't whole."""
        now_ms, amount, _, _ = payment
        row: list[int] = []
        sums = self.sums
        for place, width_ms, queue in self.windows:
            queue.append(payment)
            count, total, until_ms = len(queue), sums[place] + amount, now_ms - width_ms
            while queue[0][0] <= until_ms or count > ACCOUNT_PAYMENTS_MAX:
                leaving = queue.popleft()
                count -= 1
                total -= leaving[1]
                if place == _DAY:
                    self._leave_day(leaving)
            sums[place] = total
            row += (count, total) if self._is_whole(place) else (UNKNOWN, UNKNOWN)
        return row

    def _is_whole(self, place: int) -> bool:
        """Return whether nothing was pushed out of a window that would still be in it.

        What was pushed out is older than all that is left. So as soon as one leaves by its age, and the window isn't
        full any more, everything that was pushed out would have left as well.
        """
        return len(self.windows[place][2]) < ACCOUNT_PAYMENTS_MAX

    def _volume(self, place: int, now_ms: int, amount: int, outcomes: AccountOutcomes | None) -> tuple[int, int]:
        """Return the count and sum of a window without what was withdrawn, which the current payment never is.

        Both are UNKNOWN where the window isn't whole, and where more was withdrawn than ever counted: an outcome that
        says so is wrong, and it isn't known which.
        """
        if not self._is_whole(place):
            return UNKNOWN, UNKNOWN
        _, width_ms, queue = self.windows[place]
        count, total = len(queue), self.sums[place]
        if outcomes is None:
            return count, total
        withdrawn, withdrawn_minor = outcomes.withdrawn_within(now_ms - width_ms, now_ms)
        if withdrawn > count - 1 or withdrawn_minor > total - amount:
            return UNKNOWN, UNKNOWN
        return count - withdrawn, total - withdrawn_minor

    def _leave_day(self, payment: _Paid) -> None:
        _, _, beneficiary, is_near_limit = payment
        self.near_limit -= is_near_limit
        count_down(self.recent, beneficiary)

    def _normal_month(self, block: int, amount: int, outcomes: AccountOutcomes | None) -> int:
        """Add `amount` to its block; return the mean of the complete blocks before it, rounded half up.

        They are without what was withdrawn or set aside; where that isn't known, neither is the mean.
        """
        if not self.first_block:
            self.first_block = self.block = block
        elif block > self.block:
            passed = min(block - self.block, len(self.block_sums))
            self.block_sums = ([0] * passed + self.block_sums)[: len(self.block_sums)]
            self.block = block
        sums = self.block_sums
        sums[0] = min(sums[0] + amount, BLOCK_SUM_MINOR_MAX)
        complete = self.month_blocks
        if not complete:
            return NONE
        volumes = sums[1 : complete + 1]
        if outcomes is not None:
            taken = [outcomes.taken_out_of_block(block - back) for back in range(1, complete + 1)]
            if UNKNOWN in taken:
                return UNKNOWN
            volumes = [max(volume - out, 0) for volume, out in zip(volumes, taken, strict=True)]
        return (2 * sum(volumes) + complete) // (2 * complete)


def count_down(counts: dict[str, int], name: str) -> None:
    """Count a name down, and drop it at 0, so that the length of `counts` is the number of distinct names."""
    if counts[name] == 1:
        del counts[name]
    else:
        counts[name] -= 1
