"""The numbered invariants of models.train.choosing: walk-forward, never on what measures, and reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.artefact.strict import canonical
from models.train import choosing
from models.train.choosing import FOLDS, Chosen, Plan, candidates, choose, rounds_of_choosing, told
from models.train.history import HistoryRefused
from models.train.learn import Learner
from models.train.settled import DAY_MS, History
from pipeline.domain.features import COLUMN
from tests.models.test_train import SEEN, examples

LEARNER = Learner(seed=3, features=SEEN, pairs=0, outer_bags=1, bins=32, learning_rate=0.1)
HOUR_MS = 3_600_000


def history(count: int = 4_000, seed: int = 2) -> History:
    """Return a payment every half an hour, whose truth was known six days later."""
    found = examples(seed, count)
    times_ms = np.arange(count, dtype=np.int64) * HOUR_MS // 2
    return History(found._replace(event_time_ms=times_ms), times_ms + 6 * DAY_MS, None, 7 * DAY_MS, "A test", {})


def chosen_of(whole: History, tried: Sequence[Learner]) -> Chosen:
    return choose(whole, Plan(LEARNER, tuple(tried), FOLDS, 7))


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
    assert chosen_of(whole.rows(0, 4_000), tried) == chosen_of(other.rows(0, 4_000), tried)


def test_3_of_equal_candidates_the_first_wins() -> None:
    tried = [LEARNER, replace(LEARNER, pair_bins=16)]  # without pairs it makes no difference
    chosen = chosen_of(history(), tried)
    assert chosen.tried[0].average_precision_ppm == chosen.tried[1].average_precision_ppm
    assert chosen.learner is tried[0]
    assert told(chosen)["chosen"] == 0  # type: ignore[call-overload,index]


def test_the_better_settings_win() -> None:
    tried = candidates(LEARNER, {"bins": (4, 64)})
    chosen = chosen_of(history(), tried)
    assert chosen.learner.bins == 64
    assert chosen.tried[1].mean_ppm > chosen.tried[0].mean_ppm


def test_all_that_was_tried_is_told_in_whole_numbers() -> None:
    done: list[int] = []
    plan = Plan(LEARNER, tuple(candidates(LEARNER, {"bins": (4, 64)})), FOLDS, 7)
    chosen = choose(history(), plan, advance=lambda: done.append(1))
    text = told(chosen)
    assert canonical(text)
    assert isinstance(text, dict)
    assert text["chosen"] == 1
    assert len(done) == 2 * FOLDS == rounds_of_choosing(plan)
    assert text["features"] == {"kind": "given"}
    assert [len(each["average_precision_ppm"]) for each in text["tried"]] == [FOLDS, FOLDS]  # type: ignore[index,call-overload,union-attr,arg-type]


def test_a_grid_is_every_combination() -> None:
    found = candidates(LEARNER, {"bins": (8, 16), "learning_rate": (0.1, 0.2)})
    assert [(each.bins, each.learning_rate) for each in found] == [(8, 0.1), (8, 0.2), (16, 0.1), (16, 0.2)]


NOISE = "account_count_7d"
GROUPS = {"amount": ("amount_gbp_minor", "is_new_beneficiary"), "noise": (NOISE,)}


def noisy(seed: int = 2) -> History:
    """The same history with a feature that says nothing."""
    whole = history(seed=seed)
    features = whole.examples.features.copy()
    features[:, COLUMN[NOISE]] = np.random.default_rng([seed, 1]).integers(0, 500, len(features))
    return whole._replace(examples=whole.examples._replace(features=features))


def test_a_group_that_tells_frauds_apart_is_read_and_one_of_noise_is_not() -> None:
    done: list[int] = []
    plan = Plan(replace(LEARNER, features=(*SEEN, NOISE)), (), FOLDS, 7, GROUPS)
    chosen = choose(noisy(), plan, advance=lambda: done.append(1))
    assert chosen.learner.features == SEEN
    assert chosen.features is not None
    assert chosen.features.chosen.groups == ("amount",)
    assert len(done) == 4 * FOLDS == rounds_of_choosing(plan)
    text = told(chosen)
    assert canonical(text)
    features = text["features"]  # type: ignore[call-overload,index]
    assert [each["groups"] for each in features["sets"]] == [[], ["amount"], ["noise"], ["amount", "noise"]]  # type: ignore[call-overload,index,union-attr]
    assert features["chosen"] == 1  # type: ignore[call-overload,index]


def test_settings_are_chosen_by_the_features_that_were() -> None:
    """What is tried reads what was chosen, and no direction is kept of a feature that is left out."""
    learner = replace(LEARNER, features=(*SEEN, NOISE), monotone={NOISE: 1, "ip_fraud_reports": 1})
    plan = Plan(learner, tuple(candidates(learner, {"bins": (4, 64)})), FOLDS, 7, GROUPS)
    chosen = choose(noisy(), plan)
    assert {each.learner.features for each in chosen.tried} == {SEEN}
    assert dict(chosen.learner.monotone) == {"ip_fraud_reports": 1}
    assert chosen.learner.bins == 64


def test_what_comes_behind_the_part_for_learning_chooses_no_feature() -> None:
    whole = noisy()
    plan = Plan(replace(LEARNER, features=(*SEEN, NOISE)), (), 2, 7, GROUPS)
    changed = whole.examples.features.copy()
    changed[3_000:] = 7
    other = whole._replace(examples=whole.examples._replace(features=changed))
    assert choose(whole.rows(0, 3_000), plan) == choose(other.rows(0, 3_000), plan)
