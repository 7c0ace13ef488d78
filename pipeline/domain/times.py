"""Times as people read them, and times that somebody claims."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

CLAIM_MS_MIN: Final = -62_104_060_800_000
"""0002-01-01: the earliest time that PostgreSQL and Python both hold, with a year to spare for time zones."""
CLAIM_MS_MAX: Final = 253_339_228_799_999
"""The end of 9997, likewise."""


def utc_text(at_ms: int) -> str:
    """ISO 8601 to the millisecond, such as 2025-11-25T12:00:00.000Z; `at_ms` counts from 1970-01-01T00:00:00Z."""
    at = datetime.fromtimestamp(claim_ms(at_ms) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def claim_ms(at_ms: int) -> int:
    """Return a time that was claimed as a column holds it: the nearest that a column can hold."""
    return min(max(at_ms, CLAIM_MS_MIN), CLAIM_MS_MAX)
