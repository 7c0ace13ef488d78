"""The stop rule: trips at once, differences only where chance would not make them, and nothing unknown a step on."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.rollout.limits import HOUR_MS
from pipeline.promotion.stop_rule import Arm, Progress, Trip, step_reasons, stop_reasons
from tests.promotion.given import LIMITS, NOW_MS

SOUND = Progress(10_000, NOW_MS - 25 * HOUR_MS, Arm(2_000, 100), Arm(100_000, 5_000), ())


def with_arms(candidate: Arm, champion: Arm) -> Progress:
    return SOUND._replace(candidate=candidate, champion=champion)


def test_what_does_as_the_champion_may_step_on() -> None:
    assert stop_reasons(SOUND, LIMITS) == []
    assert step_reasons(SOUND, LIMITS, NOW_MS) == []


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (
            SOUND._replace(trips=[Trip("model:m2", "TRIP", "it blocks too many", NOW_MS)]),
            "took model:m2 out of the loop",
        ),
        (with_arms(Arm(2_000, 400), Arm(100_000, 5_000)), "points more payments"),
        (with_arms(Arm(2_000, 0), Arm(100_000, 15_000)), "points fewer payments"),
        (with_arms(Arm(2_000, 100, 200, 20), Arm(100_000, 5_000, 2_000, 1_600)), "points less of the fraud"),
    ],
)
def test_each_condition_stops_it(progress: Progress, said: str) -> None:
    [text] = stop_reasons(progress, LIMITS)
    assert said in text
    assert text in step_reasons(progress, LIMITS, NOW_MS)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (SOUND._replace(since_ms=NOW_MS - 23 * HOUR_MS), "for 23 hours, and must for 24"),
        (with_arms(Arm(999, 50), SOUND.champion), "It answered 999 payments since, and must 1,000"),
        (with_arms(SOUND.candidate, Arm(999, 50)), "The champion beside it answered 999"),
        (with_arms(Arm(1_000, 101), SOUND.champion), "differs by 5.1 points"),
        (with_arms(Arm(), Arm()), "It answered 0 payments since"),
    ],
)
def test_what_is_not_known_yet_is_no_step(progress: Progress, said: str) -> None:
    assert stop_reasons(progress, LIMITS) == []
    assert any(said in text for text in step_reasons(progress, LIMITS, NOW_MS))


def test_more_fraud_found_never_stops_it() -> None:
    assert stop_reasons(with_arms(Arm(2_000, 100, 500, 500), Arm(100_000, 5_000, 500, 0)), LIMITS) == []


@given(st.integers(0, 3_000), st.integers(0, 3_000), st.integers(0, 500))
def test_a_larger_difference_is_never_less_of_a_reason(payments: int, stopped: int, more: int) -> None:
    stopped = min(stopped, payments)
    less, worse = Arm(payments + more, stopped), Arm(payments + more, stopped + more)
    above = [text for text in stop_reasons(with_arms(less, SOUND.champion), LIMITS) if "more payments" in text]
    if above:
        assert any("more payments" in text for text in stop_reasons(with_arms(worse, SOUND.champion), LIMITS))


def test_of_a_hundred_candidates_that_are_as_good_none_is_stopped_though_one_looks_at_each_payment() -> None:
    """At 99 % one of a hundred may be; these differ by nothing, and five points are allowed."""
    pick = Random(15)
    for _ in range(100):
        stopped = others = 0
        for number in range(1, 401):
            stopped += pick.random() < 0.05
            others += sum(pick.random() < 0.05 for _ in range(3))
            if number % 20 == 0:
                assert stop_reasons(with_arms(Arm(number, stopped), Arm(3 * number, others)), LIMITS) == []
