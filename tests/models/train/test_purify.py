"""The numbered invariants of models.train.purify, on random tables and densities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.train.purify import Floats, Purified, purified


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    density = rng.integers(0, 50, shape).astype(np.float64)
    density[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.9]))] = 0  # many bins that nothing was in
    density[rng.integers(shape[0]), rng.integers(shape[1])] += 1
    return rng.normal(0, 3, shape), density


def _whole(split: Purified) -> Floats:
    whole: Floats = split.constant + split.first[:, np.newaxis] + split.second[np.newaxis, :] + split.rest
    return whole


@given(cases())
def test_1_the_parts_sum_to_the_table(case: tuple[Floats, Floats]) -> None:
    table, density = case
    assert np.abs(_whole(purified(table, density)) - table).max() < 1e-11


@given(cases())
def test_2_nothing_is_left_along_any_axis(case: tuple[Floats, Floats]) -> None:
    table, density = case
    split, weight = purified(table, density), density / density.sum()
    assert np.abs((weight * split.rest).sum(axis=0)).max() < 1e-10
    assert np.abs((weight * split.rest).sum(axis=1)).max() < 1e-10
    assert abs(float((weight.sum(axis=1) * split.first).sum())) < 1e-10
    assert abs(float((weight.sum(axis=0) * split.second).sum())) < 1e-10


@given(cases())
def test_3_a_bin_that_was_never_met_has_mean_0_under_the_other_features_density(case: tuple[Floats, Floats]) -> None:
    table, density = case
    split, weight = purified(table, density), density / density.sum()
    for row in np.flatnonzero(density.sum(axis=1) == 0):
        assert abs(float((weight.sum(axis=0) * split.rest[row]).sum())) < 1e-10


@given(cases(), st.integers(0, 2**32 - 1))
def test_2_the_split_is_unique_whatever_part_stood_in_the_table(case: tuple[Floats, Floats], seed: int) -> None:
    """What is added for one feature alone goes to that feature, and the interplay stays as it was."""
    table, density = case
    rng = np.random.default_rng(seed)
    moved = table + 7 + rng.normal(0, 2, (len(table), 1)) + rng.normal(0, 2, (1, table.shape[1]))
    met = np.ix_(density.sum(axis=1) > 0, density.sum(axis=0) > 0)
    assert np.abs(purified(table, density).rest[met] - purified(moved, density).rest[met]).max() < 1e-8


def test_features_that_nearly_follow_from_each_other_are_split_at_once() -> None:
    """Averaging rows and columns in turns would still be thousands of rounds away."""
    size = 30
    density = np.eye(size) * 1e6 + np.eye(size, k=1) + np.eye(size, k=-1)
    table = np.random.default_rng(1).normal(0, 1, (size, size))
    split, weight = purified(table, density), density / density.sum()
    assert np.abs((weight * split.rest).sum(axis=0)).max() < 1e-12
    assert np.abs((weight * split.rest).sum(axis=1)).max() < 1e-12


def test_pure_interplay_is_left_as_it_is() -> None:
    table = np.array([[1.0, -1.0], [-1.0, 1.0]])
    split = purified(table, np.ones((2, 2)))
    assert split.rest == pytest.approx(table)
    assert split.first == pytest.approx([0, 0])
