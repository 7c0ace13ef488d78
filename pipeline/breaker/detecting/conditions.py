"""The conditions. Each returns a Trip where it holds, Calm where it was judged and doesn't hold, None otherwise.

Where many scopes are judged side by side, chance gets as many tries. With m scopes of a kind, evidence must therefore
be ln m nats stronger, and z becomes √(z² + 2 ln m). Both keep the false alarms of all of them together at those of one
(Bonferroni).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import Counts, latency_p99_ms, score_mean_ppm
from pipeline.breaker.detecting.baselines import Baseline, Usual
from pipeline.breaker.detecting.detectors import (
    SLACK,
    UNSEASONAL_FACTOR,
    at_level,
    cusum,
    drift_z,
    evidence,
    fall,
    is_spike,
    likely_range,
    rise,
    usual_share,
)
from pipeline.breaker.settings import BreakerSettings, Condition


class Observation(NamedTuple):
    """The counts of one scope up to now, and the baselines to judge them by."""

    window: Counts  # over window_s
    error_window: Counts  # over error_window_s
    span: Counts  # since the previous evaluation
    baseline: Baseline | None  # for outcomes
    drift_baseline: Baseline | None  # for scores; of this model version alone, as versions score differently
    probes: Counts = Counts()  # since the previous evaluation; what the model really answered on this scope's probation


class Watch(NamedTuple):
    """The evidence that one evaluation hands to the next.

    `streaks` counts, for each Condition in order, how many evaluations running it has held; the shifts are cumulative
    sums. The three after them are of the sequential test on probation (`probation`), and so is sampled: the payments
    since the present share began. blind_since_ms: since when the scope can't be judged (`blindness`),
    drift_blind_since_ms: on drift; 0 where it can. usual: what the latest evaluations took for usual without a season,
    for when an incident elsewhere takes the hours that it was made of. doubt_shift and doubt_evidence: the cumulative
    sum and the sequential test of what the model escalates by itself.
    """

    streaks: tuple[int, ...] = (0,) * len(Condition)
    good: int = 0
    block_shift: float = 0.0
    allow_shift: float = 0.0
    probes: int = 0
    bad_evidence: float = 0.0
    lax_evidence: float = 0.0
    blind_since_ms: int = 0
    drift_blind_since_ms: int = 0
    sampled: int = 0
    usual: Baseline | None = None
    doubt_shift: float = 0.0
    doubt_evidence: float = 0.0


class Trip(NamedTuple):
    """A condition that holds. `excess` is `observed` - `limit`, in `unit`; `counted` of `sample` payments make it
    up.

    counted: failures, slow payments, blocks, allows or the model's own escalations; 0 of drift, which is about all of
    them.
    """

    condition: Condition
    observed: float
    limit: float
    excess: float
    unit: str
    counted: int
    sample: int
    evidence: str
    is_certain: bool  # needs no confirmation


class Calm(NamedTuple):
    """A condition that was judged and doesn't hold. warned: what nears it, in words, though chance may do as much."""

    condition: Condition
    warned: str = ""


Finding = Trip | Calm | None


class Limits(NamedTuple):
    """The limits of a scope that is judged beside `peers` of its kind, itself included."""

    settings: BreakerSettings
    peers: int
    is_part: bool = False  # of the traffic: a segment or a channel

    @property
    def z(self) -> float:
        return math.sqrt(self.settings.significance_z**2 + 2 * math.log(self.peers))

    @property
    def shift_evidence(self) -> float:
        return self.settings.shift_evidence + math.log(self.peers)

    @property
    def minimum_sample(self) -> int:
        return self.settings.segment_minimum_sample if self.is_part else self.settings.minimum_sample

    def account_share(self, in_window: int, in_span: int) -> float:
        """Return the largest share of a full window's answers that one account can make up.

        The window of a version that has just begun holds little, so what a window of spans like this one would hold
        counts where that is more.
        """
        settings = self.settings
        spans = settings.window_s / settings.evaluation_interval_s
        return settings.account_window_max / max(in_window, in_span * spans, 1)

    def shift_factor(self, usual: Usual | Baseline) -> float:
        shift = self.settings.shift_percent / 100
        return 1 + (shift if usual.is_seasonal else UNSEASONAL_FACTOR * shift)


def service_findings(seen: Observation, settings: BreakerSettings) -> list[Finding]:
    """Judge everything together on what the service does."""
    return [error_rate(seen, settings), latency_p99(seen, settings)]


