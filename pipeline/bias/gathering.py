"""Decisions into counts by the minute and by model version.

Invariants
1. Of one account at most ACCOUNT_BURST payments count in any ACCOUNT_WINDOW, however many it makes; payments of nothing
   don't count. So no account makes a gap, or hides one (`AccountWeights`).
2. Made-up accounts are free, so they may neither make a gap nor hide one: where at least KNOWN_ENOUGH payments of known
   accounts come in a minute, that minute is judged by these alone. The report counts new accounts, too, as many as
   `AccountWeights` lets count.
3. A minute that was judged gets no more: what comes late counts in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.bias.counting import Column, Counted, SegmentCounts
from pipeline.bias.drift.counting import Asked
from pipeline.bias.watching import ACCOUNT_BURST, ACCOUNT_WINDOW_MINUTES
from pipeline.breaker.answer_counts import Answer
from pipeline.breaker.detecting.account_weights import AccountWeights
from pipeline.domain.decision import Decision, Outcome, Route
from pipeline.domain.features import COLUMN

MINUTE_MS: Final = 60_000
ACCOUNT_WINDOW_MS: Final = ACCOUNT_WINDOW_MINUTES * MINUTE_MS
PLACES: Final = 1 << 19
"""524,288 places of 2 payments in 3 hours let 97 a second count; known and new accounts have 8 MB each."""
KNOWN_ENOUGH: Final = 20
"""Payments of known accounts in a minute. Below that, by night and in a deployment's first days, new ones are all that
there is to judge by."""
_COUNT_24H, _COUNT_30D = COLUMN["account_count_24h"], COLUMN["account_count_30d"]
_NORMAL_MONTH = COLUMN["account_normal_month_minor"]


class Known(NamedTuple):
    """What a payment turned out to be, by a label or a review, with what was decided about it."""

    decision_id: str
    account_id: str
    model_version: str
    segments: dict[str, str]
    channel: str
    is_stopped: bool
    is_fraud: bool
    is_by_review: bool


class _Minute(NamedTuple):
    """Counts of known accounts, with what became known, and of new accounts."""

    known: SegmentCounts
    new: SegmentCounts


class Gatherer:
    """For one thread. It holds what has come and wasn't judged yet."""

    def __init__(self, scopes: Sequence[str], salt: bytes, after_minute: int) -> None:
        """after_minute: the last one that was judged."""
        self.scopes = tuple(scopes)
        self._weights = AccountWeights(salt, PLACES)
        self._known_weights = AccountWeights(salt, PLACES)
        self._judged = after_minute
        self._clock_ms = 0
        self._minutes: dict[int, _Minute] = {}
        self.by_version: dict[str, SegmentCounts] = {}
        self.asked: dict[str, list[Asked]] = {}

    @property
    def newest(self) -> int:
        return max(self._minutes, default=self._judged)

    def has(self, until_minute: int) -> bool:
        """Return whether a minute up to that one waits to be judged."""
        return any(minute <= until_minute for minute in self._minutes)

    def decided(self, decisions: Sequence[tuple[Decision, int]]) -> int:
        """Take in decisions, each with the time of its record, and return how many count."""
        counted = 0
        for decision, at_ms in decisions:
            answer = _answer(decision)
            self._clock_ms = max(self._clock_ms, at_ms)  # partitions are read one after the other; this never goes back
            if not self._weights.counted([answer], ACCOUNT_BURST, ACCOUNT_WINDOW_MS, self._clock_ms):
                continue
            counted += 1
            payment = decision.snapshot.transaction
            segments, channel = payment.segments, str(payment.channel)
            minute = self._minute(max(at_ms, 0) // MINUTE_MS)
            (minute.known if answer.is_of_known_account else minute.new).decided(segments, channel, decision.outcome)
            self._version(decision.model_version).decided(segments, channel, decision.outcome)
            if decision.route is Route.MODEL and decision.fraud_probability_ppm >= 0:
                is_blocked = decision.outcome is Outcome.BLOCK
                asked = Asked(decision.snapshot.features, decision.fraud_probability_ppm, is_blocked)
                self.asked.setdefault(decision.model_version, []).append(asked)
        return counted

    def known(self, found: Sequence[Known], at_ms: int) -> None:
        """Take in what became known now."""
        for each in found:
            answer = Answer(Outcome.ALLOW, None, {}, None, each.account_id, is_of_known_account=True)
            if not self._known_weights.counted([answer], ACCOUNT_BURST, ACCOUNT_WINDOW_MS, at_ms):
                continue
            for counts in (self._minute(at_ms // MINUTE_MS).known, self._version(each.model_version)):
                counts.known(each.segments, each.channel, is_fraud=each.is_fraud, is_stopped=each.is_stopped)

    def take(self, until_minute: int) -> list[tuple[int, Counted]]:
        """Return the minutes up to and with that one, in order; they are judged from now on."""
        due = sorted(minute for minute in self._minutes if minute <= until_minute)
        taken = [(minute, _judged(self._minutes.pop(minute))) for minute in due]
        self._judged = max([self._judged, *due])
        return taken

    def take_versions(self) -> tuple[dict[str, Counted], dict[str, list[Asked]]]:
        """Return the counts by model version since the last call, and what each was asked."""
        counts = {version: counted.counts for version, counted in self.by_version.items()}
        asked, self.by_version, self.asked = self.asked, {}, {}
        return counts, asked

    def _minute(self, minute: int) -> _Minute:
        minute = max(minute, self._judged + 1)
        if minute not in self._minutes:
            self._minutes[minute] = _Minute(SegmentCounts(self.scopes), SegmentCounts(self.scopes))
        return self._minutes[minute]

    def _version(self, version: str) -> SegmentCounts:
        if version not in self.by_version:
            self.by_version[version] = SegmentCounts(self.scopes)
        return self.by_version[version]


def _judged(minute: _Minute) -> Counted:
    known, new = minute.known.counts, minute.new.counts
    return known if known[0, Column.PAYMENTS] >= KNOWN_ENOUGH else known + new


def _answer(decision: Decision) -> Answer:
    payment, features, _ = decision.snapshot
    is_older = features[_COUNT_30D] > max(features[_COUNT_24H], 0)
    is_known = is_older or features[_NORMAL_MONTH] > 0  # as the worker has it for the breaker
    is_of_nothing = payment.amount_minor == 0
    return Answer(
        decision.outcome, None, {}, None, payment.account_id, is_of_nothing=is_of_nothing, is_of_known_account=is_known
    )
