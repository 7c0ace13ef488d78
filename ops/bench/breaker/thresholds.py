"""Each of the conditions alone: it holds at its stated limit, and not one step below.

The limits are those of the shipped policy, by the breaker's own code. Significance is asked for at z = 1, as otherwise
no drift of 2 σ would be significant; that the shipped z then warns and doesn't trip is a case of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ops.bench.breaker.cases import NEW, Case, shipped
from pipeline.breaker import BreakerSettings, Condition, Observation, Watch, judge
from pipeline.breaker.answer_counts import ALL, LATENCY_BOUNDS_MS, Counts
from pipeline.breaker.detecting.baselines import Baseline, Usual

SAMPLE: Final = 10_000
USUAL: Final = Baseline(
    100_000, 55_000, 40_000, 0.0, 20_000.0, 5_000.0, True, doubts=Usual(3_000, 100_000, 0.0, is_seasonal=True)
)
"""The model allows 55 of a hundred payments, blocks 40, and escalates 3 by itself; hourly mean scores stray by 0.5
points about 2."""
CALM: Final = Counts()


def error_rate() -> Case:
    settings = shipped()
    at = SAMPLE * settings.error_rate_percent // 100

    def seen(errors: int) -> Observation:
        counts = _answers(SAMPLE - errors)._replace(errors=errors)
        return Observation(counts, counts, counts, None, None)

    return _case(ALL, Condition.ERROR_RATE, seen, at, "failures")


def latency_p99() -> Case:
    within = LATENCY_BOUNDS_MS.index(shipped().latency_p99_ms)

    def seen(slow: int) -> Observation:
        buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        buckets[within], buckets[within + 1] = SAMPLE - slow, slow
        counts = _answers(SAMPLE)._replace(latency=tuple(buckets))
        return Observation(counts, counts, counts, None, None)

    return _case(ALL, Condition.LATENCY_P99, seen, SAMPLE // 100, "slow payments")


def block_rate() -> Case:
    at = SAMPLE * (40 + shipped().block_rate_spike_points) // 100
    return _case(NEW, Condition.BLOCK_RATE_SPIKE, lambda block: _rates(block, 500), at, "blocks")


def allow_rate() -> Case:
    at = SAMPLE * (55 + shipped().allow_rate_spike_points) // 100
    return _case(NEW, Condition.ALLOW_RATE_SPIKE, lambda allow: _rates(1_000, SAMPLE - 1_000 - allow), at, "allows")


def escalate_rate() -> Case:
    at = SAMPLE * (3 + shipped().escalate_rate_spike_points) // 100

    def seen(doubt: int) -> Observation:
        window = _answers(SAMPLE, 4_000, doubt)._replace(doubt=doubt, doubt_known=SAMPLE)
        return Observation(window, CALM, CALM, USUAL, None)

    return _case(NEW, Condition.ESCALATE_RATE_SPIKE, seen, at, "escalations of the model's own")


def model_drift() -> Case:
    at = shipped().model_drift_sigma * 5_000
    return _case(NEW, Condition.MODEL_DRIFT, _strayed, at, "millionths of the score above usual in the mean")


def two_sigma() -> Case:
    """Two σ that chance may make: a warning, and no trip."""
    settings = shipped()
    judgement = judge(NEW, _strayed(settings.model_drift_sigma * 5_000), Watch(), settings)
    warned = judgement.warnings[0] if judgement.warnings else "nothing is said"
    return Case(not judgement.trips and len(judgement.warnings) == 1, warned)


def _case(scope: str, condition: Condition, seen: Callable[[int], Observation], at: int, unit: str) -> Case:
    settings = replace(shipped(), significance_z=1)
    found = {count: _held(scope, seen(count), settings) for count in (at - 1, at)}
    holds = found == {at - 1: [], at: [condition]}
    told = {count: ", ".join(held) or "nothing" for count, held in found.items()}
    return Case(holds, f"{at:,} {unit}, of {SAMPLE:,} payments: {told[at]}; {at - 1:,}: {told[at - 1]}")


def _held(scope: str, seen: Observation, settings: BreakerSettings) -> list[Condition]:
    return [trip.condition for trip in judge(scope, seen, Watch(), settings).trips]


def _answers(total: int, block: int = 0, escalate: int = 0) -> Counts:
    return Counts(total - block - escalate, block, escalate, 0, 20_000 * total, 10_400 * total)


def _rates(block: int, escalate: int) -> Observation:
    """Return a window with these answers; its span holds nothing for a cumulative sum."""
    window = _answers(SAMPLE, block, escalate)
    return Observation(window, CALM, CALM, USUAL, None)


def _strayed(ppm: int) -> Observation:
    window = _answers(SAMPLE, 4_000, 500)
    window = window._replace(score_sum_ppm=(20_000 + ppm) * SAMPLE)
    return Observation(window, CALM, CALM, USUAL, USUAL)


CONDITIONS: Final[dict[str, Callable[[], Case]]] = {
    "error rate alone": error_rate,
    "latency alone": latency_p99,
    "block rate alone": block_rate,
    "allow rate alone": allow_rate,
    "drift alone": model_drift,
    "escalate rate alone": escalate_rate,
    "two sigma warn": two_sigma,
}