def model_findings(seen: Observation, watch: Watch, limits: Limits) -> list[Finding]:
    """Judge a model version, a segment or a channel on how the model behaves; `watch` holds this span's sums."""
    return [
        error_rate(seen, limits.settings),
        block_rate_spike(seen, watch, limits),
        allow_rate_spike(seen, watch, limits),
        model_drift(seen, limits),
        escalate_rate_spike(seen, watch, limits),
    ]


def error_rate(seen: Observation, settings: BreakerSettings) -> Finding:
    """Judge whether errors reach the limit over the window and since the last evaluation.

    The second test is there because a single bad second is over by then.
    """
    errors, total = seen.error_window.errors, seen.error_window.handled
    limit = settings.error_rate_percent
    if total < settings.error_minimum_count:
        return None
    is_ongoing = seen.span.handled > 0 and seen.span.errors * 100 >= limit * seen.span.handled
    if not (errors >= settings.error_minimum_count and errors * 100 >= limit * total and is_ongoing):
        return Calm(Condition.ERROR_RATE)
    observed = 100 * errors / total
    evidence = (
        f"the model failed to answer {errors:,} of {total:,} payments ({observed:.2f} %) "
        f"in {settings.error_window_s} s, where {limit} % is the limit"
    )
    return Trip(Condition.ERROR_RATE, observed, limit, observed - limit, "percent", errors, total, evidence, False)


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
    observed = float(max(p99_ms or LATENCY_BEYOND_MS, limit_ms))
    words = "over 10 s" if p99_ms is None else f"at most {p99_ms:,} ms"
    evidence = (
        f"deciding took longer than {limit_ms:,} ms for {slow:,} of {total:,} payments in {settings.error_window_s} s; "
        f"the 99th percentile is {words}, where {limit_ms:,} ms is the limit"
    )
    return Trip(Condition.LATENCY_P99, observed, limit_ms, observed - limit_ms, "ms", slow, total, evidence, False)


LATENCY_BEYOND_MS: Final = 10_001
"""Stands for a 99th percentile beyond the last bound of the histogram."""


class Rate(NamedTuple):
    """A share of the window's answers, and what is usual of it; that is None where it isn't known."""

    counted: int
    sample: int
    usual: Usual | None


def rate(condition: Condition, seen: Observation) -> Rate:
    """Return what a condition on a rate compares: blocks, allows, or what the model escalates by itself."""
    window, baseline = seen.window, seen.baseline
    if condition is Condition.ESCALATE_RATE_SPIKE:
        return Rate(window.doubt, window.doubt_known, None if baseline is None else baseline.doubts)
    is_block = condition is Condition.BLOCK_RATE_SPIKE
    counted = window.block if is_block else window.allow
    if baseline is None:
        return Rate(counted, window.answered, None)
    usual = baseline.block if is_block else baseline.allow
    return Rate(counted, window.answered, Usual(usual, baseline.answered, baseline.correlation, baseline.is_seasonal))


def block_rate_spike(seen: Observation, watch: Watch, limits: Limits) -> Finding:
    points = limits.settings.block_rate_spike_points
    return _spike(Condition.BLOCK_RATE_SPIKE, "blocks", seen, points, watch.block_shift, limits)


def allow_rate_spike(seen: Observation, watch: Watch, limits: Limits) -> Finding:
    points = limits.settings.allow_rate_spike_points
    return _spike(Condition.ALLOW_RATE_SPIKE, "allows", seen, points, watch.allow_shift, limits)


def escalate_rate_spike(seen: Observation, watch: Watch, limits: Limits) -> Finding:
    """Judge what the model itself would have a person decide; a guardrail's escalation is none of the model's."""
    points = limits.settings.escalate_rate_spike_points
    return _spike(Condition.ESCALATE_RATE_SPIKE, "itself would escalate", seen, points, watch.doubt_shift, limits)


def _spike(
    condition: Condition, verb: str, seen: Observation, points: int, cumulated: float, limits: Limits
) -> Finding:
    settings, (count, total, known) = limits.settings, rate(condition, seen)
    is_shifted = cumulated >= limits.shift_evidence
    if known is None or (total < limits.minimum_sample and not is_shifted):
        return None
    if not is_shifted and not is_spike(
        count, total, known.counted, known.answered, known.correlation, points, limits.z
    ):
        return Calm(condition)
    share, usual = 100 * count / max(total, 1), 100 * known.counted / known.answered
    when, factor = "at this time of day" if known.is_seasonal else "before", limits.shift_factor(known)
    evidence = (
        f"the model {verb} {share:.1f} % of {total:,} payments in {settings.window_s} s, "
        f"{share - usual:+.1f} points on the {usual:.1f} % usual {when}; the limit is +{points} points"
    )
    if is_shifted:
        evidence += (
            f", or cumulative evidence of {limits.shift_evidence:.1f} for a lasting shift "
            f"by {100 * (factor - 1):.0f} %, which stands at {cumulated:.1f}"
        )
    return Trip(condition, share - usual, points, share - usual - points, "points", count, total, evidence, is_shifted)


