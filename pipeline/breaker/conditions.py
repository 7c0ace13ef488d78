"""The five conditions. Each returns a Trip where it holds, Calm where it was judged and doesn't hold, None otherwise.

Where many scopes are judged side by side, chance gets as many tries. With m scopes of a kind, evidence must therefore
be ln m nats stronger, and z becomes √(z² + 2 ln m). Both keep the false alarms of all of them together at those of one
(Bonferroni).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import Counts, latency_p99_ms, score_mean_ppm
from pipeline.breaker.baselines import Baseline, cusum, drift_z, proportion_z
from pipeline.breaker.settings import BreakerSettings, Condition


class Observation(NamedTuple):
    """The counts of one scope up to now, and the baselines to judge them by."""

    window: Counts  # over window_s
    error_window: Counts  # over error_window_s
    span: Counts  # since the previous evaluation
    baseline: Baseline | None  # for outcomes
    drift_baseline: Baseline | None  # for scores; of this model version alone, as versions score differently


class Watch(NamedTuple):
    """The evidence that one evaluation hands to the next.

    `streaks` counts, for each Condition in order, how many evaluations running it has held; the shifts are cumulative
    sums.
    """

    streaks: tuple[int, ...] = (0,) * len(Condition)
    good: int = 0
    block_shift: float = 0.0
    allow_shift: float = 0.0


class Trip(NamedTuple):
    """A condition that holds. `excess` is `observed` - `limit`, in `unit`; `sample` is a number of payments."""

    condition: Condition
    observed: float
    limit: float
    excess: float
    unit: str
    sample: int
    evidence: str
    is_certain: bool  # needs no confirmation


class Calm(NamedTuple):
    condition: Condition


Finding = Trip | Calm | None


class Limits(NamedTuple):
    settings: BreakerSettings
    peers: int

    @property
    def z(self) -> float:
        return math.sqrt(self.settings.significance_z**2 + 2 * math.log(self.peers))

    @property
    def shift_evidence(self) -> float:
        return self.settings.shift_evidence + math.log(self.peers)


_STEPS_TO_SHIFT: Final = 3
"""A shift takes at least this many evaluations. One burst, such as the testing of a card, must not look like a shift
however large it is."""


def service_findings(seen: Observation, settings: BreakerSettings) -> list[Finding]:
    """Judge everything together on what the service does."""
    return [error_rate(seen, settings), latency_p99(seen, settings)]


def model_findings(seen: Observation, watch: Watch, limits: Limits) -> list[Finding]:
    """Judge a model version or a segment on how the model behaves; `watch` holds this span's cumulative sums."""
    return [block_rate_spike(seen, watch, limits), allow_rate_spike(seen, watch, limits), model_drift(seen, limits)]


def error_rate(seen: Observation, settings: BreakerSettings) -> Finding:
    """Judge whether errors reach the limit over the window and since the last evaluation.

    The second test is there because a single bad second is over by then.
    """
    errors, total = seen.error_window.errors, seen.error_window.errors + seen.error_window.answered
    span_total = seen.span.errors + seen.span.answered
    limit = settings.error_rate_percent
    if total < settings.error_minimum_count:
        return None
    is_ongoing = span_total > 0 and seen.span.errors * 100 >= limit * span_total
    if not (errors >= settings.error_minimum_count and errors * 100 >= limit * total and is_ongoing):
        return Calm(Condition.ERROR_RATE)
    observed = 100 * errors / total
    evidence = (
        f"the model failed to answer {errors:,} of {total:,} payments ({observed:.2f} %) "
        f"in {settings.error_window_s} s, where {limit} % is the limit"
    )
    return Trip(Condition.ERROR_RATE, observed, limit, observed - limit, "percent", total, evidence, False)


def latency_p99(seen: Observation, settings: BreakerSettings) -> Finding:
    """Judge the 99th percentile: it is beyond the limit if at least one payment in a hundred took longer than it."""
    limit_ms = settings.latency_p99_ms
    slow, total = seen.error_window.slower_than(limit_ms), sum(seen.error_window.latency)
    span_slow, span_total = seen.span.slower_than(limit_ms), sum(seen.span.latency)
    if total < settings.error_minimum_count:
        return None
    is_ongoing = span_total > 0 and span_slow * 100 >= span_total
    if not (slow >= settings.error_minimum_count and slow * 100 >= total and is_ongoing):
        return Calm(Condition.LATENCY_P99)
    p99_ms = latency_p99_ms(seen.error_window)
    observed = float(max(p99_ms or math.inf, limit_ms))
    words = "over 10 s" if p99_ms is None else f"at most {p99_ms:,} ms"
    evidence = (
        f"{slow:,} of {total:,} payments took longer than {limit_ms:,} ms in {settings.error_window_s} s; "
        f"the 99th percentile is {words}, where {limit_ms:,} ms is the limit"
    )
    return Trip(Condition.LATENCY_P99, observed, limit_ms, observed - limit_ms, "ms", total, evidence, False)


