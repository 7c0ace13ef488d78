"""One evaluation of one scope, from its readings to its next state.

Invariants
1. An incident is never its own yardstick. While a scope isn't CLOSED it is measured against a seasonal baseline, which
   holds no hour of an incident, or against what was usual before the trip.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.baselines import Baseline
from pipeline.breaker.conditions import Observation, Watch
from pipeline.breaker.judging import judge, next_event
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import BreakerRecord, Event, step
from pipeline.domain.decision import BreakerState


class ScopeReading(NamedTuple):
    """The store's readings of one scope.

    A baseline is None where there is too little history for it. `trailing` is only computed where there is no other.
    """

    window: Counts
    error_window: Counts
    span: Counts
    seasonal: Baseline | None
    seasonal_everywhere: Baseline | None  # of all traffic, for a model version that has no history of its own
    trailing: Baseline | None


class Transition(NamedTuple):
    """A change of state and its cause, as it is appended to the history and raised as an alert."""

    before: BreakerState
    event: Event
    after: BreakerRecord
    at_ms: int
    window: Counts  # the counts over window_s when it happened; zeros where a person or a loss caused it


class Advance(NamedTuple):
    watch: Watch
    transition: Transition | None


def advance(
    record: BreakerRecord,
    watch: Watch,
    reading: ScopeReading,
    now_ms: int,
    settings: BreakerSettings,
    *,
    peers: int = 1,
    revision: int = 0,
) -> Advance:
    baseline = _baseline(record, reading)
    drift_baseline = reading.seasonal or record.frozen
    seen = Observation(reading.window, reading.error_window, reading.span, baseline, drift_baseline)
    judgement = judge(record.scope, seen, watch, settings, peers)
    outcome = next_event(record, judgement, seen, now_ms, settings)
    if isinstance(outcome, Watch):
        return Advance(outcome, None)
    event, cause = outcome
    after = step(record, event, cause, now_ms, settings, revision)
    if event is Event.TRIP:
        after = after._replace(frozen=_frozen(reading.seasonal, baseline))
    return Advance(Watch(), Transition(record.state, event, after, now_ms, reading.window))


def _is_closed(record: BreakerRecord) -> bool:
    return record.state is BreakerState.CLOSED


def _baseline(record: BreakerRecord, reading: ScopeReading) -> Baseline | None:
    seasonal = reading.seasonal or reading.seasonal_everywhere
    if seasonal is not None:
        return seasonal
    if _is_closed(record) and reading.trailing is not None:
        return reading.trailing
    return record.frozen


def _frozen(own: Baseline | None, used: Baseline | None) -> Baseline | None:
    """Return the baseline to keep through an incident.

    It serves any hour, so it is no longer seasonal. Its scores judge drift only if they are the scope's own.
    """
    if own is not None:
        return own._replace(is_seasonal=False)
    return None if used is None else used._replace(is_seasonal=False, score_sigma_ppm=None)
