"""The conditions that trip the breaker, and what a person may set about it: the `[breaker]` table of the policy file.

A condition holds as soon as its limit is reached; it need not be exceeded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pipeline.breaker.answer_counts import LATENCY_BOUNDS_MS, SCOPE_BYTES_MAX, segment_scope

POLICY_BYTES_MAX: Final = 256 * 1024
"""Largest policy file; the shipped one takes 14 KB."""
SEGMENTS_MAX: Final = 256
"""Most values of segments that may be declared. Each takes about 1 KB of Redis in every stored reading, of which 160
are kept, and is one more chance for chance (conditions)."""

Points = Annotated[int, Field(strict=True, ge=1, le=100)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]
Sample = Annotated[int, Field(strict=True, ge=20, le=1_000_000)]
"""Below 20 answers a share has no meaning: one more block moves it by 5 points."""
Share = Annotated[int, Field(strict=True, ge=1, le=50)]


class Condition(StrEnum):
    """The conditions that trip the breaker, in the order in which causes name them."""

    ERROR_RATE = "ERROR_RATE"
    LATENCY_P99 = "LATENCY_P99"
    BLOCK_RATE_SPIKE = "BLOCK_RATE_SPIKE"
    ALLOW_RATE_SPIKE = "ALLOW_RATE_SPIKE"
    MODEL_DRIFT = "MODEL_DRIFT"
    ESCALATE_RATE_SPIKE = "ESCALATE_RATE_SPIKE"


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BreakerSettings:
    """Settings in whole numbers.

    A value out of range, or a contradiction, raises pydantic's ValidationError, which is a ValueError.
    """

    block_rate_spike_points: Points
    allow_rate_spike_points: Points
    window_s: Annotated[int, Field(strict=True, ge=5, le=3600)]
    """Window over which the rates of outcomes and the mean score are taken."""
    latency_p99_ms: Annotated[int, Field(strict=True)]
    """One of LATENCY_BOUNDS_MS, so that the histogram answers exactly."""
    error_rate_percent: Points
    error_window_s: Annotated[int, Field(strict=True, ge=1, le=600)]
    """Window over which errors and latency are taken."""
    error_minimum_count: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    """Least number of payments that must have failed, or been slow, before their share is judged."""
    model_drift_sigma: Annotated[int, Field(strict=True, ge=1, le=20)]
    """Limit of drift in standard deviations of hourly mean scores over 7 days."""

    account_window_max: Annotated[int, Field(strict=True, ge=1, le=100)]
    """Most payments of one account that count in any window; the others of it are decided, but say nothing here."""
    minimum_sample: Sample
    segment_minimum_sample: Sample
    """Least sample of one segment or channel, which has less traffic than the whole."""
    significance_z: Annotated[int, Field(strict=True, ge=1, le=20)]
    confirmations: Annotated[int, Field(strict=True, ge=1, le=10)]
    """Number of evaluations running in which a condition must hold before it trips."""
    evaluation_interval_s: Annotated[int, Field(strict=True, ge=1, le=300)]
    shift_percent: Annotated[int, Field(strict=True, ge=20, le=1000)]
    """Size of the shift that the cumulative sum looks for: 100 is a doubling of blocks, or a halving of non-allows."""
    shift_evidence: Annotated[int, Field(strict=True, ge=5, le=100)]
    """The log-likelihood ratio, in nats, at which that shift is believed."""
    baseline_days_minimum: Annotated[int, Field(strict=True, ge=2, le=7)]
    """Least number of days with a clean hour at this time of day that make a seasonal baseline."""

    open_period_s: Seconds
    open_period_max_s: Seconds
    """Longest open period. The period doubles each time that the model is still wrong at its end."""
    state_lost_open_s: Seconds
    half_open_s: Seconds
    """Least time on probation at each share."""
    half_open_shares_percent: tuple[Share, ...]
    """Shares of the payments that the model answers on probation, one after the other, growing."""
    half_open_risk_percent: Annotated[int, Field(strict=True, ge=1, le=20)]
    """The risk of the sequential test, either way: that a model as usual fails at a share, that a wrong one passes."""
    half_open_minimum_sample: Sample
    segments: Mapping[str, tuple[str, ...]]
    """The values of each segment that are counted on their own; all others are counted together."""
    escalate_rate_spike_points: Points = 15
    """Of what the model escalates by itself. Policies of before it was counted don't say, and get the default."""

    def __post_init__(self) -> None:
        if self.latency_p99_ms not in LATENCY_BOUNDS_MS:
            bounds = ", ".join(map(str, LATENCY_BOUNDS_MS))
            raise ValueError(f"latency_p99_ms must be one of {bounds}")
        if self.evaluation_interval_s > self.error_window_s:
            raise ValueError("evaluation_interval_s is above error_window_s, so some errors would never be judged")
        if self.error_window_s > self.window_s:
            raise ValueError("error_window_s is above window_s")
        if self.open_period_s < self.window_s:
            raise ValueError("open_period_s is below window_s, so what tripped would still be in the window at its end")
        if self.open_period_max_s < self.open_period_s:
            raise ValueError("open_period_max_s is below open_period_s")
        if self.state_lost_open_s > self.open_period_max_s:
            raise ValueError("state_lost_open_s is above open_period_max_s")
        if self.segment_minimum_sample > self.minimum_sample:
            raise ValueError("segment_minimum_sample is above minimum_sample")
        shares = self.half_open_shares_percent
        if not shares or list(shares) != sorted(set(shares)):
            raise ValueError("half_open_shares_percent must be shares that grow, and at least one")
        self._require_sound_segments()

    def _require_sound_segments(self) -> None:
        declared = [segment_scope(name, value) for name, values in self.segments.items() for value in values]
        if len(declared) > SEGMENTS_MAX:
            raise ValueError(f"segments declares {len(declared)} values, and {SEGMENTS_MAX} can be watched")
        if len(set(declared)) < len(declared):
            raise ValueError("segments declares a value twice")
        for scope in declared:
            name, _, value = scope.removeprefix("segment:").partition("=")
            if not name or not value or len(scope.encode()) > SCOPE_BYTES_MAX:
                raise ValueError(f"segments can't declare '{name}' = '{value}'")

    def declares(self, name: str, value: str) -> bool:
        return value in self.segments.get(name, ())

    def next_share(self, share_percent: int) -> int | None:
        """Return the share that follows on one, or on none (0); None after the last."""
        return next((share for share in self.half_open_shares_percent if share > share_percent), None)


def breaker_settings_of(policy: bytes) -> BreakerSettings:
    """The [breaker] table of a policy file, whatever its other tables say: the kill switch must work while a worker
    refuses the file for something else. Raises ValueError.
    """
    try:
        table = tomllib.loads(policy.decode("utf-8")).get("breaker")
    except RecursionError as error:
        raise ValueError("its tables are nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError("it has none")
    return BreakerSettings(**table)
