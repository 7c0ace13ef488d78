"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(at_ms: int) -> str:
    """ISO 8601 to the millisecond, such as 2025-11-25T12:00:00.000Z; `at_ms` counts from 1970-01-01T00:00:00Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
