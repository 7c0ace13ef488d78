"""A watch that is blind on drift, and says so, though it sees rates."""

from __future__ import annotations

import pytest

from pipeline.breaker import BreakerRecord, ScopeReading, Watch, advance
from pipeline.breaker.alerts import unwatched_alert
from pipeline.breaker.answer_counts import ALL
from pipeline.breaker.detecting.blindness import Blindness
from tests.breaker.given import START_MS, answers, baseline, record, settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RULES = settings(baseline_days_minimum=3)
FULL, FEW = answers(5_000, 100, 5), answers(20)
TRAILING = baseline(100_000, 97_000, 2_000, is_seasonal=False, score_sigma_ppm=None)
SEASONAL = baseline(100_000, 97_000, 2_000)
UNSEEN = Watch()


def blind_after(hours: int, scope: str = "model:m1", counts=FULL, at: int = 0, watch: Watch = UNSEEN, **read):
    """Return what is told after so many hours of evaluations with the same readings, and the watch."""
    known = {"seasonal": None, "seasonal_everywhere": None, "trailing": TRAILING, **read}
    reading = ScopeReading(counts, counts, answers(0), **known)
    judged: BreakerRecord = record(scope=scope)
    blind: Blindness | None = None
    for hour in range(at, at + hours + 1):
        advanced = advance(judged, watch, reading, START_MS + hour * HOUR_MS, RULES)
        assert advanced.transition is None
        watch, blind = advanced.watch, advanced.blind
    return blind, watch


@pytest.mark.parametrize("scope", ["model:m1", "segment:age_band=18-25", "channel:CARD"])
def test_drift_without_a_yardstick_is_told_a_day_after_it_could_have_one(scope: str) -> None:
    assert blind_after(95, scope)[0] is None
    found, _ = blind_after(96, scope)
    assert found is not None
    told = unwatched_alert(found)
    assert (told.code, told.evidence["what"], told.scope) == ("MODEL_UNWATCHED", "drift", scope)
    assert f"the drift of {scope}" in told.summary
    assert unwatched_alert(blind_after(99, scope)[0]).alert_id == told.alert_id


def test_drift_that_is_judged_is_not_told_of() -> None:
    assert blind_after(400, seasonal=SEASONAL) == (None, Watch(streaks=(0,) * len(Watch().streaks)))
    assert blind_after(400, scope=ALL)[1].drift_blind_since_ms == 0, "all traffic isn't judged on it"


def test_one_judgement_of_drift_begins_the_time_anew() -> None:
    _, watch = blind_after(90)
    _, watch = blind_after(0, at=91, watch=watch, seasonal=SEASONAL)
    assert blind_after(95, at=92, watch=watch)[0] is None
    assert blind_after(96, at=92, watch=watch)[0] is not None


def test_rates_that_cannot_be_judged_are_told_of_alone() -> None:
    found, _ = blind_after(200, trailing=None)
    assert found is not None
    assert found.what == ""
    assert "what" not in unwatched_alert(found).evidence


def test_a_part_with_few_payments_says_nothing_either_way() -> None:
    assert blind_after(400, "segment:age_band=18-25", FEW)[0] is None
    assert blind_after(0, "segment:age_band=18-25", FULL)[1].drift_blind_since_ms == START_MS
