"""What one evaluation works on: which scopes are judged, their readings, and the hours that incidents touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from pipeline.breaker import Affected, BreakerSettings, Event, History, ScopeReading, Transition, Watch, hours_touched
from pipeline.breaker.answer_counts import (
    ALL,
    CHANNEL_PREFIX,
    MODEL_PREFIX,
    SEGMENT_OTHER,
    Counts,
    difference,
    is_part,
    model_scope,
    probe_scope,
    segment_scope,
)
from pipeline.breaker.codec import Claimed
from pipeline.breaker.detecting.baselines import Baseline, Usual
from pipeline.breaker.detecting.history import HISTORY_MS
from pipeline.domain.decision import BreakerState


def scope_reading(scope: str, claimed: Claimed, history: History, settings: BreakerSettings) -> ScopeReading:
    """Return a scope's counts, and the baselines that there are for it."""
    total, none, now_ms = claimed.totals.get(scope, Counts()), Counts(), claimed.now_ms
    at_window, probes = claimed.at_window.get(scope, none), probe_scope(scope)
    seasonal = history.seasonal(scope, now_ms, settings)
    everywhere = inherited = trailing = None
    if seasonal is None and scope.startswith(MODEL_PREFIX):
        everywhere = history.seasonal(ALL, now_ms, settings)
        if everywhere is None:
            inherited = history.inherited(scope, now_ms, claimed.window_mark_ms, claimed.at_window, settings)
    if scope != ALL and seasonal is None and everywhere is None and inherited is None:
        trailing = history.trailing(scope, now_ms, claimed.window_mark_ms, at_window, settings)
        if trailing is None and scope.startswith(MODEL_PREFIX):
            inherited = _usual_before_another(scope, claimed)
    known = seasonal or everywhere or inherited or trailing
    is_told = known is None or known.doubts is not None
    return ScopeReading(
        doubts=None if is_told else _doubts_meanwhile(scope, claimed, history, settings),
        window=difference(total, at_window),
        error_window=difference(total, claimed.at_error_window.get(scope, none)),
        span=difference(total, claimed.at_before.get(scope, none)),
        seasonal=seasonal,
        seasonal_everywhere=everywhere,
        trailing=trailing,
        inherited=inherited,
        probes=difference(claimed.totals.get(probes, none), claimed.at_before.get(probes, none)),
    )


def _doubts_meanwhile(scope: str, claimed: Claimed, history: History, settings: BreakerSettings) -> Usual | None:
    """Return what is usual of the model's own escalations while the yardstick is of days that don't tell of them.

    Of a version it is what other versions answered, or else, as of a part, the last day of its own.
    """
    now_ms, mark_ms, before = claimed.now_ms, claimed.window_mark_ms, claimed.at_window
    if scope.startswith(MODEL_PREFIX):
        others = history.inherited(scope, now_ms, mark_ms, before, settings)
        if others is not None and others.doubts is not None:
            return others.doubts
    own = history.trailing(scope, now_ms, mark_ms, before.get(scope, Counts()), settings)
    return None if own is None else own.doubts


def _usual_before_another(scope: str, claimed: Claimed) -> Baseline | None:
    """Return what was usual before the latest trip of another version, whose hours no baseline is made of."""
    others = [
        record
        for record in claimed.states.records.values()
        if record.scope.startswith(MODEL_PREFIX)
        and record.scope != scope
        and record.state is not BreakerState.CLOSED
        and record.frozen is not None
        and record.since_ms >= claimed.now_ms - HISTORY_MS  # as old as any yardstick may be
    ]
    latest = max(others, key=lambda record: record.since_ms, default=None)
    return None if latest is None else latest.frozen


def models_judged(claimed: Claimed, model_version: str | None) -> list[str]:
    """Return the scopes of the versions that are judged: the worker's own, and those that answer beside it.

    While versions are mixed, each evaluation judges all of them, whichever version its worker has. A version that
    answers nothing isn't in force anywhere.
    """
    totals, before, none = claimed.totals, claimed.at_before, Counts()
    answering = {
        scope
        for scope, total in totals.items()
        if scope.startswith(MODEL_PREFIX) and difference(total, before.get(scope, none)).handled
    }
    return sorted(answering if model_version is None else answering | {model_scope(model_version)})


def watches_left(claimed: Claimed, judged: Mapping[str, Watch]) -> dict[str, Watch]:
    """Return the evidence on scopes that this evaluation doesn't judge, but one by another policy will."""
    at_window, none = claimed.at_window, Counts()
    return {
        scope: watch
        for scope, watch in claimed.watches.items()
        if scope not in judged and difference(claimed.totals.get(scope, none), at_window.get(scope, none)).handled
    }


def parts_judged(claimed: Claimed, settings: BreakerSettings) -> list[str]:
    """Return the parts of the traffic that are judged: the declared ones, and those that are out of the loop."""
    declared = {segment_scope(name, value) for name, values in settings.segments.items() for value in values}
    counted = {
        scope
        for scope in claimed.totals
        if scope in declared or scope == SEGMENT_OTHER or scope.startswith(CHANNEL_PREFIX)
    }
    states = claimed.states.records.items()
    held = {scope for scope, record in states if is_part(scope) and record.state is not BreakerState.CLOSED}
    return sorted(counted | held)


def affected(claimed: Claimed) -> Affected:
    return Affected(claimed.window_mark_ms, claimed.error_mark_ms, claimed.now_ms, claimed.first, claimed.end)


def newly_excluded(
    claimed: Claimed, made: Sequence[Transition], settings: BreakerSettings, judged: Set[str]
) -> set[tuple[str, int]]:
    """Return the hours that incidents newly touch.

    They are this hour for every scope that isn't closed, and the hours in which a trip began. A drill touches none,
    unless the model went wrong meanwhile; then all of its hours are. A version that isn't in
    force governs nothing, so its record excludes nothing: it stays open for as long as nobody goes back to it. judged:
    the scopes of this evaluation, with all versions that are in force.
    """
    now_ms = claimed.now_ms
    began_ms = now_ms - 1000 * (settings.window_s + settings.confirmations * settings.evaluation_interval_s)
    found = [
        hour
        for record in claimed.states.records.values()
        if record.state is not BreakerState.CLOSED
        and not record.is_drill
        and (is_part(record.scope) or record.scope in judged)
        for hour in hours_touched(record.scope, now_ms, now_ms)
    ]
    found += [
        hour
        for transition in made
        if transition.event is Event.TRIP
        for hour in hours_touched(transition.after.scope, began_ms, now_ms)
    ]
    drilling = [record for record in claimed.states.records.values() if record.is_drill]
    ended = {transition.after.scope for transition in made if not transition.after.drill}
    found += [
        hour
        for record in drilling
        if record.scope in ended
        for hour in hours_touched(record.scope, min(began_ms, record.since_ms), now_ms)
    ]
    return set(found) - claimed.excluded
