"""Intervals that hold at every time at once: their coverage under the worst way of looking, and their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.anytime import PPM, difference_interval, mean_interval, rate_interval

ALPHA = 0.1
RUNS = 400
"""Runs of a simulation. Were the true share of misses ALPHA, more than MISSES_MAX would come in 1 of 1,000 tests."""
MISSES_MAX = RUNS * ALPHA + 3.1 * math.sqrt(RUNS * ALPHA * (1 - ALPHA))
LOOKS = (1, 2, 4, 8, 15, 30, 60, 110, 220, 450, 900, 1800)
"""An opponent looks so often and stops when the truth is outside."""


def test_1_nothing_seen_says_nothing() -> None:
    assert rate_interval(0, 0, 0.05) == (0, PPM)
    assert mean_interval(0, 0, 0, -3, 5, 0.05) == (-3, 5)
    assert difference_interval(0, 0, 0, 0.05) == (-PPM, PPM)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from((0.001, 0.05, 0.3)))
def test_2_a_rate_lies_in_its_interval_and_that_is_possible(successes: int, failures: int, alpha: float) -> None:
    trials = successes + failures
    low, high = rate_interval(successes, trials, alpha)
    assert 0 <= low <= high <= PPM
    if trials:
        assert low <= successes / trials * PPM <= high


@given(st.lists(st.integers(-1, 1), max_size=200), st.sampled_from((0.001, 0.05, 0.3)))
def test_2_a_mean_lies_in_its_interval_and_that_is_possible(values: list[int], alpha: float) -> None:
    total, squares = sum(values), sum(value * value for value in values)
    low, high = mean_interval(total, squares, len(values), -1, 1, alpha)
    assert -1 <= low <= high <= 1
    if values:
        assert low <= total / len(values) <= high
    ppm = difference_interval((squares + total) // 2, (squares - total) // 2, len(values), alpha)
    assert ppm[0] <= low * PPM
    assert ppm[1] >= high * PPM


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_mean_with_its_values_moved_and_stretched_has_its_interval_moved_and_stretched(ones: int, zeros: int) -> None:
    n = ones + zeros
    low, high = mean_interval(ones, ones, n, 0, 1, 0.05)
    stretched = mean_interval(10 * n + 4 * ones, 100 * zeros + 196 * ones, n, 10, 14, 0.05)
    assert stretched == pytest.approx((10 + 4 * low, 10 + 4 * high), abs=1e-6)


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.5, 0.97])
def test_3_whoever_stops_when_it_suits_them_seldom_sees_a_rate_outside(rate: float) -> None:
    seen = np.random.default_rng(7).random((RUNS, LOOKS[-1])) < rate
    counts = np.cumsum(seen, axis=1)
    missed = 0
    for run in counts.tolist():
        ends = (rate_interval(run[n - 1], n, ALPHA) for n in LOOKS)
        missed += any(not low <= rate * PPM <= high for low, high in ends)
    assert missed <= MISSES_MAX


@pytest.mark.parametrize(("plus", "minus"), [(0.01, 0.01), (0.02, 0.002), (0.5, 0.5), (0.0, 0.03)])
def test_3_whoever_stops_when_it_suits_them_seldom_sees_a_difference_outside(plus: float, minus: float) -> None:
    drawn = np.random.default_rng(11).random((RUNS, LOOKS[-1]))
    more, fewer = np.cumsum(drawn < plus, axis=1).tolist(), np.cumsum(drawn > 1 - minus, axis=1).tolist()
    truth, missed = (plus - minus) * PPM, 0
    for up, down in zip(more, fewer, strict=True):
        ends = (difference_interval(up[n - 1], down[n - 1], n, ALPHA) for n in LOOKS)
        missed += any(not low <= truth <= high for low, high in ends)
    assert missed <= MISSES_MAX


def test_an_interval_for_one_look_would_fail_the_same_test() -> None:
    """The test above has teeth: by the normal approximation the opponent wins far more often."""
    counts = np.cumsum(np.random.default_rng(7).random((RUNS, LOOKS[-1])) < 0.5, axis=1).tolist()
    missed = 0
    for run in counts:
        missed += any(abs(run[n - 1] / n - 0.5) > 1.645 * math.sqrt(0.25 / n) for n in LOOKS)
    assert missed > MISSES_MAX


def test_intervals_narrow_as_more_is_seen() -> None:
    rates = [rate_interval(n // 50, n, 0.05) for n in (100, 10_000, 1_000_000)]
    assert [high - low for low, high in rates] == sorted((high - low for low, high in rates), reverse=True)
    assert rates[-1][1] - rates[-1][0] < 1_500
    low, high = difference_interval(12_000, 8_000, 1_000_000, 0.05)
    assert 0 < low < 4_000 < high < 5_000


def test_what_is_impossible_to_have_counted_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        rate_interval(3, 2, 0.05)
    with pytest.raises(AssertionError):
        difference_interval(2, 2, 3, 0.05)
    with pytest.raises(AssertionError):
        mean_interval(0, 0, 1, 1, 1, 0.05)
