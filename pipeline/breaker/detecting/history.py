"""The clean hours of the last days by scope, from which baselines are made.

Readings of the running totals come in about once an hour; the counts of an hour are the difference of two of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, SUMS, Counts, difference, is_part, is_probe, total_of
from pipeline.breaker.detecting.baselines import (
    BASELINE_MS,
    DAY_MS,
    HOUR_MS,
    Baseline,
    Hour,
    baseline_of,
    blended,
    hour_of_day,
    trailing_baseline,
)
from pipeline.breaker.detecting.detectors import LEVEL_HOURS, level
from pipeline.breaker.settings import BreakerSettings
from pipeline.domain.context import BreakerHour

HISTORY_MS: Final = BASELINE_MS + DAY_MS
HOURS_KEPT_MAX: Final = HISTORY_MS // HOUR_MS
COUNTS_KEPT: Final = 6
"""Counts of a scope that an hour keeps in `counts`; latencies it doesn't keep, as no baseline is made of them."""
DOUBTS_KEPT: Final = SUMS - COUNTS_KEPT
"""Counts of a scope that it keeps in `doubts`, on the model's own escalations; hours of before have none."""
EVERY_SCOPE: Final = "*"
_HOUR_MIN_MS: Final = 5 * 60_000
_HOUR_MAX_MS: Final = 75 * 60_000
"""Readings further apart than this span a gap, so their difference belongs to no one hour."""

Totals = Mapping[str, Counts]
"""Running totals by scope."""


class Source(NamedTuple):
    """The hours that a yardstick is made of: those of a scope, or those of all versions but one."""

    scope: str
    is_of_others: bool = False


def hour_of(at_ms: int) -> int:
    return at_ms - at_ms % HOUR_MS


