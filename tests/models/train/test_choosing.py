"""The numbered invariants of models.train.choosing: walk-forward, never on what measures, and reproducible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.artefact.strict import canonical
from models.train import choosing
from models.train.choosing import FOLDS, candidates, choose, told
from models.train.history import HistoryRefused
from models.train.learn import Learner
from models.train.settled import DAY_MS, History
from tests.models.test_train import SEEN, examples

LEARNER = Learner(seed=3, features=SEEN, pairs=0, outer_bags=1, bins=32, learning_rate=0.1)
HOUR_MS = 3_600_000


def history(count: int = 4_000, seed: int = 2) -> History:
    """Return a payment every half an hour, whose truth was known six days later."""
    found = examples(seed, count)
    times_ms = np.arange(count, dtype=np.int64) * HOUR_MS // 2
    return History(found._replace(event_time_ms=times_ms), times_ms + 6 * DAY_MS, None, 7 * DAY_MS, "A test", {})


def folds_of(whole: History, count: int = FOLDS) -> list[tuple[History, History]]:
    return choosing._folds(whole, count)


def test_1_what_is_learned_for_a_period_was_known_when_it_began() -> None:
    for learned, judged in folds_of(history()):
        begin_ms = int(judged.examples.event_time_ms[0])
        assert int(learned.examples.event_time_ms[-1]) <= begin_ms - 7 * DAY_MS
        assert (learned.known_at_ms[learned.examples.fraud] <= begin_ms).all()


def test_1_periods_follow_each_other_to_the_end() -> None:
    parts = folds_of(history())
    assert len(parts) == FOLDS
    judged = np.concatenate([each.examples.event_time_ms for _, each in parts])
    assert (np.diff(judged) > 0).all()
    assert judged[-1] == history().examples.event_time_ms[-1]


def test_1_a_fraud_that_is_known_later_is_not_learned_as_one() -> None:
    late = history()
    late = late._replace(known_at_ms=late.known_at_ms + 365 * DAY_MS)
    with pytest.raises(HistoryRefused, match="validation period 1 of 3 has fewer than 20 frauds"):
        folds_of(late)


def test_2_what_comes_behind_the_part_for_learning_changes_no_choice() -> None:
    """The choice sees what it is given alone: train_history gives it the first part, and nothing after."""
    whole = history(5_000)
    changed = whole.examples.features.copy()
    changed[4_000:] = 7
    other = whole._replace(examples=whole.examples._replace(features=changed))
    tried = candidates(LEARNER, {"bins": (8, 64)})
    assert choose(whole.rows(0, 4_000), tried) == choose(other.rows(0, 4_000), tried)


def test_3_of_equal_candidates_the_first_wins() -> None:
    tried = [LEARNER, replace(LEARNER, pair_bins=16)]  # without pairs it makes no difference
    chosen = choose(history(), tried)
    assert chosen.tried[0].average_precision_ppm == chosen.tried[1].average_precision_ppm
    assert chosen.learner is tried[0]


def test_the_better_settings_win() -> None:
    tried = candidates(LEARNER, {"bins": (4, 64)})
    chosen = choose(history(), tried)
    assert chosen.learner.bins == 64
    assert chosen.tried[1].mean_ppm > chosen.tried[0].mean_ppm


def test_all_that_was_tried_is_told_in_whole_numbers() -> None:
    done: list[int] = []
    chosen = choose(history(), candidates(LEARNER, {"bins": (4, 64)}), advance=lambda: done.append(1))
    text = told(chosen)
    assert canonical(text)
    assert isinstance(text, dict)
    assert text["chosen"] == 1
    assert len(done) == 2 * FOLDS
    assert [len(each["average_precision_ppm"]) for each in text["tried"]] == [FOLDS, FOLDS]  # type: ignore[index,call-overload,union-attr,arg-type]


def test_a_grid_is_every_combination() -> None:
    found = candidates(LEARNER, {"bins": (8, 16), "learning_rate": (0.1, 0.2)})
    assert [(each.bins, each.learning_rate) for each in found] == [(8, 0.1), (8, 0.2), (16, 0.1), (16, 0.2)]
