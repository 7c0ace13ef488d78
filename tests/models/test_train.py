"""Training: exact compilation, the same bytes twice, monotone where the domain demands, calibrated."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact import files as artefact
from models.artefact.scoring import Calibration, Column, Model, probability_ppm, score
from models.train.compile import calibrate, compile_terms
from models.train.history import Examples, HistoryRefused
from models.train.learn import MODEL_FEATURES, MONOTONE, Learner, booster_input, fit, twins
from models.train.plan_files import Plan
from models.train.settled import final
from models.train.train import train_examples, train_history
from pipeline.domain.features import COLUMN, FEATURES, NONE, UNKNOWN

SEEN = ("amount_gbp_minor", "beneficiary_age_hours", "ip_fraud_reports", "is_new_beneficiary", "account_count_1h")
LEARNER = Learner(seed=3, features=SEEN, pairs=2, outer_bags=2, bins=64, pair_bins=16, samples_in_leaf_min=10)


def examples(seed: int, count: int = 12_000) -> Examples:
    rng = np.random.default_rng(seed)
    features = np.full((count, len(FEATURES)), NONE, dtype=np.int64)
    amount = rng.integers(1, 400_000, count)
    age_hours = np.where(rng.random(count) < 0.2, NONE, rng.integers(0, 5_000, count))
    reports = np.where(rng.random(count) < 0.3, NONE, rng.poisson(0.3, count))
    is_new, count_1h = rng.integers(0, 2, count), rng.integers(1, 9, count)
    for name, column in zip(SEEN, (amount, age_hours, reports, is_new, count_1h), strict=True):
        features[:, COLUMN[name]] = column
    log_odds = amount / 100_000 * is_new + np.maximum(reports, 0) - np.maximum(age_hours, 0) / 1_000 - 3
    fraud = rng.random(count) < 1 / (1 + np.exp(-log_odds))
    return Examples(features, fraud, np.arange(count, dtype=np.int64))


@pytest.fixture(scope="module")
def compiled() -> tuple[Examples, Model, Column]:
    """Provide examples, the compiled model, and the booster's own score of each example in millionths."""
    chosen = examples(1)
    booster = fit(LEARNER, chosen.features, chosen.fraud)
    intercept_micro, terms = compile_terms(booster, SEEN)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    model = Model("v", bytes(32), intercept_micro, terms, flat, dict.fromkeys(SEEN, 0))
    expected = booster.decision_function(booster_input(chosen.features, SEEN)) * 1e6
    return chosen, model, expected


def test_compiled_score_is_the_boosters_within_rounding(compiled: tuple[Examples, Model, Column]) -> None:
    chosen, model, expected = compiled
    assert len(expected) >= 10_000
    assert any(len(term.features) == 2 for term in model.terms)
    distance = np.abs(score(model, chosen.features).score_micro - expected).max()
    assert distance <= 0.5 * (len(model.terms) + 1) + 1e-3


def test_unknown_has_the_first_bin_of_every_table(compiled: tuple[Examples, Model, Column]) -> None:
    _, model, _ = compiled
    assert {int(edges[0]) for term in model.terms for edges in term.edges} == {0}


@pytest.mark.parametrize(("name", "direction"), [("ip_fraud_reports", 1), ("beneficiary_age_hours", -1)])
def test_score_is_monotone_where_it_must_be(
    compiled: tuple[Examples, Model, Column], name: str, direction: int
) -> None:
    chosen, model, _ = compiled
    row = np.repeat(chosen.features[:1], 60, axis=0)
    row[:, COLUMN[name]] = np.arange(60) * (1 if name == "ip_fraud_reports" else 80)
    steps = np.diff(score(model, row).score_micro) * direction
    assert (steps >= 0).all()
    assert (steps > 0).any()
    assert all(name not in term.features for term in model.terms if len(term.features) == 2)


def test_same_history_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    for place in ("a", "b"):
        train_examples(examples(2, 6_000), tmp_path / place / "v1", LEARNER, "A test", "None known.")
    for name in ("manifest.json", "tables.json", "card.md"):
        assert (tmp_path / "a/v1" / name).read_bytes() == (tmp_path / "b/v1" / name).read_bytes()


def test_trained_artefact_loads_and_a_version_is_never_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "v1"
    metrics = train_examples(examples(2, 6_000), directory, LEARNER, "A test", "None known.")
    assert artefact.load(directory).version == "v1"
    assert metrics.auc_ppm > 800_000
    with pytest.raises(FileExistsError):
        train_examples(examples(2, 6_000), directory, LEARNER, "A test", "None known.")