class History:
    """Hours of every scope, without the pairs (scope or EVERY_SCOPE, start of an hour) that an incident touched."""

    def __init__(self) -> None:
        self.last_ms: int | None = None
        self._last: Totals = {}
        self._hours: defaultdict[str, dict[int, Hour]] = defaultdict(dict)  # by scope and the hour's start
        self._excluded: Set[tuple[str, int]] = frozenset()
        self._seasonal: dict[tuple[Source, int], Baseline | None] = {}  # by source and hour of day
        self._last_day: dict[str, Counts] = {}
        self._inherited: dict[str, Counts] = {}  # by model version; what others answered in the known hours
        self._levels: dict[Source, tuple[float, float, float]] = {}
        self._oldest_ms: dict[Source, int] = {}
        self._unkept: set[int] = set()

    def add(self, at_ms: int, totals: Totals) -> None:
        """Take in the next reading; one that is not later than the last changes nothing."""
        if self.last_ms is not None and at_ms <= self.last_ms:
            return
        if self.last_ms is not None and _HOUR_MIN_MS <= at_ms - self.last_ms <= _HOUR_MAX_MS:
            for scope, total in totals.items():
                counts = difference(total, self._last.get(scope, Counts()))
                if counts.answered and not is_probe(scope):
                    self._put(scope, Hour(self.last_ms, counts))
        self.last_ms, self._last = at_ms, totals
        self._drop_before(at_ms - HISTORY_MS)

    def restore(self, hours: Iterable[BreakerHour], now_ms: int) -> None:
        """Take in hours that were kept elsewhere, oldest first; one that is known from readings stays as it is."""
        for kept in hours:
            for place, scope in enumerate(kept.scopes):
                counts = _counts_kept(kept, place)
                self._hours[scope].setdefault(hour_of(kept.start_ms), Hour(kept.start_ms, counts))
            self._excluded |= {(scope, hour_of(kept.start_ms)) for scope in kept.excluded}
        self._drop_before(now_ms - HISTORY_MS)

    def exclude(self, excluded: Set[tuple[str, int]]) -> None:
        """Exclude further hours. An hour that was excluded stays so, though the store may have lost it."""
        if further := excluded - self._excluded:
            self._excluded |= further
            self._unkept |= {hour_ms for _, hour_ms in further}
            self._forget()

    def unkept(self) -> list[BreakerHour]:
        """Return the hours that changed since they were last kept elsewhere, oldest first."""
        return [self._kept(hour_ms) for hour_ms in sorted(self._unkept)]

    def mark_kept(self, hours: Iterable[BreakerHour]) -> None:
        self._unkept -= {hour_of(kept.start_ms) for kept in hours if kept == self._kept(hour_of(kept.start_ms))}

    def _kept(self, hour_ms: int) -> BreakerHour:
        found = {scope: hours[hour_ms] for scope, hours in sorted(self._hours.items()) if hour_ms in hours}
        start_ms = next((hour.start_ms for hour in found.values()), hour_ms)
        counts = [number for hour in found.values() for number in hour.counts[:COUNTS_KEPT]]
        doubts = [number for hour in found.values() for number in hour.counts[COUNTS_KEPT:SUMS]]
        excluded = sorted(scope for scope, excluded_ms in self._excluded if excluded_ms == hour_ms)
        return BreakerHour(start_ms, list(found), counts, excluded, doubts)

    def _put(self, scope: str, hour: Hour) -> None:
        hour_ms, known = hour_of(hour.start_ms), self._hours[scope]
        if hour_ms not in known or known[hour_ms].counts[:SUMS] != hour.counts[:SUMS]:
            self._unkept.add(hour_ms)
        known[hour_ms] = hour

    def _drop_before(self, from_ms: int) -> None:
        for hours in self._hours.values():
            while hours and next(iter(hours.values())).start_ms < from_ms:
                del hours[next(iter(hours))]
        self._excluded = {(scope, hour_ms) for scope, hour_ms in self._excluded if hour_ms >= hour_of(from_ms)}
        self._unkept = {hour_ms for hour_ms in self._unkept if hour_ms >= from_ms}
        self._forget()

    def seasonal(self, scope: str, now_ms: int, settings: BreakerSettings) -> Baseline | None:
        """Return the baseline of the window that ends now, interpolated between the two nearest hours of the day.

        Without the interpolation, the first and last minutes of a busy hour stray from its mean by several σ of hourly
        means.
        """
        return self._interpolated(Source(scope), now_ms, settings)

    def _interpolated(self, source: Source, now_ms: int, settings: BreakerSettings) -> Baseline | None:
        middle_ms = now_ms - settings.window_s * 500
        here = self._of_hour(source, middle_ms, now_ms, settings)
        into_hour = (middle_ms - hour_of(middle_ms)) / HOUR_MS
        beside_ms = middle_ms + (HOUR_MS if into_hour >= 0.5 else -HOUR_MS)
        beside = self._of_hour(source, beside_ms, now_ms, settings)
        if here is None:
            return None
        found = here if beside is None else blended(here, beside, abs(into_hour - 0.5))
        block_level, stop_level, doubt_level = self._levels_of(source, now_ms)
        doubts = None if found.doubts is None else found.doubts._replace(level=doubt_level)
        return found._replace(block_level=block_level, stop_level=stop_level, doubts=doubts)

    def _levels_of(self, source: Source, now_ms: int) -> tuple[float, float, float]:
        """Return the levels of blocks, of non-allows and of the model's own escalations lately, against the same hours
        of the days before."""
        if source not in self._levels:
            hours = self._week_of(source, now_ms)
            begin_ms = hour_of(now_ms) - LEVEL_HOURS * HOUR_MS
            late = [hour for hour in hours if hour_of(hour.start_ms) >= begin_ms]
            same = {hour_of_day(hour.start_ms) for hour in late}
            past = [each for each in hours if hour_of(each.start_ms) < begin_ms and hour_of_day(each.start_ms) in same]
            lately, before = (total_of(hour.counts for hour in some) for some in (late, past))
            stops, usual_stops = lately.answered - lately.allow, before.answered - before.allow
            self._levels[source] = (
                float(level(lately.block, lately.answered, before.block, before.answered)),
                float(level(stops, lately.answered, usual_stops, before.answered)),
                float(level(lately.doubt, lately.doubt_known, before.doubt, before.doubt_known)),
            )
        return self._levels[source]

    def _of_hour(self, source: Source, at_ms: int, now_ms: int, settings: BreakerSettings) -> Baseline | None:
        """Return the baseline of the hour of day of `at_ms`.

        It takes about 0.2 ms for 7 days of hours, once for each hour and source.
        """
        key = (source, hour_of_day(at_ms))
        if key not in self._seasonal:
            hours = self._week_of(source, now_ms)
            same = [hour for hour in hours if hour_of_day(hour.start_ms) == hour_of_day(at_ms)]
            days = 1 if source.is_of_others else settings.baseline_days_minimum
            sample = settings.minimum_sample
            self._seasonal[key] = baseline_of(same, hours, now_ms, days_minimum=days, sample_minimum=sample)
        return self._seasonal[key]

    def _week_of(self, source: Source, now_ms: int) -> list[Hour]:
        from_ms = now_ms - BASELINE_MS - HOUR_MS
        if not source.is_of_others:
            return self._clean(source.scope, from_ms)
        own = self._hours.get(source.scope, {})
        others = [(hour, difference(hour.counts, _counts_of(own, hour))) for hour in self._clean(ALL, from_ms)]
        return [hour._replace(counts=counts) for hour, counts in others if counts.answered]

    def trailing(
        self, scope: str, now_ms: int, before_ms: int, before: Counts, settings: BreakerSettings
    ) -> Baseline | None:
        """Return a baseline of the last day's clean hours and of this hour up to `before_ms`.

        `before` is the scope's running total at `before_ms`.
        """
        if scope not in self._last_day:
            self._last_day[scope] = total_of(hour.counts for hour in self._clean(scope, now_ms - DAY_MS))
        total = self._last_day[scope]
        if self.last_ms is not None and before_ms > self.last_ms and not self._is_excluded(scope, hour_of(before_ms)):
            total = total.plus(difference(before, self._last.get(scope, Counts())))
        return trailing_baseline(total, sample_minimum=settings.minimum_sample)

    def inherited(
        self, scope: str, now_ms: int, before_ms: int, before: Totals, settings: BreakerSettings
    ) -> Baseline | None:
        """Return a baseline of what other versions answered: at the same hours, on however few days.

        Where there are no such hours it is of what they answered from a day before the version's first answer on;
        `before` are the running totals at `before_ms`. It holds nothing of the version's own, so a version that is
        wrong from its first answer on doesn't look usual, and no σ of scores, as versions score differently.
        """
        source = Source(scope, is_of_others=True)
        same_hours = self._interpolated(source, now_ms, settings) if self._spans_a_day(source, now_ms) else None
        if same_hours is not None:
            return same_hours._replace(score_sigma_ppm=None)
        if scope not in self._inherited:
            own = self._hours.get(scope, {})
            hours = self._clean(ALL, min(own, default=now_ms) - DAY_MS)
            others = [difference(hour.counts, _counts_of(own, hour)) for hour in hours]
            self._inherited[scope] = total_of(others)
        total = self._inherited[scope]
        if self.last_ms is not None and before_ms > self.last_ms and not self._is_excluded(ALL, hour_of(before_ms)):
            total = total.plus(difference(self._since_mark(ALL, before), self._since_mark(scope, before)))
        return trailing_baseline(total, sample_minimum=settings.minimum_sample)

    def _spans_a_day(self, source: Source, now_ms: int) -> bool:
        """Return whether hours reach back a day; the hour that has just ended is no same hour of another day."""
        if source not in self._oldest_ms:
            self._oldest_ms[source] = min((hour.start_ms for hour in self._week_of(source, now_ms)), default=now_ms)
        return self._oldest_ms[source] <= now_ms - DAY_MS

    def _since_mark(self, scope: str, totals: Totals) -> Counts:
        return difference(totals.get(scope, Counts()), self._last.get(scope, Counts()))

    def _forget(self) -> None:
        self._inherited.clear()
        self._levels.clear()
        self._oldest_ms.clear()
        self._seasonal.clear()
        self._last_day.clear()

    def _clean(self, scope: str, from_ms: int) -> list[Hour]:
        hours = [hour for hour in self._hours.get(scope, {}).values() if hour.start_ms >= from_ms]
        if not self._excluded:
            return hours
        return [hour for hour in hours if not self._is_excluded(scope, hour_of(hour.start_ms))]

    def _is_excluded(self, scope: str, hour_ms: int) -> bool:
        return (scope, hour_ms) in self._excluded or (EVERY_SCOPE, hour_ms) in self._excluded


def _counts_kept(kept: BreakerHour, place: int) -> Counts:
    allow, block, escalate, errors, scores, squares = kept.counts[COUNTS_KEPT * place : COUNTS_KEPT * (place + 1)]
    counts = Counts(allow, block, escalate, errors, scores, squares)
    if not kept.doubts:
        return counts
    doubt, doubt_known = kept.doubts[DOUBTS_KEPT * place : DOUBTS_KEPT * (place + 1)]
    return counts._replace(doubt=doubt, doubt_known=doubt_known)


def _counts_of(hours: Mapping[int, Hour], of: Hour) -> Counts:
    hour = hours.get(hour_of(of.start_ms))
    return Counts() if hour is None else hour.counts


def hours_touched(scope: str, from_ms: int, to_ms: int) -> list[tuple[str, int]]:
    """List the pairs of scope and hour that an incident of `scope` excludes from baselines.

    A model gone wrong shows in every scope, a segment or a channel only in its own.
    """
    whose = scope if is_part(scope) else EVERY_SCOPE
    return [(whose, hour_ms) for hour_ms in range(hour_of(from_ms), to_ms + 1, HOUR_MS)]
