"""The numbered invariants of models.artefact.scoring, on random models and rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.artefact.scoring import Calibration, Model, Term, probability_ppm, score
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix

SEEN: Final = ("amount_gbp_minor", "beneficiary_age_hours", "ip_fraud_reports", "is_new_beneficiary")
EDGES = st.lists(st.integers(0, 60) | st.just(2**53), max_size=6, unique=True).map(sorted)
VALUES = st.integers(NONE, 70) | st.sampled_from((-(2**63), 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1))
"""Values up to the largest, and some that no feature has but that a stored decision may hold."""
ENTRIES = st.integers(-(10**9), 10**9)


@st.composite
def terms(draw: st.DrawFn) -> Term:
    names = draw(st.lists(st.sampled_from(SEEN), min_size=1, max_size=2, unique=True))
    edges = [draw(EDGES) for _ in names]
    shape = tuple(len(axis) + 1 for axis in edges)
    size = int(np.prod(shape))
    entries = draw(st.lists(ENTRIES, min_size=size, max_size=size))
    table = np.array(entries, dtype=np.int64).reshape(shape)
    return Term(tuple(names), tuple(np.array(axis, dtype=np.int64) for axis in edges), table)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    edges = draw(st.lists(st.integers(-(10**10), 10**10), max_size=8, unique=True).map(sorted))
    steps = draw(st.lists(st.integers(0, 10**6), min_size=len(edges) + 1, max_size=len(edges) + 1).map(sorted))
    return Calibration(np.array(edges, dtype=np.int64), np.array(steps, dtype=np.int64))


@st.composite
def models(draw: st.DrawFn) -> Model:
    chosen = tuple(draw(st.lists(terms(), min_size=1, max_size=5)))
    return Model("v", bytes(32), draw(ENTRIES), chosen, draw(calibrations()), dict.fromkeys(SEEN, 0))


@st.composite
def rows(draw: st.DrawFn) -> Matrix:
    count = draw(st.integers(0, 9))
    matrix = np.full((count, len(FEATURES)), 7, dtype=np.int64)
    for name in SEEN:
        values = draw(st.lists(VALUES, min_size=count, max_size=count))
        matrix[:, COLUMN[name]] = values
    return matrix


@given(models(), rows())
def test_1_score_is_exactly_the_intercept_and_the_contributions(model: Model, features: Matrix) -> None:
    scores = score(model, features)
    assert scores.contribution_micro.shape == (len(features), len(model.terms))
    expected = [model.intercept_micro + sum(row) for row in scores.contribution_micro.tolist()]
    assert expected == scores.score_micro.tolist()


@given(models(), rows())
def test_1_each_contribution_is_the_entry_of_the_values_bins(model: Model, features: Matrix) -> None:
    contribution = score(model, features).contribution_micro
    for row, values in enumerate(features.tolist()):
        for column, term in enumerate(model.terms):
            observed = [values[COLUMN[name]] for name in term.features]
            bins = tuple(
                sum(edge <= value for edge in edges.tolist()) for value, edges in zip(observed, term.edges, strict=True)
            )
            assert int(term.table[bins]) == int(contribution[row, column])


@given(models(), rows())
def test_2_only_integers_come_out(model: Model, features: Matrix) -> None:
    assert {column.dtype for column in score(model, features)} == {np.dtype(np.int64)}


@given(calibrations(), st.lists(st.integers(-(10**11), 10**11)).map(sorted))
def test_3_probability_never_falls_when_the_score_rises(calibration: Calibration, scores_micro: list[int]) -> None:
    probabilities = probability_ppm(calibration, np.array(scores_micro, dtype=np.int64)).tolist()
    assert probabilities == sorted(probabilities)


@given(models(), rows())
def test_4_a_batch_scores_like_its_rows_one_by_one(model: Model, features: Matrix) -> None:
    whole = score(model, features)
    for row in range(len(features)):
        alone = score(model, features[row : row + 1])
        for batch, single in zip(whole, alone, strict=True):
            assert batch[row].tolist() == single[0].tolist()


@given(models(), rows())
def test_4_the_layout_of_the_matrix_does_not_matter(model: Model, features: Matrix) -> None:
    for whole, other in zip(score(model, features), score(model, np.asfortranarray(features)), strict=True):
        assert whole.tolist() == other.tolist()


def test_unknown_has_a_bin_of_its_own_below_an_edge_at_0() -> None:
    edges = np.array([0, 3], dtype=np.int64)
    term = Term(("ip_fraud_reports",), (edges,), np.array([10, 20, 30], dtype=np.int64))
    step = Calibration(np.array([], dtype=np.int64), np.array([5], dtype=np.int64))
    model = Model("v", bytes(32), 1, (term,), step, {"ip_fraud_reports": 0})
    features = np.zeros((5, len(FEATURES)), dtype=np.int64)
    features[:, COLUMN["ip_fraud_reports"]] = [NONE, 0, 2, 3, 10**15]
    assert score(model, features).score_micro.tolist() == [11, 21, 21, 31, 31]
