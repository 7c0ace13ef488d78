"""How long a drill waits for what, and so how much traffic it may need."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ops.drills.pager import Rhythm
from pipeline.breaker.settings import BreakerSettings
from pipeline.drills.drills import DrillName

START_S: Final = 120.0
WARM_WINDOWS: Final = 3
"""Windows of the breaker that pass before the fault: one to fill, and two that are what is usual."""
SHORT_WARM_WINDOWS: Final[Mapping[DrillName, int]] = MappingProxyType({DrillName.ONE_POSTCODE: 12})
"""In short windows a postcode's yardstick of 80 payments would soon be made of the fault itself."""
WELL_S: Final = 60.0
HOLD_S: Final = 2.0
"""Time that a fault stays once all is seen, so that what it does to the contained system shows."""
REST_S: Final = 120.0
SHORT_PATIENCE_S: Final = 90.0
PATIENCE_WINDOWS: Final = 4
"""Windows of the breaker after which a drill in full stops waiting for what should have happened."""


def warm_s(drill: DrillName, breaker: BreakerSettings, *, is_full: bool) -> float:
    windows = WARM_WINDOWS if is_full else SHORT_WARM_WINDOWS.get(drill, WARM_WINDOWS)
    return windows * float(breaker.window_s)


def well_s(breaker: BreakerSettings) -> float:
    """Return for how long all may be not yet well after that."""
    return WELL_S + breaker.window_s


def contained_s(breaker: BreakerSettings, rhythm: Rhythm, *, is_full: bool) -> float:
    """Return for how long the fault may be not yet seen, contained and told."""
    return PATIENCE_WINDOWS * breaker.window_s + 2.0 * rhythm.patience_s if is_full else SHORT_PATIENCE_S


def recovered_s(breaker: BreakerSettings) -> float:
    """Return for how long all may be not yet well again: two open periods, each with its probation."""
    probation_s = breaker.half_open_s * len(breaker.half_open_shares_percent)
    return 2 * (breaker.open_period_s + probation_s) + REST_S


def longest_s(drill: DrillName, breaker: BreakerSettings, rhythm: Rhythm, *, is_full: bool) -> int:
    """Return for how long payments may be needed: without any, nothing shows that all is well again.

    A week of hours, where a drill lays one, costs one more window and another start of the worker.
    """
    waits = (
        2 * START_S,
        warm_s(drill, breaker, is_full=is_full),
        breaker.window_s,
        well_s(breaker),
        contained_s(breaker, rhythm, is_full=is_full),
        HOLD_S,
        recovered_s(breaker),
    )
    return int(sum(waits)) + 1
