"""The demonstration's days pass in seconds, so nights come and go within a few windows of its breaker.

The good model stays in the loop through them, and the wrong one doesn't.
"""

from __future__ import annotations

import pytest

from ops.demo.scene import BLOCKED_TOO_MUCH_PERCENT, WAVES_EVIDENCE, WINDOW_S, short_windows, with_short_windows
from pipeline.breaker import BreakerSettings
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.detecting.baselines import Baseline
from pipeline.breaker.detecting.conditions import Limits, Observation, Watch, model_findings, shifts_cumulated
from pipeline.breaker.settings import Condition
from pipeline.decide.policy import parse_policy
from pipeline.io.settings import Settings

RATE = 200
DAY_S = 20
USUAL = Baseline(3_000, 2_890, 45, 0.0, 0.0, None, is_seasonal=False)
"""Nights and days together, as in a run: 96.3 % allowed."""
SHIPPED_EVIDENCE = 9


def breaker(evidence: int) -> BreakerSettings:
    text = Settings.model_construct().policy_path.read_text(encoding="utf-8")
    windows = {**short_windows(RATE), "shift_evidence": evidence}
    return parse_policy(with_short_windows(text, windows, "demo").encode()).breaker


def tripping(settings: BreakerSettings, blocked_percent: float, stopped_percent: float, seconds: int) -> set[Condition]:
    """Return what would trip a version within so many evaluations, a second each."""
    limits, watch, found = Limits(settings, 1), Watch(), set()
    for _ in range(seconds):
        span = answers(RATE, blocked_percent, stopped_percent)
        window = answers(RATE * WINDOW_S, blocked_percent, stopped_percent)
        seen = Observation(window, window, span, USUAL, None)
        watch = shifts_cumulated(seen, watch, limits)
        found |= {each.condition for each in model_findings(seen, watch, limits) if type(each).__name__ == "Trip"}
    return found


def answers(total: int, blocked_percent: float, stopped_percent: float) -> Counts:
    block, stopped = round(total * blocked_percent / 100), round(total * stopped_percent / 100)
    return Counts(allow=total - stopped, block=block, escalate=stopped - block)


@pytest.mark.parametrize(
    ("blocked_percent", "stopped_percent", "seconds"), [(1.0, 1.0, DAY_S), (3.5, 18.5, DAY_S // 3)]
)
def test_a_night_and_the_day_after_it_leave_the_good_model_in_the_loop(
    blocked_percent: float, stopped_percent: float, seconds: int
) -> None:
    assert set() == tripping(breaker(WAVES_EVIDENCE), blocked_percent, stopped_percent, seconds)


def test_a_day_after_a_night_is_a_lasting_shift_for_the_shipped_policy() -> None:
    assert {Condition.ALLOW_RATE_SPIKE} == tripping(breaker(SHIPPED_EVIDENCE), 1.0, 1.0, DAY_S)


def test_the_wrong_model_trips_by_its_share() -> None:
    assert Condition.BLOCK_RATE_SPIKE in tripping(
        breaker(WAVES_EVIDENCE), BLOCKED_TOO_MUCH_PERCENT, BLOCKED_TOO_MUCH_PERCENT, 1
    )
