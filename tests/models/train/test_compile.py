"""The numbered invariants of models.train.compile: the booster's score, before rounding and after, on any integers."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from models.artefact.files import FILE_BYTES_MAX, tables_json
from models.artefact.scoring import Calibration, Model, score
from models.train.compile import Exact, ExactTerm, LearningDiverged, compile_terms, exact_scores, exact_terms
from models.train.learn import Learner, booster_input, fit
from pipeline.domain.features import COLUMN, FEATURES, NONE, UNKNOWN, Matrix
from tests.models.test_train import SEEN, examples

FREE = MappingProxyType[str, int]({})
LEARNERS = {
    "monotone": Learner(seed=3, features=SEEN, pairs=2, outer_bags=2, bins=64, pair_bins=16, samples_in_leaf_min=10),
    "pairs of all": Learner(
        seed=3, features=SEEN, pairs=10, outer_bags=1, bins=64, pair_bins=16, monotone=FREE, learning_rate=0.1
    ),
    "1,024 bins": Learner(
        seed=3, features=SEEN, pairs=4, outer_bags=1, bins=1024, pair_bins=48, monotone=FREE, learning_rate=0.1
    ),
}


class Compiled(NamedTuple):
    booster: Any
    exact: Exact
    model: Model
    seen: Matrix  # what it was learned from


@pytest.fixture(scope="module", params=LEARNERS)
def compiled(request: pytest.FixtureRequest) -> Compiled:
    chosen = examples(7, 8_000)
    booster = fit(LEARNERS[request.param], chosen.features, chosen.fraud)
    intercept_micro, terms = compile_terms(booster, SEEN)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    model = Model("v", bytes(32), intercept_micro, terms, flat, dict.fromkeys(SEEN, 0))
    return Compiled(booster, exact_terms(booster, SEEN), model, chosen.features)


def hostile_rows(found: Compiled) -> Matrix:
    """Return every cut and its neighbours, extremes, values that are missing, and values that were never seen."""
    rng = np.random.default_rng(5)
    rows = np.full((20_000, len(FEATURES)), NONE, dtype=np.int64)
    for name in SEEN:
        edges = np.concatenate([edges for term in found.exact.terms for edges in _edges_of(term, name)])
        values = np.concatenate([edges - 1, edges, edges + 1, [NONE, 0, 1, 2**31, 2**53 - 1, 2**53]])
        values = np.concatenate([values[values >= NONE], found.seen[:, COLUMN[name]]])
        rows[:, COLUMN[name]] = rng.choice(values, len(rows))
    return rows


def _edges_of(term: ExactTerm, name: str) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    return [edges for each, edges in zip(term.features, term.edges, strict=True) if each == name]


def test_1_exact_tables_are_the_booster_within_a_billionth(compiled: Compiled) -> None:
    for rows in (compiled.seen, hostile_rows(compiled)):
        columns = {name: rows[:, COLUMN[name]] for name in SEEN}
        expected = compiled.booster.decision_function(booster_input(rows, SEEN))
        assert np.abs(exact_scores(compiled.exact, columns) - expected).max() <= 1e-9


def test_2_rounded_tables_are_the_booster_within_half_a_millionth_a_term(compiled: Compiled) -> None:
    bound = 0.5 * (len(compiled.model.terms) + 1) + 1e-3
    for rows in (compiled.seen, hostile_rows(compiled)):
        expected = compiled.booster.decision_function(booster_input(rows, SEEN)) * 1e6
        assert np.abs(score(compiled.model, rows).score_micro - expected).max() <= bound


def test_2_unknown_scores_as_none_and_none_has_a_bin_of_its_own(compiled: Compiled) -> None:
    none = np.full((1, len(FEATURES)), NONE, dtype=np.int64)
    unknown = np.full((1, len(FEATURES)), UNKNOWN, dtype=np.int64)
    assert score(compiled.model, none).score_micro == score(compiled.model, unknown).score_micro
    assert {int(edges[0]) for term in compiled.model.terms for edges in term.edges} == {0}


def test_3_every_table_is_pure_under_the_density_of_the_training(compiled: Compiled) -> None:
    """Measured on the rows that were learned from, not by the booster's own weights."""
    for term in compiled.exact.terms:
        bins = [
            edges.searchsorted(compiled.seen[:, COLUMN[name]], side="right")
            for name, edges in zip(term.features, term.edges, strict=True)
        ]
        values = term.table[tuple(bins)]
        assert abs(float(values.mean())) < 1e-9
        if len(bins) == 2:
            for axis in bins:
                sums = np.bincount(axis, weights=values)
                assert np.abs(sums / len(values)).max() < 1e-9


def test_3_no_feature_has_two_tables_of_its_own(compiled: Compiled) -> None:
    alone = [term.features for term in compiled.model.terms if len(term.features) == 1]
    assert len(set(alone)) == len(alone)


def test_a_features_own_table_has_the_cuts_of_its_pairs(compiled: Compiled) -> None:
    own = {term.features[0]: set(term.edges[0].tolist()) for term in compiled.exact.terms if len(term.features) == 1}
    for term in compiled.exact.terms:
        for name, edges in zip(term.features, term.edges, strict=True):
            assert set(edges.tolist()) <= own[name]


def test_tables_of_1024_bins_stay_far_within_a_file(compiled: Compiled) -> None:
    assert len(tables_json(compiled.model)) < FILE_BYTES_MAX // 8


def test_numbers_that_are_no_model_are_refused() -> None:
    chosen = examples(1, 3_000)
    booster = fit(replace(LEARNERS["monotone"], pairs=0, outer_bags=1), chosen.features, chosen.fraud)
    booster.term_scores_[0][3] = np.nan
    with pytest.raises(LearningDiverged, match="no finite"):
        compile_terms(booster, SEEN)