def block_rate_spike(seen: Observation, watch: Watch, limits: Limits) -> Finding:
    usual = None if seen.baseline is None else seen.baseline.block
    points = limits.settings.block_rate_spike_points
    return _spike(
        Condition.BLOCK_RATE_SPIKE, "blocks", seen, seen.window.block, usual, points, watch.block_shift, limits
    )


def allow_rate_spike(seen: Observation, watch: Watch, limits: Limits) -> Finding:
    usual = None if seen.baseline is None else seen.baseline.allow
    points = limits.settings.allow_rate_spike_points
    return _spike(
        Condition.ALLOW_RATE_SPIKE, "allows", seen, seen.window.allow, usual, points, watch.allow_shift, limits
    )


def _spike(
    condition: Condition,
    verb: str,
    seen: Observation,
    count: int,
    usual_count: int | None,
    points: int,
    cumulated: float,
    limits: Limits,
) -> Finding:
    settings, baseline, total = limits.settings, seen.baseline, seen.window.answered
    is_shifted = cumulated >= limits.shift_evidence
    if baseline is None or usual_count is None or (total < settings.minimum_sample and not is_shifted):
        return None
    difference = count * baseline.answered - usual_count * total  # of the shares, times both samples: exact integers
    is_spike = difference * 100 >= points * total * baseline.answered and (
        proportion_z(count, total, usual_count, baseline) >= limits.z
    )
    if not is_spike and not is_shifted:
        return Calm(condition)
    share, usual = 100 * count / max(total, 1), 100 * usual_count / baseline.answered
    when = "at this time of day" if baseline.is_seasonal else "before"
    evidence = (
        f"the model {verb} {share:.1f} % of {total:,} payments in {settings.window_s} s, "
        f"{share - usual:+.1f} points on the {usual:.1f} % usual {when}; the limit is +{points} points"
    )
    if is_shifted:
        evidence += (
            f", or cumulative evidence of {limits.shift_evidence:.1f} for a lasting shift "
            f"by {settings.shift_percent} %, which stands at {cumulated:.1f}"
        )
    return Trip(condition, share - usual, points, share - usual - points, "points", total, evidence, is_shifted)


def shifts_cumulated(seen: Observation, watch: Watch, limits: Limits) -> Watch:
    """Return the watch with this span added to both sums: that of blocks rising and that of non-allows falling."""
    baseline, span = seen.baseline, seen.span
    if baseline is None or not baseline.is_seasonal:
        return watch._replace(block_shift=0.0, allow_shift=0.0)
    factor = 1 + limits.settings.shift_percent / 100
    held_back, usual_held_back = span.answered - span.allow, baseline.answered - baseline.allow
    usual_blocks, usual_stops = _share(baseline.block, baseline), _share(usual_held_back, baseline)
    sought_blocks = min(usual_blocks * factor, (1 + usual_blocks) / 2)
    return watch._replace(
        block_shift=_added(watch.block_shift, span.block, span, usual_blocks, sought_blocks, baseline, limits),
        allow_shift=_added(watch.allow_shift, held_back, span, usual_stops, usual_stops / factor, baseline, limits),
    )


def _added(
    cumulated: float, count: int, span: Counts, usual: float, sought: float, baseline: Baseline, limits: Limits
) -> float:
    enough = limits.shift_evidence
    reached = cusum(cumulated, count, span.answered, usual, sought, baseline)
    return min(reached, cumulated + enough / _STEPS_TO_SHIFT, enough)


def _share(count: int, baseline: Baseline) -> float:
    """Return a share that is never 0 or 1, where the likelihood ratio has no value."""
    return (count + 0.5) / (baseline.answered + 1)


def model_drift(seen: Observation, limits: Limits) -> Finding:
    settings, baseline, total = limits.settings, seen.drift_baseline, seen.window.answered
    if baseline is None or baseline.score_sigma_ppm is None or total < settings.minimum_sample:
        return None
    difference_ppm = score_mean_ppm(seen.window) - baseline.score_mean_ppm
    limit_ppm = settings.model_drift_sigma * baseline.score_sigma_ppm
    if abs(difference_ppm) < limit_ppm or abs(drift_z(seen.window, baseline)) < limits.z:
        return Calm(Condition.MODEL_DRIFT)
    sigmas = abs(difference_ppm) / baseline.score_sigma_ppm if baseline.score_sigma_ppm else math.inf
    evidence = (
        f"the model's mean fraud probability over {total:,} payments in {settings.window_s} s is "
        f"{score_mean_ppm(seen.window) / 10_000:.2f} %, {sigmas:.1f} σ from the "
        f"{baseline.score_mean_ppm / 10_000:.2f} % usual at this hour; the limit is {settings.model_drift_sigma} σ"
    )
    excess = sigmas - settings.model_drift_sigma
    return Trip(Condition.MODEL_DRIFT, sigmas, settings.model_drift_sigma, excess, "sigma", total, evidence, False)
