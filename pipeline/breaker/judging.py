"""Judging counts: which of the five conditions hold, for how long, and what event that is for the state.

Invariants
1. `all` is judged on how the service does (errors, latency), a model version and a segment on how the model behaves
   (rates, drift). So a rollback to another version leaves the trip behind with the version that caused it.
2. A condition trips only with its minimum sample, with significance, and after `confirmations` evaluations running.
   The cumulative sum confirms itself: one evaluation adds at most a third of what it needs.
3. A scope that a condition tripped is closed again only when that condition could be judged and did not hold.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.breaker.answer_counts import ALL
from pipeline.breaker.conditions import (
    Limits,
    Observation,
    Trip,
    Watch,
    model_findings,
    service_findings,
    shifts_cumulated,
)
from pipeline.breaker.settings import BreakerSettings, Condition
from pipeline.breaker.states import MONITOR, BreakerRecord, Cause, Event
from pipeline.domain.decision import BreakerState


class Judgement(NamedTuple):
    trips: tuple[Trip, ...]  # in the order of Condition
    judged: frozenset[Condition]  # the conditions with enough to judge by
    watch: Watch


def judge(scope: str, seen: Observation, watch: Watch, settings: BreakerSettings, peers: int = 1) -> Judgement:
    """Judge which conditions hold now. `peers` is how many scopes of this kind are judged side by side."""
    if scope == ALL:
        found = service_findings(seen, settings)
    else:
        limits = Limits(settings, peers)
        watch = shifts_cumulated(seen, watch, limits)
        found = model_findings(seen, watch, limits)
    trips = tuple([finding for finding in found if isinstance(finding, Trip)])
    judged = frozenset([finding.condition for finding in found if finding is not None])
    held = {trip.condition for trip in trips}
    streaks = tuple(
        [streak + 1 if condition in held else 0 for condition, streak in zip(Condition, watch.streaks, strict=True)]
    )
    return Judgement(trips, judged, watch._replace(streaks=streaks))


def next_event(
    record: BreakerRecord, judgement: Judgement, seen: Observation, now_ms: int, settings: BreakerSettings
) -> tuple[Event, Cause] | Watch:
    """Return the event that this evaluation amounts to, or the evidence so far where it amounts to none."""
    watch = judgement.watch
    match record.state:
        case BreakerState.CLOSED:
            confirmed = _confirmed(judgement, settings)
            return (Event.TRIP, _cause(confirmed)) if confirmed else watch
        case BreakerState.OPEN:
            if now_ms < record.open_until_ms:
                return watch
            if judgement.trips:
                return Event.STILL_BAD, _cause(judgement.trips)
            tripped_by = record.cause.tripped_by
            return Event.OPEN_PERIOD_OVER, Cause("the open period is over", MONITOR, tripped_by)
        case BreakerState.HALF_OPEN:
            return _probation(record, judgement, seen, now_ms, settings)
        case BreakerState.FORCED_OPEN | BreakerState.UNKNOWN:
            return watch


def _probation(
    record: BreakerRecord, judgement: Judgement, seen: Observation, now_ms: int, settings: BreakerSettings
) -> tuple[Event, Cause] | Watch:
    confirmed = _confirmed(judgement, settings)
    if confirmed:
        return Event.PROBE_BAD, _cause(confirmed)
    handled = seen.window.answered + seen.window.errors
    is_good = (
        not judgement.trips
        and handled >= settings.half_open_minimum_sample
        and judgement.judged.issuperset(record.cause.tripped_by)
    )
    good = judgement.watch.good + 1 if is_good else 0
    if good >= settings.confirmations and now_ms >= record.since_ms + settings.half_open_s * 1000:
        return Event.PROBE_GOOD, Cause(f"good on probation, {handled:,} payments in the last window", MONITOR)
    return judgement.watch._replace(good=good)


def _confirmed(judgement: Judgement, settings: BreakerSettings) -> tuple[Trip, ...]:
    streaks = dict(zip(Condition, judgement.watch.streaks, strict=True))
    return tuple(
        [trip for trip in judgement.trips if trip.is_certain or streaks[trip.condition] >= settings.confirmations]
    )


def _cause(trips: tuple[Trip, ...]) -> Cause:
    return Cause("; ".join(trip.evidence for trip in trips), MONITOR, tuple([trip.condition for trip in trips]))
