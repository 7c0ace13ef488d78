"""The clock, for callers that hand the time to code that reasons."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000
