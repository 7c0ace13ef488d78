"""What a person may set about the watch over segments: the `[bias]` table of the policy file.

A policy without the table is of before there was one; then the strict defaults below hold.
"""

from __future__ import annotations

import tomllib
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BiasSettings:
    """Settings in whole numbers. A value out of range raises pydantic's ValidationError, which is a ValueError."""

    ratio_floor_percent: Annotated[int, Field(strict=True, ge=50, le=99)] = 80
    """Least ratio of the rest's rate to the segment's, of stops and of false positives: the four-fifths rule."""
    year_risk_percent: Annotated[int, Field(strict=True, ge=1, le=20)] = 1
    """Chance that a year without any gap has a false alert, over all segments, measures and looks together."""
    minimum_sample: Annotated[int, Field(strict=True, ge=20, le=1_000_000)] = 500
    """Payments of a segment below which no verdict is given."""
    reference_days: Annotated[int, Field(strict=True, ge=1, le=90)] = 28
    """Days from which it is known how a segment usually compares with the rest."""
    gap_seen_percent: Annotated[int, Field(strict=True, ge=10, le=1000)] = 100
    """Relative gap that must have been visible before a segment is said to have none; else it is not enough data."""


def bias_settings_of(policy: bytes) -> BiasSettings:
    """Return the [bias] table of a policy file, whatever its other tables say; defaults where it has none.

    Raises ValueError.
    """
    try:
        table = tomllib.loads(policy.decode("utf-8")).get("bias", {})
    except RecursionError as error:
        raise ValueError("its tables are nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError("bias is no table")
    return BiasSettings(**table)
