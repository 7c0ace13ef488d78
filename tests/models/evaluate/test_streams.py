"""What is told of streams: loss apart from chance, by one command, and the choice never sees what it is judged on."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluate import learners
from models.evaluate.__main__ import main
from models.evaluate.folds import Fold, Scores
from models.evaluate.learners import WITH, WITHOUT, Glass
from models.evaluate.stream import Payments
from models.evaluate.streams import Compared, summed
from models.train.learn import OPTIONAL_FEATURES
from pipeline.domain.features import COLUMN, FEATURES


def found(*chosen: float) -> list[Compared]:
    return [Compared(50, ("fraud_runs",), 0.5, 0.6, 0.5 + each) for each in chosen]


@pytest.mark.parametrize(
    ("chosen", "verdict"),
    [
        ((0.0, 0.0), "ok"),
        ((-0.004, -0.005), "ok"),
        ((-0.03, 0.01), "not told from chance"),
        ((-0.02,), "not told from chance"),
        ((-0.02, -0.021, -0.019), "WORSE"),
        ((0.1, 0.2), "ok"),
    ],
)
def test_a_loss_is_told_from_chance(chosen: tuple[float, ...], verdict: str) -> None:
    told = summed("a", found(*chosen))
    assert told.verdict == verdict
    assert told.taken == {"unusual_amounts": 0, "fraud_runs": len(chosen)}
    assert told.chosen == pytest.approx(float(np.mean(chosen)))


def part(informative: str, seed: int) -> Fold:
    """A fold in which one feature follows the frauds closely, and the amount a little."""
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(2):
        features = np.zeros((600, len(FEATURES)), dtype=np.int64)
        fraud = rng.random(600) < 0.2
        features[:, COLUMN["amount_gbp_minor"]] = rng.integers(1, 1_000, 600) + 200 * fraud
        features[:, COLUMN[informative]] = rng.integers(1, 1_000, 600) + 1_500 * fraud
        halves.append(Payments(features, fraud, np.zeros(600, np.int64), np.arange(600)))
    return Fold(*halves)


@pytest.mark.parametrize(
    ("informative", "groups"),
    [
        ("amount_gbp_minor", ()),
        ("beneficiary_fraud_run_30d", ("fraud_runs",)),
        ("account_percent_of_earlier_average_max_7d", ("unusual_amounts",)),
    ],
)
def test_the_groups_that_tell_frauds_are_chosen_on_validation_folds(informative: str, groups: tuple[str, ...]) -> None:
    chosen = Glass(bags=1, jobs=1).chosen([part(informative, 1), part(informative, 2)]).chosen
    assert chosen.groups == groups
    assert set(WITHOUT) <= set(chosen.features) <= set(WITH)
    assert {name for group in groups for name in OPTIONAL_FEATURES[group]} == set(chosen.features) - set(WITHOUT)


def test_without_a_validation_fold_no_group_is_taken() -> None:
    assert Glass(bags=1, jobs=1).chosen([]).chosen.features == WITHOUT


def test_what_was_learned_once_is_not_learned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []

    def counted(features: tuple[str, ...], seed: int, bags: int, jobs: int) -> learners.Learn:
        def learn(fold: Fold) -> Scores:
            learned.append(seed)
            return np.arange(len(fold.tested.fraud), dtype=np.float64)

        return learn

    monkeypatch.setattr(learners, "glass", counted)
    fold, other, glass = part("amount_gbp_minor", 1), part("amount_gbp_minor", 2), Glass(1, 1)
    for seed in (1, 2, 1):
        for each in (fold, other):
            glass.learning(WITH, seed)(each)
    assert learned == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["streams", "--payments", "1000", "--repetitions", "1", "--shape", "hour-and-amount"],
            "the stream 'hour-and-amount' is too small",
        ),
        (["streams", "--payments", "200"], "2"),
        (["streams", "--seed", "-1"], "2"),
        (["streams", "--shape", "unheard"], "2"),
        (["streams", "--repetitions", "0"], "2"),
        (["handbook"], "2"),
        ([], "2"),
    ],
)
def test_what_cannot_be_compared_is_said(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["models.evaluate", *words])
    with pytest.raises(SystemExit, match=said):
        main()
