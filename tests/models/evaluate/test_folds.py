"""The protocol of the folds, and intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from models.evaluate.__main__ import main
from models.evaluate.folds import (
    CARDS,
    TEST_STARTS,
    VALIDATION_STARTS,
    WEEK,
    average_precisions_resampled,
    card_precisions,
    days_of,
    days_resampled,
    folds,
    what_folds_lack,
)
from models.evaluate.stream import Payments, read
from pipeline.domain.features import COLUMN, FEATURES, NONE, UNKNOWN

COLUMNS = "transaction_id,tx_time_s,customer_id,terminal_id,amount_minor,fraud"
DAY_S = 86_400


def payments(rows: list[tuple[int, int, bool]]) -> Payments:
    """rows: day, account, fraud."""
    day, account, fraud = zip(*rows, strict=True)
    features = np.zeros((len(rows), len(FEATURES)), dtype=np.int64)
    return Payments(features, np.array(fraud), np.array(day), np.array(account))


def test_cards_that_are_known_to_be_compromised_leave_the_judged_week() -> None:
    learned = [(0, 1, True), (6, 2, False)]
    later = [
        (7, 3, True),
        (12, 4, True),
        (14, 1, True),
        (14, 2, True),
        (14, 3, True),
        (14, 4, True),
        (20, 4, True),
        (21, 5, True),
    ]
    ((fold),) = folds(payments([*learned, *later]), (0,))
    assert [(0, 1), (6, 2)] == list(zip(fold.learned.day.tolist(), fold.learned.account.tolist(), strict=True))
    assert [(14, 2), (14, 3), (14, 4)] == list(zip(fold.tested.day.tolist(), fold.tested.account.tolist(), strict=True))


def test_no_day_of_a_validation_fold_that_is_judged_is_one_of_a_test_fold() -> None:
    judged = {start + 2 * WEEK + day for start in VALIDATION_STARTS for day in range(WEEK)}
    assert not judged & {start + 2 * WEEK + day for start in TEST_STARTS for day in range(WEEK)}
    assert judged <= set(days_of(VALIDATION_STARTS))


def test_a_fold_without_payments_or_without_frauds_is_named() -> None:
    honest, fraud = (0, 1, False), (0, 2, True)
    judged_on = [(14, 3, False), (14, 4, True)]
    assert [
        "",
        "the week to learn from of fold 1 has no payment",
        "the week to learn from of fold 1 has no fraud",
        "the week to learn from of fold 1 has only frauds",
        "the week to be judged on of fold 1 has no payment",
        "the week to be judged on of fold 1 has no fraud",
    ] == [
        what_folds_lack(list(folds(payments(rows), (0,))))
        for rows in (
            [honest, fraud, *judged_on],
            judged_on,
            [honest, *judged_on],
            [fraud, *judged_on],
            [honest, fraud],
            [honest, fraud, judged_on[0]],
        )
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1,0,5,9,1000,1", "2,86400,5,9,3000,0"], "days 115 to 156 since the first payment are needed"),
        ([], "it is empty"),
    ],
)
def test_what_cannot_be_measured_on_is_said_in_a_sentence(
    lines: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "payments.csv"
    if lines is not None:
        path.write_text(
            "\n".join(["transaction_id,tx_time_s,customer_id,terminal_id,amount_minor,fraud", *lines]) + "\n"
        )
    monkeypatch.setattr("sys.argv", ["models.evaluate", "handbook", str(path)])
    with pytest.raises(SystemExit, match=said):
        main()


def test_a_card_counts_once_a_day_by_its_highest_score_and_is_not_found_twice() -> None:
    rows = [(0, card, card < 3) for card in range(CARDS + 50)] + [(0, 0, True), (1, 0, True), (1, 200, True)]
    scores = np.array([*[1.0] * 3, *np.linspace(0.9, 0.1, CARDS + 47), 5.0, 9.0, 8.0])
    assert [3 / CARDS, 1 / CARDS] == card_precisions(payments(rows), scores)


def test_without_resampling_the_average_precision_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    rows = [(0, place, bool(random.random() < 0.2)) for place in range(300)]
    scores = np.round(random.random(300), 1)
    held = payments(rows)
    resampled = average_precisions_resampled(held, scores, 50, 1)
    assert average_precision_score(held.fraud, scores) == pytest.approx(float(resampled.mean()), abs=0.03)
    assert resampled.std() > 0
    alone = payments([(0, 7, fraud) for _, _, fraud in rows])  # one account: every resample is the whole
    assert [average_precision_score(held.fraud, scores)] * 2 == pytest.approx(
        average_precisions_resampled(alone, scores, 2, 1).tolist()
    )
    assert {0.25} == set(days_resampled([0.25, 0.25], 5, 1).tolist())


@pytest.mark.parametrize("begun_s", [0, 2_000 * DAY_S + 3_600])
def test_a_file_is_streamed_through_the_windows_that_serve(tmp_path: Path, begun_s: int) -> None:
    """The second payment is three times the average before it; the label of the first is known a week later."""
    path = tmp_path / "payments.csv"
    at_s = [begun_s + after_s for after_s in (0, DAY_S, 8 * DAY_S + 60)]
    lines = [COLUMNS, f"1,{at_s[0]},5,9,1000,1", f"2,{at_s[1]},5,9,3000,0", f"3,{at_s[2]},6,9,1000,0"]
    path.write_text("\n".join(lines) + "\n")
    held = read(path, range(9))
    assert ([0, 1, 8], [0, 0, 1]) == (held.day.tolist(), held.account.tolist())
    assert [NONE, 300, NONE] == held.features[:, COLUMN["amount_percent_of_earlier_average_ever"]].tolist()
    assert [0, 0, 1] == held.features[:, COLUMN["beneficiary_fraud_run_30d"]].tolist()
    assert not (held.features[:, COLUMN["beneficiary_fraud_run_hours_30d"]] == UNKNOWN).any()
    assert [8] == read(path, range(8, 9)).day.tolist()