def test_a_version_that_leaves_features_out_loads_and_its_card_says_why(tmp_path: Path) -> None:
    """The features' layout is fixed: a matrix of all features is scored, and what was left out changes nothing."""
    chosen = examples(2, 6_000)
    chosen.features[:, COLUMN["account_count_7d"]] = np.random.default_rng(9).integers(0, 500, 6_000)
    learner = replace(LEARNER, pairs=0, outer_bags=1, features=(*SEEN, "account_count_7d"))
    plan = Plan(learner, (), 2, 7, {"amounts": ("amount_gbp_minor",), "noise": ("account_count_7d",)})
    train_history(final(chosen, "A test"), tmp_path / "v1", plan, "None known.")
    model = artefact.load(tmp_path / "v1")
    manifest = json.loads((tmp_path / "v1/manifest.json").read_bytes())
    assert tuple(manifest["features"]) == SEEN == tuple(sorted(model.typical, key=SEEN.index))
    assert manifest["training"]["choosing"]["features"]["chosen"] == 1
    other = chosen.features.copy()
    other[:, COLUMN["account_count_7d"]] = UNKNOWN
    assert (score(model, chosen.features).score_micro == score(model, other).score_micro).all()
    card = (tmp_path / "v1/card.md").read_text()
    assert "It reads amounts (`amount_gbp_minor`)." in card
    assert "It leaves out noise (`account_count_7d`)." in card
    assert "| amounts, chosen |" in card


def test_history_with_too_few_frauds_is_refused(tmp_path: Path) -> None:
    chosen = examples(4, 3_000)
    quiet = chosen._replace(fraud=np.arange(3_000) < 30)
    with pytest.raises(HistoryRefused, match="at least 20 frauds"):
        train_examples(quiet, tmp_path / "v1", LEARNER, "A test", "None known.")
    assert not (tmp_path / "v1").exists()


def test_model_sees_no_guardrail_feature_and_every_monotone_feature() -> None:
    assert not artefact.FORBIDDEN_FEATURES & set(MODEL_FEATURES)
    assert set(MODEL_FEATURES) <= set(FEATURES)
    assert set(MONOTONE) <= set(MODEL_FEATURES)


def test_twins_are_columns_that_rise_together() -> None:
    rng = np.random.default_rng(5)
    first, other = rng.random(500), rng.random(500)
    columns = np.stack([first, other, first**3 + 0.01 * other, np.full(500, np.nan)], axis=1)
    assert twins(columns) == [(0, 2)]


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.booleans()), min_size=2, max_size=60))
def test_calibration_is_monotone_and_never_certain(scored: list[tuple[int, bool]]) -> None:
    scores_micro = np.array([each for each, _ in scored], dtype=np.int64)
    fraud = np.array([each for _, each in scored], dtype=np.bool_)
    calibration = calibrate(scores_micro, fraud)
    steps = calibration.probability_ppm.tolist()
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))
    assert all(0 < step < 1_000_000 for step in steps)
    assert all(later > earlier for earlier, later in itertools.pairwise(calibration.edges.tolist()))
    assert len(steps) == len(calibration.edges) + 1


def test_one_example_is_no_certainty_however_many_it_stands_for() -> None:
    """Twenty honest payments' weight on one, and on one fraud, would give 2 % and 98 %."""
    scores_micro, fraud = np.array([-5, 4], dtype=np.int64), np.array([False, True])
    for weight in (None, np.array([20.0, 20.0])):
        assert calibrate(scores_micro, fraud, weight).probability_ppm.tolist() == [250_000, 750_000]
    mixed = calibrate(np.array([4, 4, 4], dtype=np.int64), np.array([True, False, False]), np.array([2.0, 1.0, 1.0]))
    assert mixed.probability_ppm.tolist() == [500_000]


def test_calibrated_probability_is_the_share_of_fraud() -> None:
    scores_micro = np.repeat(np.array([-5, 0, 5], dtype=np.int64), 1_000)
    fraud = np.concatenate([np.arange(1_000) < wanted for wanted in (10, 300, 900)])
    shown = probability_ppm(calibrate(scores_micro, fraud), np.array([-9, -5, 0, 4, 5], dtype=np.int64)) / 1e6
    assert np.allclose(shown, [0.01, 0.01, 0.3, 0.3, 0.9], atol=0.001)


def test_without_constraints_pairs_may_hold_any_feature() -> None:
    chosen = examples(1)
    free = Learner(seed=3, features=SEEN, monotone=MappingProxyType({}), pairs=2, outer_bags=1, learning_rate=0.1)
    _, terms = compile_terms(fit(free, chosen.features, chosen.fraud), SEEN)
    assert {len(term.features) for term in terms} == {1, 2}
