"""What a person may set about the watch over inputs and scores: the `[drift]` table of the policy file.

A policy without the table is of before there was one; then the defaults below hold.
"""

from __future__ import annotations

import tomllib
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class DriftSettings:
    """Settings in whole numbers. A value out of range raises pydantic's ValidationError, which is a ValueError."""

    stability_limit_milli: Annotated[int, Field(strict=True, ge=50, le=1000)] = 200
    """Population stability index, in thousandths, that is drift; beside what chance makes at the sample."""
    minimum_sample: Annotated[int, Field(strict=True, ge=100, le=10_000_000)] = 1_000
    """Payments below which a day says nothing."""
    year_risk_percent: Annotated[int, Field(strict=True, ge=1, le=20)] = 1
    """Chance that a year in which nothing drifts has a false alert, over all features and days together."""


def drift_settings_of(policy: bytes) -> DriftSettings:
    """Return the [drift] table of a policy file, whatever its other tables say; defaults where it has none.

    Raises ValueError.
    """
    try:
        table = tomllib.loads(policy.decode("utf-8")).get("drift", {})
    except RecursionError as error:
        raise ValueError("its tables are nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError("drift is no table")
    return DriftSettings(**table)
