"""The numbered invariants of models.train.settled: what may teach, and by what was known when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.train.history import Examples, HistoryRefused
from models.train.settled import DAY_MS, UNLABELLED, WEIGHT_MAX, Truth, final, in_order, known_at, settled
from models.train.train import history_of_file
from pipeline.domain.features import COLUMN, FEATURES, NONE, UNKNOWN
from pipeline.publish.payment_files import NO_MAP
from tests.models.train.histories import A_DAY, DAY_S, rows, written

DELAY_MS = 7 * DAY_MS
DAYS = 40


def examples(count: int = DAYS) -> Examples:
    """Return a payment a day."""
    times_ms = np.arange(count, dtype=np.int64) * DAY_MS
    features = np.tile(np.arange(count, dtype=np.int64)[:, np.newaxis], (1, len(FEATURES)))
    return Examples(features, np.zeros(count, dtype=np.bool_), times_ms, np.arange(count, dtype=np.int64))


def truth(
    labels: dict[int, tuple[bool, int]],
    stopped: tuple[int, ...] = (),
    probability_ppm: dict[int, int] | None = None,
    count: int = DAYS,
) -> Truth:
    found = Truth.of_labels(np.full(count, UNLABELLED, dtype=np.int8), np.zeros(count, dtype=np.int64))
    for day, (fraud, at_day) in labels.items():
        found.label[day], found.labelled_at_ms[day] = fraud, at_day * DAY_MS
    found.stopped[list(stopped)] = True
    for day, ppm in (probability_ppm or {}).items():
        found.probability_ppm[day] = ppm
    return found


def days(history: object) -> list[int]:
    return [int(ms) // DAY_MS for ms in history.examples.event_time_ms]  # type: ignore[attr-defined]


def test_1_one_payment_that_is_dated_a_year_ahead_makes_no_file_old(tmp_path: Path) -> None:
    """All that is younger than labels take would be honest, with the frauds among it that nobody has reported yet."""
    lines = rows()
    sound = history_of_file(written(tmp_path / "sound.csv", lines), NO_MAP, DELAY_MS)
    lines[1_000] = (lines[1_000][0], lines[1_000][1] + 365 * DAY_S, *lines[1_000][2:])
    slipped = history_of_file(written(tmp_path / "slipped.csv", lines), NO_MAP, DELAY_MS)
    young = [len(lines) - len(each.known_at_ms) for each in (sound, slipped)]
    assert young[0] > 6 * A_DAY
    assert abs(young[0] - young[1]) <= 3


def test_1_the_youngest_teach_nothing_labelled_or_not() -> None:
    history = settled(examples(), truth({39: (True, 39), 2: (True, 5)}), 39 * DAY_MS, DELAY_MS, "A test")
    assert days(history) == list(range(33))
    assert history.labels["left_out_as_young"] == 7
    assert history.examples.fraud.nonzero()[0].tolist() == [2]


def test_2_what_was_stopped_and_is_not_labelled_counts_neither_as_honest_nor_as_fraud() -> None:
    found = truth({3: (True, 5), 4: (False, 6)}, stopped=(3, 4, 5, 6))
    history = settled(examples(), found, 39 * DAY_MS, DELAY_MS, "A test")
    assert {5, 6}.isdisjoint(days(history))
    assert {3, 4} <= set(days(history))
    assert history.examples.fraud[days(history).index(3)]
    assert not history.examples.fraud[days(history).index(4)]
    assert history.labels["left_out_as_stopped_and_unlabelled"] == 2
    assert history.labels["stopped_and_labelled"] == 2


def test_3_what_was_let_through_and_is_old_enough_is_honest() -> None:
    history = settled(examples(), truth({}), 39 * DAY_MS, DELAY_MS, "A test")
    assert not history.examples.fraud.any()
    assert history.weight is None


def test_4_a_label_teaches_from_when_it_was_known() -> None:
    history = settled(examples(), truth({2: (True, 20)}), 39 * DAY_MS, DELAY_MS, "A test")
    before, after = known_at(history, 19 * DAY_MS), known_at(history, 20 * DAY_MS)
    assert not before.examples.fraud.any()
    assert after.examples.fraud.nonzero()[0].tolist() == [2]
    assert days(before)[-1] == 12


@pytest.mark.parametrize("fraud", [True, False])
def test_2_and_4_what_was_stopped_teaches_nothing_at_a_moment_before_its_label(fraud: bool) -> None:
    history = settled(examples(), truth({2: (fraud, 20)}, stopped=(2,)), 39 * DAY_MS, DELAY_MS, "A test")
    assert 2 not in days(known_at(history, 19 * DAY_MS))
    assert 2 in days(known_at(history, 20 * DAY_MS))


def test_a_label_that_comes_after_the_end_is_not_known() -> None:
    history = settled(examples(), truth({2: (True, 50)}), 39 * DAY_MS, DELAY_MS, "A test")
    assert not history.examples.fraud.any()


@given(st.integers(0, 32), st.integers(8, 39), st.integers(8, 39))
def test_4_a_label_that_comes_later_changes_nothing_before_it(day: int, at_day: int, moment_day: int) -> None:
    """Whatever a future label says, what could be taught at an earlier moment is the same."""
    known = settled(examples(), truth({day: (True, at_day)}), 39 * DAY_MS, DELAY_MS, "A test")
    unknown = settled(examples(), truth({}), 39 * DAY_MS, DELAY_MS, "A test")
    if moment_day < at_day:
        with_it, without = known_at(known, moment_day * DAY_MS), known_at(unknown, moment_day * DAY_MS)
        assert with_it.examples.fraud.tolist() == without.examples.fraud.tolist()
        assert days(with_it) == days(without)


def test_a_history_younger_than_its_labels_is_refused() -> None:
    with pytest.raises(HistoryRefused, match="none is known honest"):
        settled(examples(5), truth({}, count=5), 5 * DAY_MS, DELAY_MS, "A test")


def test_a_history_of_stopped_payments_alone_is_refused() -> None:
    with pytest.raises(HistoryRefused, match="all its payments were stopped"):
        settled(examples(), truth({}, stopped=tuple(range(DAYS))), 39 * DAY_MS, DELAY_MS, "A test")


def test_a_known_payment_stands_for_those_of_its_band_that_are_not() -> None:
    """Four of five probable frauds were stopped; the one that was let through counts for all of them."""
    probability = {day: 900_000 if day < 5 else 1_000 for day in range(DAYS)}
    found = truth({0: (True, 3)}, stopped=(1, 2, 3, 4), probability_ppm=probability)
    history = settled(examples(), found, 39 * DAY_MS, DELAY_MS, "A test")
    assert history.weight is not None
    assert history.weight[0] == 5.0
    assert set(history.weight[1:].tolist()) == {1.0}
    assert history.labels["bands"] == [
        {"from_ppm": 800_000, "payments": 5, "known": 1, "unseen": 0, "weight_micro": 5_000_000}
    ]


def test_a_band_of_which_nothing_is_known_is_told_and_gets_no_weight() -> None:
    probability = {day: 900_000 if day < 5 else 1_000 for day in range(DAYS)}
    found = truth({}, stopped=(0, 1, 2, 3, 4), probability_ppm=probability)
    history = settled(examples(), found, 39 * DAY_MS, DELAY_MS, "A test")
    assert history.weight is not None
    assert set(history.weight.tolist()) == {1.0}
    assert history.labels["bands"] == [{"from_ppm": 800_000, "payments": 5, "known": 0, "unseen": 5, "weight_micro": 0}]


def test_no_payment_stands_for_more_than_the_most() -> None:
    found = truth({0: (True, 3)}, stopped=tuple(range(1, 30)))
    history = settled(examples(), found, 39 * DAY_MS, DELAY_MS, "A test")
    assert history.weight is not None
    assert history.weight.max() <= WEIGHT_MAX


def test_a_payment_without_a_probability_is_a_band_of_its_own() -> None:
    probability = {day: NONE if day < 4 else 0 for day in range(DAYS)}
    history = settled(examples(), truth({}, (1,), probability), 39 * DAY_MS, DELAY_MS, "A test")
    assert history.labels["bands"][0]["from_ppm"] == NONE  # type: ignore[index,call-overload]


def test_labels_that_are_all_in_teach_to_the_last_payment() -> None:
    assert days(final(examples(), "A test")) == list(range(DAYS))


def test_4_labels_that_are_all_in_now_were_not_when_a_validation_period_began() -> None:
    history = final(examples()._replace(fraud=np.ones(DAYS, dtype=np.bool_)), "A test", DELAY_MS)
    assert days(history) == list(range(DAYS))
    assert days(known_at(history, 20 * DAY_MS)) == list(range(14))
    assert known_at(history, 20 * DAY_MS).examples.fraud.all()


def test_5_a_payment_of_which_a_feature_is_unknown_teaches_nothing() -> None:
    """A payee of 100,000 payments is one: no model is asked then, and the value is none that tables know."""
    found = examples()
    found.features[3, COLUMN["beneficiary_fraud_run_30d"]] = UNKNOWN
    history = settled(found, truth({3: (True, 5)}), 39 * DAY_MS, DELAY_MS, "A test")
    assert 3 not in days(history)
    assert (history.labels["left_out_as_unknown"], history.labels["left_out_as_young"]) == (1, 7)
    assert 3 not in days(final(found, "A test"))
    found.features[:, COLUMN["amount_gbp_minor"]] = UNKNOWN
    with pytest.raises(HistoryRefused, match="something was not known"):
        settled(found, truth({}), 39 * DAY_MS, DELAY_MS, "A test")


def test_a_late_payment_is_put_where_its_own_time_is() -> None:
    found = examples(4)
    late = found._replace(event_time_ms=found.event_time_ms[[1, 2, 0, 3]])
    ordered = in_order(late)
    assert ordered.event_time_ms.tolist() == found.event_time_ms.tolist()
    assert ordered.number.tolist() == [2, 0, 1, 3]
    assert ordered.features[:, 0].tolist() == [2, 0, 1, 3]
