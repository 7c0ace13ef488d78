"""What an account ever attempted, and how unusual its payments of the last 7 days were: the plain reference.

Invariants
1. Count and sum hold every payment that was counted; where one of them has come to its bound, all of this is UNKNOWN.
   A payment is attempted when it is counted here, and may be blocked, refused or never made. So it weighs at most twice
   the average of those before it (`weight_minor`): no amount makes a larger one usual, only as many payments as before.
2. The greatest percentage is never less than the greatest of the earlier payments in the window. It is greater only
   where more than PEAKS_MAX payments of a week, each less unusual than the one before, would have to be remembered.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pipeline.domain.features import (
    LIFETIME_COUNT_MAX,
    LIFETIME_SUM_MINOR_MAX,
    NONE,
    UNKNOWN,
    percent_of_average,
    weight_minor,
)
from pipeline.state.periods import DAY_MS

PEAKS_MAX: Final = 16
"""Most payments of an account that may still become the most unusual one of a week. In the Fraud Detection Handbook's
1.75 million payments an account has 13 at most; each takes 8 bytes of it in Redis."""
PEAK_KEPT_MS: Final = 7 * DAY_MS


class AccountLifetime:
    __slots__ = ("count", "peaks", "percent", "sum_minor")

    def __init__(self) -> None:
        self.count = self.sum_minor = 0
        self.percent = NONE  # the latest payment's of the average before it
        # (time, percentage) of payments in the window, each less unusual than the one before and later
        self.peaks: deque[tuple[int, int]] = deque()

    def observe(self, now_ms: int, amount_minor: int) -> tuple[int, int, int]:
        """Count a payment; return count and sum with all of it, and the greatest percentage of those before it."""
        percent = self.percent = percent_of_average(amount_minor, self.sum_minor, self.count)
        weight = weight_minor(amount_minor, self.sum_minor, self.count)
        count = self.count = min(self.count + 1, LIFETIME_COUNT_MAX)
        total = min(self.sum_minor + amount_minor, LIFETIME_SUM_MINOR_MAX)
        if count == LIFETIME_COUNT_MAX or total == LIFETIME_SUM_MINOR_MAX:
            self.sum_minor = LIFETIME_SUM_MINOR_MAX
            self.percent = UNKNOWN
            return UNKNOWN, UNKNOWN, UNKNOWN
        self.sum_minor += weight
        peaks = self.peaks
        while peaks and peaks[0][0] <= now_ms - PEAK_KEPT_MS:
            peaks.popleft()
        greatest = peaks[0][1] if peaks else 0
        if percent != NONE:
            self._enter(now_ms, percent)
        return count, total, greatest

    def _enter(self, now_ms: int, percent: int) -> None:
        peaks = self.peaks
        while peaks and peaks[-1][1] <= percent:
            peaks.pop()
        if len(peaks) == PEAKS_MAX:
            percent = peaks.pop()[1]  # the last one stays for longer, in place of both
        peaks.append((now_ms, percent))
