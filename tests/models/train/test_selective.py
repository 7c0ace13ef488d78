"""Selective labels, simulated: what each way of treating stopped payments costs the next model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

from models.artefact.scoring import Calibration, Model, score
from models.train.compile import compile_terms
from models.train.history import Examples
from models.train.learn import Learner, fit
from models.train.settled import DAY_MS, UNLABELLED, History, Truth, settled
from tests.models.test_train import SEEN, examples

COUNT = 12_000
STOPPED_SHARE = 0.2
LET_THROUGH = 0.05
"""The share of what a model would stop that the fallback or a breaker's sample answered instead, and let go."""
LEARNER = Learner(seed=1, features=SEEN, pairs=2, outer_bags=2, bins=64, pair_bins=16, learning_rate=0.08)


def precision(learned: Examples, weight: NDArray[np.float64] | None) -> float:
    """Return the average precision on payments of which all is known."""
    booster = fit(LEARNER, learned.features, learned.fraud, 1, weight)
    intercept_micro, terms = compile_terms(booster, SEEN)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    fresh = examples(99, COUNT)
    found = score(Model("v", bytes(32), intercept_micro, terms, flat, {}), fresh.features).score_micro
    return float(average_precision_score(fresh.fraud, found))


@pytest.fixture(scope="module")
def by_treatment() -> dict[str, float]:
    """Provide the average precision of the next model for each treatment of what the first one stopped."""
    whole = examples(11, COUNT)
    rng = np.random.default_rng(5)
    risk = whole.features[:, 0] * 1.0 + rng.normal(0, 40_000, COUNT)  # a first model that goes by the amount
    rank = risk.argsort().argsort() / COUNT
    stopped = (rank > 1 - STOPPED_SHARE) & (rng.random(COUNT) > LET_THROUGH)
    label = np.where(whole.fraud & ~stopped, 1, UNLABELLED).astype(np.int8)
    truth = Truth(label, whole.event_time_ms, stopped, (rank * 1_000_000).astype(np.int64))
    handled = history(whole, truth)
    assert handled.weight is not None
    return {
        "all known": precision(whole, None),
        "as honest": precision(whole._replace(fraud=whole.fraud & ~stopped), None),
        "as fraud": precision(whole._replace(fraud=whole.fraud | stopped), None),
        "left out": precision(handled.examples, None),
        "reweighted": precision(handled.examples, handled.weight),
    }


def history(whole: Examples, truth: Truth) -> History:
    return settled(whole, truth, 8 * DAY_MS, 7 * DAY_MS, "A simulation")


def test_what_was_stopped_must_pass_neither_for_honest_nor_for_fraud(by_treatment: dict[str, float]) -> None:
    print(by_treatment)
    assert by_treatment["as honest"] < by_treatment["reweighted"] - 0.02
    assert by_treatment["as fraud"] < by_treatment["reweighted"] - 0.01


def test_reweighting_comes_close_to_knowing_all(by_treatment: dict[str, float]) -> None:
    assert by_treatment["reweighted"] > by_treatment["all known"] - 0.03