def shifts_cumulated(seen: Observation, watch: Watch, limits: Limits) -> Watch:
    """Return the watch with this span added to the sums: of blocks and of doubts rising, and of non-allows falling.

    What one account may weigh in a window, all of it blocked, is no evidence: by night it would double few blocks.
    """
    baseline, span = seen.baseline, seen.span
    if baseline is None:
        return watch._replace(block_shift=0.0, allow_shift=0.0, doubt_shift=0.0)
    factor = limits.shift_factor(baseline)
    enough, correlation = limits.shift_evidence, baseline.correlation
    stopped, answered = baseline.answered - baseline.allow, baseline.answered
    usual_blocks = at_level(usual_share(baseline.block, answered), baseline.block_level)
    usual_stops = at_level(usual_share(stopped, answered), baseline.stop_level)
    most_blocks = at_level(likely_range(baseline.block, answered)[1], baseline.block_level)
    least_stops = at_level(likely_range(stopped, answered)[0], baseline.stop_level)
    slack = SLACK if baseline.is_seasonal else 1.0
    account = limits.account_share(seen.window.answered, span.answered)
    blocks_as_usual, blocks_sought = rise(usual_blocks, most_blocks, factor, slack, account)
    stops_as_usual, stops_sought = fall(usual_stops, least_stops, factor, slack)
    blocks, stops = span.block, span.answered - span.allow
    added = evidence(blocks, span.answered, blocks_as_usual, blocks_sought, correlation)
    stops_added = evidence(stops, span.answered, stops_as_usual, stops_sought, correlation)
    return watch._replace(
        block_shift=float(cusum(watch.block_shift, added, enough)),
        allow_shift=float(cusum(watch.allow_shift, stops_added, enough)),
        doubt_shift=_doubts_cumulated(seen, watch.doubt_shift, limits),
    )


def _doubts_cumulated(seen: Observation, cumulated: float, limits: Limits) -> float:
    """Return the sum of a rise of what the model escalates by itself; 0 where what is usual of it isn't known."""
    usual = None if seen.baseline is None else seen.baseline.doubts
    if usual is None:
        return 0.0
    span, factor = seen.span, limits.shift_factor(usual)
    share = at_level(usual_share(usual.counted, usual.answered), usual.level)
    most = at_level(likely_range(usual.counted, usual.answered)[1], usual.level)
    account = limits.account_share(seen.window.doubt_known, span.doubt_known)
    as_usual, sought = rise(share, most, factor, SLACK if usual.is_seasonal else 1.0, account)
    added = evidence(span.doubt, span.doubt_known, as_usual, sought, usual.correlation)
    return float(cusum(cumulated, added, limits.shift_evidence))


def model_drift(seen: Observation, limits: Limits) -> Finding:
    settings, baseline, total = limits.settings, seen.drift_baseline, seen.window.answered
    if baseline is None or baseline.score_sigma_ppm is None or total < limits.minimum_sample:
        return None
    mean_ppm, sigma_ppm = score_mean_ppm(seen.window), baseline.score_sigma_ppm
    difference_ppm = abs(mean_ppm - baseline.score_mean_ppm)
    if difference_ppm < settings.model_drift_sigma * sigma_ppm:
        return Calm(Condition.MODEL_DRIFT)
    sigmas = difference_ppm / sigma_ppm if sigma_ppm else SIGMAS_MAX
    evidence = (
        f"the model's mean fraud probability over {total:,} payments in {settings.window_s} s is "
        f"{mean_ppm / 10_000:.2f} %, {sigmas:.1f} σ from the "
        f"{baseline.score_mean_ppm / 10_000:.2f} % usual at this hour; the limit is {settings.model_drift_sigma} σ"
    )
    mean_square_ppm2 = seen.window.score_square_sum_ppm / total * 1_000_000
    z = abs(float(drift_z(mean_ppm, mean_square_ppm2, total, baseline.score_mean_ppm, sigma_ppm)))
    if z < limits.z:
        return Calm(Condition.MODEL_DRIFT, f"{evidence}, but chance may do as much: z is {z:.1f} of {limits.z:.1f}")
    excess = sigmas - settings.model_drift_sigma
    return Trip(Condition.MODEL_DRIFT, sigmas, settings.model_drift_sigma, excess, "sigma", 0, total, evidence, False)


SIGMAS_MAX: Final = 1000.0
"""Stands for a distance in σ where hourly means never strayed at all."""
