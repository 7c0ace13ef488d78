"""One evaluation of one scope, from its readings to its next state, and the transitions that follow a loss.

Invariants
1. An incident is never its own yardstick. While a scope isn't CLOSED it is measured against a seasonal baseline, which
   holds no hour of an incident, or against what was usual before the trip.
2. After a loss every remembered scope is at least as strict as it was remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, Counts
from pipeline.breaker.baselines import Baseline
from pipeline.breaker.conditions import Observation, Watch
from pipeline.breaker.judging import judge, next_event
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import MONITOR, BreakerRecord, Cause, Event, step, unwritten
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


def transitions_after_loss(
    stored: Mapping[str, BreakerRecord],
    remembered: Mapping[str, BreakerRecord],
    now_ms: int,
    settings: BreakerSettings,
    revision: int,
) -> list[Transition]:
    """Return the transitions to write when the store is empty, or older than what this worker remembers of it."""
    scopes = [ALL, *(scope for scope, record in remembered.items() if scope != ALL and not _is_closed(record))]
    transitions = []
    for scope in scopes:
        before = stored.get(scope, unwritten(scope, is_store_empty=ALL not in stored))
        if before.state is BreakerState.FORCED_OPEN:
            continue
        event, cause = _restored(remembered.get(scope))
        after = step(before, event, cause, now_ms, settings, revision)
        frozen = remembered[scope].frozen if scope in remembered else None
        transitions.append(Transition(before.state, event, after._replace(frozen=frozen), now_ms, Counts()))
    return transitions


def _is_closed(record: BreakerRecord) -> bool:
    return record.state is BreakerState.CLOSED


def _restored(remembered: BreakerRecord | None) -> tuple[Event, Cause]:
    if remembered is not None and remembered.state is BreakerState.FORCED_OPEN:
        return Event.FORCE_OPEN, remembered.cause
    if remembered is None or _is_closed(remembered):
        return Event.STATE_LOST, Cause("the store lost the breaker's state", MONITOR)
    text = f"the store lost the breaker's state, which was {remembered.state} because {remembered.cause.text}"
    return Event.STATE_LOST, Cause(text[:_CAUSE_CHARACTERS_MAX], MONITOR, remembered.cause.tripped_by)


_CAUSE_CHARACTERS_MAX: Final = 1000
"""Longest text of a cause, so that a store that is lost again and again doesn't make it grow with each loss."""


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
