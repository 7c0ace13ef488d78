"""What was caught is counted by number and by value, each payment in its week, and nothing before the first."""

from __future__ import annotations

import pytest

from ops.bench.learned.weeks import WEEK_MS, Judged, Weeks
from pipeline.domain.decision import Outcome


def judged(week: int, amount_minor: int, is_fraud: bool, outcome: Outcome) -> Judged:
    return Judged(week * WEEK_MS + 5, amount_minor, is_fraud, {"model": outcome, "nobody": Outcome.ALLOW})


def test_stopped_is_blocked_or_escalated_by_number_and_value() -> None:
    weeks = Weeks(0)
    weeks.add_all(
        [
            judged(0, 30_000, True, Outcome.BLOCK),
            judged(0, 10_000, True, Outcome.ESCALATE),
            judged(0, 60_000, True, Outcome.ALLOW),
            judged(0, 5_000, False, Outcome.ESCALATE),
            judged(0, 5_000, False, Outcome.ALLOW),
        ]
    )
    shown = weeks.whole["model"].shown()
    assert (shown["fraud"], shown["fraud_blocked"], shown["fraud_escalated"]) == (3, 1, 1)
    assert shown["fraud_caught_ppm"] == 666_666
    assert shown["fraud_caught_value_ppm"] == 400_000
    assert (shown["fraud_gbp"], shown["fraud_caught_gbp"]) == (1_000, 400)
    assert (shown["honest"], shown["honest_stopped_ppm"], shown["honest_stopped_gbp"]) == (2, 500_000, 50)
    assert weeks.whole["nobody"].shown()["fraud_caught_ppm"] == 0


def test_each_payment_counts_in_its_week() -> None:
    weeks = Weeks(0)
    weeks.add_all([judged(0, 1, True, Outcome.BLOCK), judged(2, 1, False, Outcome.BLOCK)])
    shown = weeks.shown()["model"]
    assert isinstance(shown, dict)
    assert [(each["fraud"], each["honest"]) for each in shown["weeks"]] == [(1, 0), (0, 1)]
    assert shown["all"]["fraud"] == 1


def test_a_payment_that_was_learned_from_is_never_judged() -> None:
    with pytest.raises(AssertionError):
        Weeks(WEEK_MS).add_all([judged(0, 1, True, Outcome.BLOCK)])
