"""The differences of two models' tables are exact, wherever their edges lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.artefact.scoring import Model, Term, score
from models.lifecycle.shapes import calibration_change, shape_changes
from pipeline.domain.features import COLUMN, FEATURES
from tests.records import small_model

SMALL = small_model()
_NUMBERS = st.integers(-2_000_000, 2_000_000)


def column(name: str, values: list[int]) -> np.ndarray:
    rows = np.zeros((len(values), len(FEATURES)), dtype=np.int64)
    rows[:, COLUMN[name]] = values
    return rows


@st.composite
def terms(draw: st.DrawFn) -> Term:
    edges = sorted(draw(st.sets(st.integers(0, 50), min_size=1, max_size=6)))
    table = draw(st.lists(_NUMBERS, min_size=len(edges) + 1, max_size=len(edges) + 1))
    return Term(("ip_fraud_reports",), (np.array(edges, dtype=np.int64),), np.array(table, dtype=np.int64))


def with_terms(*some: Term) -> Model:
    return replace(SMALL, terms=some)


def test_a_model_differs_from_itself_in_nothing() -> None:
    assert [] == shape_changes(SMALL, SMALL)
    change = calibration_change(SMALL, SMALL)
    assert (change.intercept_micro, change.largest_ppm) == (0, 0)


@given(before=terms(), after=terms(), values=st.lists(st.integers(-2, 60), min_size=1, max_size=20))
def test_the_largest_change_bounds_every_payments(before: Term, after: Term, values: list[int]) -> None:
    earlier, later = with_terms(before), with_terms(after)
    payments = column("ip_fraud_reports", values)
    differences = np.abs(
        score(later, payments).contribution_micro[:, 0] - score(earlier, payments).contribution_micro[:, 0]
    )
    found = shape_changes(earlier, later, payments)
    if not found:
        assert not differences.any()
        return
    [change] = found
    assert int(differences.max()) <= change.largest_micro
    assert change.mean_micro == int(differences.sum()) // len(values)
    at = column("ip_fraud_reports", [max(change.largest_at[0], -2)])
    reached = score(later, at).contribution_micro - score(earlier, at).contribution_micro
    assert change.largest_micro == abs(int(reached[0, 0]))


def test_edges_that_change_nothing_are_no_difference() -> None:
    edge, table = np.array([5], dtype=np.int64), np.array([1, 2], dtype=np.int64)
    finer = Term(("ip_fraud_reports",), (np.array([3, 5], dtype=np.int64),), np.array([1, 1, 2], dtype=np.int64))
    assert [] == shape_changes(with_terms(Term(("ip_fraud_reports",), (edge,), table)), with_terms(finer))


def test_what_is_added_and_removed_is_named() -> None:
    first, second = SMALL.terms
    [added] = [change for change in shape_changes(with_terms(first), SMALL) if change.is_added]
    [removed] = [change for change in shape_changes(SMALL, with_terms(first)) if change.is_removed]
    assert added.features == removed.features == second.features
    assert added.largest_micro == 3_000_000


def test_a_moved_calibration_is_found_at_its_step() -> None:
    calibration = SMALL.calibration._replace(probability_ppm=SMALL.calibration.probability_ppm + 5_000)
    moved = replace(SMALL, calibration=calibration, intercept_micro=SMALL.intercept_micro + 7)
    change = calibration_change(SMALL, moved)
    assert (change.intercept_micro, change.largest_ppm) == (7, 5_000)
