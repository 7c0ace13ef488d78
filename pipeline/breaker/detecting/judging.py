"""Judging counts: which of its conditions hold, for how long, and what event that is for the state.

Invariants
1. `all` is judged on how the service does (errors, latency); a model version, a segment and a channel on how the model
   behaves (errors, rates, drift). So a rollback to another version leaves the trip behind with the version that caused
   it.
2. A condition trips only with its minimum sample, with significance, and after `confirmations` evaluations running.
   The cumulative sum confirms itself: one evaluation adds at most a third of what it needs.
3. A scope that a condition tripped is closed again only when that condition could be judged and did not hold. What is
   too few for a window is judged by the sequential test: a quiet postcode that tripped would never come back else.
4. A scope on probation goes to the next share, and at last to CLOSED, only where the sequential test passes it at this
   share.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.breaker.answer_counts import ALL, is_part
from pipeline.breaker.detecting.conditions import (
    Calm,
    Limits,
    Observation,
    Trip,
    Watch,
    model_findings,
    service_findings,
    shifts_cumulated,
)
from pipeline.breaker.detecting.probation import Standing, conditions_tested, probes_added, standing
from pipeline.breaker.settings import BreakerSettings, Condition
from pipeline.breaker.states import MONITOR, BreakerRecord, Cause, Event
from pipeline.domain.decision import BreakerState


class Judgement(NamedTuple):
    trips: tuple[Trip, ...]  # in the order of Condition
    judged: frozenset[Condition]  # the conditions with enough to judge by
    watch: Watch
    warnings: tuple[str, ...] = ()  # what nears a condition, though chance may do as much


class EventDue(NamedTuple):
    """An evaluation's event with its cause. trips: what brought it about, empty where no condition did."""

    event: Event
    cause: Cause
    trips: tuple[Trip, ...] = ()


def judge(scope: str, seen: Observation, watch: Watch, settings: BreakerSettings, peers: int = 1) -> Judgement:
    """Judge which conditions hold now. `peers` is how many scopes of this kind are judged side by side."""
    if scope == ALL:
        found = service_findings(seen, settings)
    else:
        limits = Limits(settings, peers, is_part(scope))
        watch = shifts_cumulated(seen, watch, limits)
        found = model_findings(seen, watch, limits)
    trips = tuple([finding for finding in found if isinstance(finding, Trip)])
    judged = frozenset([finding.condition for finding in found if finding is not None])
    warnings = tuple([each.warned for each in found if isinstance(each, Calm) and each.warned])
    held = {trip.condition for trip in trips}
    streaks = tuple(
        [streak + 1 if condition in held else 0 for condition, streak in zip(Condition, watch.streaks, strict=True)]
    )
    return Judgement(trips, judged, watch._replace(streaks=streaks), warnings)


def next_event(
    record: BreakerRecord, judgement: Judgement, seen: Observation, now_ms: int, settings: BreakerSettings
) -> EventDue | Watch:
    """Return the event that this evaluation amounts to, or the evidence so far where it amounts to none."""
    watch = judgement.watch
    match record.state:
        case BreakerState.CLOSED:
            confirmed = _confirmed(judgement, settings)
            return _tripped(Event.TRIP, confirmed) if confirmed else watch
        case BreakerState.OPEN:
            if now_ms < record.open_until_ms:
                return watch
            if judgement.trips:
                return _tripped(Event.STILL_BAD, judgement.trips)
            tripped_by = record.cause.tripped_by
            return EventDue(Event.OPEN_PERIOD_OVER, Cause("the open period is over", MONITOR, tripped_by))
        case BreakerState.HALF_OPEN:
            return _probation(record, judgement, seen, now_ms, settings)
        case BreakerState.FORCED_OPEN | BreakerState.UNKNOWN:
            return watch


def _probation(
    record: BreakerRecord, judgement: Judgement, seen: Observation, now_ms: int, settings: BreakerSettings
) -> EventDue | Watch:
    if confirmed := _confirmed(judgement, settings):
        return _tripped(Event.PROBE_BAD, confirmed)
    watch, tripped_by = probes_added(seen, judgement.watch, settings), record.cause.tripped_by
    stands = standing(watch, tripped_by, settings)
    if stands is Standing.FAILED:
        text = f"its own answers at {record.share_percent} % of the payments are not as usual: {watch.probes:,} of them"
        return EventDue(Event.PROBE_BAD, Cause(text, MONITOR, tripped_by))
    watch = watch._replace(good=0 if wants(record, judgement, seen, watch, settings) else watch.good + 1)
    if watch.good < settings.confirmations or now_ms < record.since_ms + settings.half_open_s * 1000:
        return watch
    good = f"good on probation at {record.share_percent} %: {watch.probes:,} answers of its own are as usual"
    if (share := settings.next_share(record.share_percent)) is None:
        return EventDue(Event.PROBE_GOOD, Cause(good, MONITOR))
    return EventDue(Event.SHARE_RAISED, Cause(f"{good}; it answers {share} % now", MONITOR, tripped_by))


def wants(
    record: BreakerRecord, judgement: Judgement, seen: Observation, watch: Watch, settings: BreakerSettings
) -> list[str]:
    """Return what an evaluation on probation lacks of being a good one, in words; nothing where it is."""
    tripped_by, handled = record.cause.tripped_by, max(seen.window.handled, watch.sampled)
    found = [f"{trip.condition} to hold no more" for trip in judgement.trips]
    if standing(watch, tripped_by, settings) is not Standing.PASSED:
        found.append("more of its own answers as usual")
    if handled < settings.half_open_minimum_sample:
        found.append(f"{settings.half_open_minimum_sample:,} payments, of which there were {handled:,}")
    judged = judgement.judged | conditions_tested(seen)
    return found + [f"{condition} to be judged" for condition in tripped_by if condition not in judged]


def _confirmed(judgement: Judgement, settings: BreakerSettings) -> tuple[Trip, ...]:
    streaks = dict(zip(Condition, judgement.watch.streaks, strict=True))
    return tuple(
        [trip for trip in judgement.trips if trip.is_certain or streaks[trip.condition] >= settings.confirmations]
    )


def _tripped(event: Event, trips: tuple[Trip, ...]) -> EventDue:
    text = "; ".join(trip.evidence for trip in trips)
    return EventDue(event, Cause(text, MONITOR, tuple([trip.condition for trip in trips])), trips)
