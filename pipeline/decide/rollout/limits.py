"""The `[promotion]` table of the policy: what a model must have shown before it decides, and how it takes over.

A policy without it refuses every promotion: nothing is taken for granted that nobody has set.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

SHARE_PERCENT_ALL: Final = 100
PPM_A_PERCENT: Final = 10_000
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
Days = Annotated[int, Field(strict=True, ge=1, le=366)]
Percent = Annotated[int, Field(strict=True, ge=50, le=100)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]


class RedTeamLimits(BaseModel):
    """How hard a red team tries, and how far its findings may rise above the champion's. Meanings: docs/models.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: Annotated[int, Field(strict=True, ge=4, le=10_000)]
    trials: Annotated[int, Field(strict=True, ge=3, le=1_000)]
    rise_points: Annotated[int, Field(strict=True, ge=1, le=50)]
    """How many points of a hundred more of an attack's trials may evade the version, be it chance or not."""
    rise_percent: Annotated[int, Field(strict=True, ge=1, le=100)]
    """How much more money may get through."""
    rise_gbp_minor: Annotated[int, Field(strict=True, ge=0, le=10**9)]
    """A rise of less than this a trial is none, whatever it is in percent of next to nothing."""
    chance_percent: Annotated[int, Field(strict=True, ge=1, le=20)]
    """The chance that any attack of a version that is as strong is reported."""


class Promotion(BaseModel):
    """Limits of the gate, and of each step of a rollout. Meanings: docs/models.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shadow_days: Days
    shadow_payments: Count
    agreement_percent: Percent
    agreement_stopped_percent: Percent
    """Of the payments that the champion doesn't ALLOW: few, so the agreement over all hides them."""
    review_all_from_gbp_minor: Annotated[int, Field(strict=True, ge=0, le=10**12)]
    review_each_stratum: Count
    """Of the other disagreements, so many of each stratum are reviewed, or all that there are."""
    challenger_right_percent: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """The challenger must be right in so many of the disagreements that were reviewed.

    None where nobody set it: then no review speaks for a version.
    """
    evidence_days: Days
    approval_days: Days
    shares_percent: Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=100)], ...], Field(max_length=20)]
    share_hours: Annotated[int, Field(strict=True, ge=1, le=24 * 366)]
    share_payments: Count
    stop_outcome_points: Annotated[int, Field(strict=True, ge=1, le=50)]
    """How many points of a hundred the candidate may stop more payments, or fewer, than the champion beside it."""
    stop_fraud_points: Annotated[int, Field(strict=True, ge=1, le=50)]
    """How many points of a hundred less of the labelled fraud it may stop."""
    stop_confidence_percent: Annotated[int, Field(strict=True, ge=80, le=99)]
    """Of the intervals that say so, at all times together."""
    failed_runs: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    """So many runs of a check may have failed before one passed, each answered for by the three who approve.

    A policy that doesn't say lets none fail.
    """
    red_team: RedTeamLimits | None = None
    """None where nobody set them: then no evidence of a red team passes."""

    @field_validator("shares_percent")
    @classmethod
    def _rise_to_all(cls, shares: tuple[int, ...]) -> tuple[int, ...]:
        if not shares or shares[-1] != SHARE_PERCENT_ALL or any(b <= a for a, b in itertools.pairwise(shares)):
            raise ValueError("the shares must rise, and end with 100")
        return shares

    @property
    def shares_ppm(self) -> tuple[int, ...]:
        return tuple(share * PPM_A_PERCENT for share in self.shares_percent)
