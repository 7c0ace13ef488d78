"""Whether a scope's detectors can judge it at all. A watch that is blind says nothing, just like one that is content.

Errors and slowness of all traffic, and rates and drift of a version and of a part, are looked at. Drift has a time of
its own, as its yardstick takes days; where the rates can't be judged, what tells of them tells of drift, too.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL, is_part
from pipeline.breaker.detecting.baselines import DAY_MS, HOUR_MS
from pipeline.breaker.detecting.conditions import Limits, Observation
from pipeline.breaker.settings import Condition

UNKNOWN_AFTER_MS: Final = 6 * HOUR_MS
"""For full windows that nothing known measures: a new deployment has enough within an hour or two."""
QUIET_AFTER_MS: Final = DAY_MS
"""Windows with payments, but never enough to judge: nights are quiet, whole days aren't."""
_RATES: Final = frozenset({Condition.BLOCK_RATE_SPIKE, Condition.ALLOW_RATE_SPIKE, Condition.ESCALATE_RATE_SPIKE})
_SERVICE: Final = frozenset({Condition.ERROR_RATE, Condition.LATENCY_P99})
_DRIFT: Final = frozenset({Condition.MODEL_DRIFT})


class Blindness(NamedTuple):
    """A scope that nothing has judged since then, though it has payments. what: of it can't be judged, in words."""

    scope: str
    since_ms: int
    told_from_ms: int
    why: str
    what: str = ""


def blind_since_ms(
    scope: str, seen: Observation, judged: Set[Condition], before_ms: int, now_ms: int, limits: Limits
) -> int:
    """Return since when a scope can't be judged; 0 where it can.

    before_ms: what the evaluation before found. A scope without payments, and a part with few, show nothing either way.
    """
    return _since_ms(scope, seen, judged >= (_SERVICE if scope == ALL else _RATES), before_ms, now_ms, limits)


def drift_blind_since_ms(
    scope: str, seen: Observation, judged: Set[Condition], before_ms: int, now_ms: int, limits: Limits
) -> int:
    """Return the same of the drift of a version or a part; all traffic isn't judged on it."""
    return _since_ms(scope, seen, scope == ALL or judged >= _DRIFT, before_ms, now_ms, limits)


def blindness(scope: str, since_ms: int, seen: Observation, now_ms: int, limits: Limits) -> Blindness | None:
    """Return what is to be told of a scope that can't be judged since then, or None where it is too early."""
    is_full = scope != ALL and _is_full(seen, limits)
    told_from_ms = since_ms + (UNKNOWN_AFTER_MS if is_full else QUIET_AFTER_MS)
    if not since_ms or now_ms < told_from_ms:
        return None
    return Blindness(scope, since_ms, told_from_ms, _why(is_full=is_full))


def drift_blindness(scope: str, since_ms: int, seen: Observation, now_ms: int, limits: Limits) -> Blindness | None:
    """Return what is to be told of a scope whose drift can't be judged since then, or None where it is too early.

    A yardstick takes `baseline_days_minimum` days at each hour, so it is too early until a day after that.
    """
    told_from_ms = since_ms + (limits.settings.baseline_days_minimum + 1) * DAY_MS
    if not since_ms or now_ms < told_from_ms:
        return None
    return Blindness(scope, since_ms, told_from_ms, _why(is_full=_is_full(seen, limits)), "drift")


def _since_ms(scope: str, seen: Observation, is_judged: bool, before_ms: int, now_ms: int, limits: Limits) -> int:
    if is_judged:
        return 0
    if not seen.window.handled or (is_part(scope) and not _is_full(seen, limits)):
        return before_ms
    return before_ms or now_ms


def _why(*, is_full: bool) -> str:
    return "nothing is known of what is usual" if is_full else "there are too few payments in any window"


def _is_full(seen: Observation, limits: Limits) -> bool:
    return seen.window.answered >= limits.minimum_sample
