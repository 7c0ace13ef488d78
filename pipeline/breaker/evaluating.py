"""One evaluation of one scope, from its readings to its next state.

Invariants
1. An incident is never its own yardstick. While a scope isn't CLOSED it is measured against a seasonal baseline, which
   holds no hour of an incident, against what others answered, or against what was usual before the trip.
   A drill is no incident: the model that it takes out of the loop is judged as if it were in it.
   A scope that is CLOSED is measured so, too, while another's incident takes the hours that its yardstick is of.
2. A new version is not its own yardstick while anything is known of what answered before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import Counts, is_part
from pipeline.breaker.detecting.baselines import Baseline, Usual
from pipeline.breaker.detecting.blindness import (
    Blindness,
    blind_since_ms,
    blindness,
    drift_blind_since_ms,
    drift_blindness,
)
from pipeline.breaker.detecting.conditions import Limits, Observation, Trip, Watch
from pipeline.breaker.detecting.judging import Judgement, judge, next_event
from pipeline.breaker.settings import BreakerSettings
from pipeline.breaker.states import BreakerRecord, Event, step
from pipeline.domain.decision import BreakerState


class ScopeReading(NamedTuple):
    """The store's readings of one scope.

    A baseline is None where there is too little history for it. Those after `seasonal` are only computed where there is
    none before them.
    """

    window: Counts
    error_window: Counts
    span: Counts
    seasonal: Baseline | None
    seasonal_everywhere: Baseline | None  # of all traffic, for a model version that has no history of its own
    trailing: Baseline | None
    inherited: Baseline | None = None  # of what other versions answered before a model version, and beside it
    probes: Counts = Counts()  # in the span
    doubts: Usual | None = None  # of other versions, or the scope's own last day, where the baseline tells nothing


class Affected(NamedTuple):
    """The records that a transition is about, as offsets by partition of transactions.v1, and their time.

    Payments from `first` on and before `end` were counted in the window. A partition that `first` doesn't have had
    none before the window. The error window begins later than the window.
    """

    from_ms: int = 0
    error_from_ms: int = 0
    to_ms: int = 0
    first: Mapping[int, int] = {}
    end: Mapping[int, int] = {}


NOTHING: Final = Affected()
_OUT_OF_A_DRILL: Final = frozenset({Event.STILL_BAD, Event.PROBE_BAD})
"""What turns a drill into an incident: it is a trip, which keeps what was usual before it as every trip does."""


class Transition(NamedTuple):
    """A change of state and its cause, as it is appended to the history and raised as an alert."""

    before: BreakerState
    event: Event
    after: BreakerRecord
    at_ms: int
    window: Counts  # the counts over window_s when it happened; zeros where a person or a loss caused it
    trips: tuple[Trip, ...] = ()  # the conditions that brought it about
    affected: Affected = NOTHING


class Advance(NamedTuple):
    watch: Watch
    transition: Transition | None
    warnings: tuple[str, ...] = ()
    blind: Blindness | None = None


def advance(
    record: BreakerRecord,
    watch: Watch,
    reading: ScopeReading,
    now_ms: int,
    settings: BreakerSettings,
    *,
    peers: int = 1,
    revision: int = 0,
    affected: Affected = NOTHING,
) -> Advance:
    seen = observed(record, reading, watch)
    watch = watch._replace(usual=_kept(record, reading, watch))
    judgement = judge(record.scope, seen, watch, settings, peers)
    limits = Limits(settings, peers, is_part(record.scope))
    scope, judged = record.scope, judgement.judged
    since_ms = blind_since_ms(scope, seen, judged, watch.blind_since_ms, now_ms, limits)
    drift_ms = drift_blind_since_ms(scope, seen, judged, watch.drift_blind_since_ms, now_ms, limits)
    blinded = Watch(blind_since_ms=since_ms, drift_blind_since_ms=drift_ms)
    judgement = judgement._replace(
        watch=judgement.watch._replace(blind_since_ms=since_ms, drift_blind_since_ms=drift_ms)
    )
    blind = blindness(scope, since_ms, seen, now_ms, limits) or drift_blindness(scope, drift_ms, seen, now_ms, limits)
    outcome = next_event(record, judgement, seen, now_ms, settings)
    if isinstance(outcome, Watch):
        return Advance(outcome, None, _warnings(record, judgement), blind)
    after = step(record, outcome.event, outcome.cause, now_ms, settings, revision)
    if outcome.event is Event.TRIP or (record.is_drill and outcome.event in _OUT_OF_A_DRILL):
        after = after._replace(frozen=_frozen(reading.seasonal, seen.baseline))
    transition = Transition(record.state, outcome.event, after, now_ms, reading.window, outcome.trips, affected)
    return Advance(blinded, transition, blind=blind)


def observed(record: BreakerRecord, reading: ScopeReading, watch: Watch) -> Observation:
    """Return the readings with the baselines that a scope in this state is judged by."""
    baseline, drift_baseline = _baseline(record, reading, watch), reading.seasonal or record.frozen
    if baseline is not None and baseline.doubts is None:
        baseline = baseline._replace(doubts=_doubts(record, reading))
    return Observation(reading.window, reading.error_window, reading.span, baseline, drift_baseline, reading.probes)


def _warnings(record: BreakerRecord, judgement: Judgement) -> tuple[str, ...]:
    """A scope that is out of the loop already needs no warning."""
    return judgement.warnings if record.state is BreakerState.CLOSED else ()


def _baseline(record: BreakerRecord, reading: ScopeReading, watch: Watch) -> Baseline | None:
    known = _known(reading)
    if known is None and _is_in_loop(record):
        known = reading.trailing or watch.usual
    return record.frozen if known is None else known


def _doubts(record: BreakerRecord, reading: ScopeReading) -> Usual | None:
    """Return what is usual of the model's own escalations where the baseline doesn't know, as in the days after they
    were first counted."""
    if _is_in_loop(record):
        return reading.doubts
    return None if record.frozen is None else record.frozen.doubts


def _kept(record: BreakerRecord, reading: ScopeReading, watch: Watch) -> Baseline | None:
    """Return what to keep as usual without a season; what is out of the loop has its frozen baseline."""
    if _known(reading) is not None or not _is_in_loop(record):
        return None
    return reading.trailing or watch.usual


def _known(reading: ScopeReading) -> Baseline | None:
    return reading.seasonal or reading.seasonal_everywhere or reading.inherited


def _is_in_loop(record: BreakerRecord) -> bool:
    return record.state is BreakerState.CLOSED or record.is_drill


def _frozen(own: Baseline | None, used: Baseline | None) -> Baseline | None:
    """Return the baseline to keep through an incident.

    It serves any hour, so it is no longer seasonal. Its scores judge drift only if they are the scope's own.
    """
    if used is None:
        return None
    doubts = None if used.doubts is None else used.doubts._replace(is_seasonal=False, level=1.0)
    sigma_ppm = None if own is None else own.score_sigma_ppm
    return (own or used)._replace(
        is_seasonal=False, score_sigma_ppm=sigma_ppm, block_level=1.0, stop_level=1.0, doubts=doubts
    )
