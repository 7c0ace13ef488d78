"""How each detector of a scope stands, and what it would take to trip: for people, by the detectors' own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.breaker.answer_counts import ALL, is_part, score_mean_ppm
from pipeline.breaker.detecting.baselines import Usual
from pipeline.breaker.detecting.conditions import Limits, Observation, Watch, rate
from pipeline.breaker.detecting.detectors import is_spike
from pipeline.breaker.detecting.judging import judge, wants
from pipeline.breaker.detecting.probation import evidence_bound
from pipeline.breaker.settings import BreakerSettings, Condition
from pipeline.breaker.states import BreakerRecord
from pipeline.domain.decision import BreakerState


class Gauge(NamedTuple):
    """A detector's standing. `trips_at` is the least count of the sample at which its condition holds.

    counted, trips_at: failures, slow payments, blocks, allows or the model's own escalations, of `sample`; None where
    no count would do. evidence: of the cumulative sum, which trips by itself at `evidence_enough`; 0 where the
    condition has none. running: evaluations in which it has held, of the `confirmations` that it takes. missing: why it
    can't be judged, or nothing.
    """

    condition: Condition
    counted: int
    sample: int
    trips_at: int | None
    running: int
    confirmations: int
    evidence: float
    evidence_enough: float
    missing: str
    yardstick: str


class ProbationGauge(NamedTuple):
    """The standing of a scope on probation at its present share.

    answers: its own since the share began. evidence: of the sequential test, which passes it at -evidence_enough and
    fails it at evidence_enough. lax_evidence: the same of what is held back, 0 unless too many allows had tripped it.
    doubt_evidence: of what it escalates by itself, 0 unless too much of that had.
    good: evaluations running in which nothing was wanting, of the `confirmations` that it takes. seconds_left: the
    least time that it still stays at this share. waits_for: what the latest evaluation lacked, in words.
    """

    share_percent: int
    answers: int
    evidence: float
    lax_evidence: float
    evidence_enough: float
    good: int
    confirmations: int
    seconds_left: int
    waits_for: tuple[str, ...]
    doubt_evidence: float = 0.0


def probation_gauge(
    record: BreakerRecord, seen: Observation, watch: Watch, now_ms: int, settings: BreakerSettings, peers: int
) -> ProbationGauge | None:
    """Return what a probation waits for; None where the scope is on none."""
    if record.state is not BreakerState.HALF_OPEN:
        return None
    judgement = judge(record.scope, seen, watch, settings, peers)
    left_ms = record.since_ms + settings.half_open_s * 1000 - now_ms
    is_lax_tested = Condition.ALLOW_RATE_SPIKE in record.cause.tripped_by
    return ProbationGauge(
        record.share_percent,
        watch.probes,
        watch.bad_evidence,
        watch.lax_evidence if is_lax_tested else 0.0,
        evidence_bound(settings),
        watch.good,
        settings.confirmations,
        max(-(-left_ms // 1000), 0),
        tuple(wants(record, judgement, seen, watch, settings)),
        watch.doubt_evidence if Condition.ESCALATE_RATE_SPIKE in record.cause.tripped_by else 0.0,
    )


def gauges(scope: str, seen: Observation, watch: Watch, settings: BreakerSettings, peers: int) -> list[Gauge]:
    """Return the gauges of a scope, in the order of Condition."""
    if scope == ALL:
        return [_errors(seen, watch, settings), _latency(seen, watch, settings)]
    limits = Limits(settings, peers, is_part(scope))
    return [
        _errors(seen, watch, settings),
        _rate(Condition.BLOCK_RATE_SPIKE, seen, watch, limits),
        _rate(Condition.ALLOW_RATE_SPIKE, seen, watch, limits),
        _drift(seen, watch, limits),
        _rate(Condition.ESCALATE_RATE_SPIKE, seen, watch, limits),
    ]


def _errors(seen: Observation, watch: Watch, settings: BreakerSettings) -> Gauge:
    errors, total = seen.error_window.errors, seen.error_window.handled
    return _share(Condition.ERROR_RATE, errors, total, settings.error_rate_percent, watch, settings)


def _latency(seen: Observation, watch: Watch, settings: BreakerSettings) -> Gauge:
    slow, total = seen.error_window.slower_than(settings.latency_p99_ms), sum(seen.error_window.latency)
    return _share(Condition.LATENCY_P99, slow, total, 1, watch, settings)


def _share(
    condition: Condition, count: int, total: int, percent: int, watch: Watch, settings: BreakerSettings
) -> Gauge:
    least = max(settings.error_minimum_count, -(-percent * total // 100))
    missing = "" if total >= settings.error_minimum_count else f"{settings.error_minimum_count} payments are needed"
    at = least if total >= least else None
    return Gauge(condition, count, total, at, *_running(condition, watch, settings), 0.0, 0.0, missing, "")


def _rate(condition: Condition, seen: Observation, watch: Watch, limits: Limits) -> Gauge:
    settings, (count, total, known) = limits.settings, rate(condition, seen)
    points, shift = {
        Condition.BLOCK_RATE_SPIKE: (settings.block_rate_spike_points, watch.block_shift),
        Condition.ALLOW_RATE_SPIKE: (settings.allow_rate_spike_points, watch.allow_shift),
        Condition.ESCALATE_RATE_SPIKE: (settings.escalate_rate_spike_points, watch.doubt_shift),
    }[condition]
    trips_at = None
    if known is not None:
        usual, answered, correlation, z = known.counted, known.answered, known.correlation, limits.z
        trips_at = _least(total, lambda n: bool(is_spike(n, total, usual, answered, correlation, points, z)))
    return Gauge(
        condition,
        count,
        total,
        trips_at,
        *_running(condition, watch, settings),
        shift,
        limits.shift_evidence,
        _missing(known is None, total, limits),
        _yardstick(known),
    )


def _yardstick(known: Usual | None) -> str:
    if known is None:
        return ""
    when = "at this time of day" if known.is_seasonal else "before"
    return f"{100 * known.counted / known.answered:.1f} % is usual {when}, of {known.answered:,} payments"


def _drift(seen: Observation, watch: Watch, limits: Limits) -> Gauge:
    baseline, total = seen.drift_baseline, seen.window.answered
    is_unknown = baseline is None or baseline.score_sigma_ppm is None
    missing, words = _missing(is_unknown, total, limits), ""
    if baseline is not None and baseline.score_sigma_ppm is not None and total:
        sigmas = (score_mean_ppm(seen.window) - baseline.score_mean_ppm) / max(baseline.score_sigma_ppm, 1.0)
        words = f"{sigmas:+.1f} σ from usual, of {limits.settings.model_drift_sigma} σ and z {limits.z:.1f}"
    running = _running(Condition.MODEL_DRIFT, watch, limits.settings)
    return Gauge(Condition.MODEL_DRIFT, 0, total, None, *running, 0.0, 0.0, missing, words)


def _missing(is_yardstick_unknown: bool, total: int, limits: Limits) -> str:
    if is_yardstick_unknown:
        return "too little is known of what is usual"
    return "" if total >= limits.minimum_sample else f"{limits.minimum_sample} payments are needed"


def _running(condition: Condition, watch: Watch, settings: BreakerSettings) -> tuple[int, int]:
    return watch.streaks[list(Condition).index(condition)], settings.confirmations


def _least(total: int, holds: Callable[[int], bool]) -> int | None:
    """Return the least count up to `total` for which a condition holds that goes on holding above; None for none."""
    if total == 0 or not holds(total):
        return None
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
