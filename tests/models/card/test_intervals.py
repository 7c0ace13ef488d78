"""Intervals are those of the literature, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

from models.card.measuring.intervals import average_precision, rate, ratio


@given(st.integers(1, 100_000).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_a_rate_has_wilsons_interval(counts: tuple[int, int]) -> None:
    part, whole = counts
    found, expected = rate(part, whole), binomtest(part, whole).proportion_ci(method="wilson")
    assert found.low_ppm == pytest.approx(expected.low * 1e6, abs=1)
    assert found.high_ppm == pytest.approx(expected.high * 1e6, abs=1)


def test_a_rate_of_nothing_is_not_known() -> None:
    assert rate(0, 0) == (0, 0, None, None, None)


def test_average_precision_is_sklearns_also_with_equal_scores() -> None:
    rng = np.random.default_rng(1)
    score = rng.integers(0, 40, 3_000)
    fraud = rng.random(3_000) < score / 400
    found = average_precision(score, fraud, 50, (1, 2))
    assert found.ppm == pytest.approx(average_precision_score(fraud, score) * 1e6, abs=1)
    assert found.low_ppm is not None
    assert found.high_ppm is not None
    assert found.ppm is not None
    assert found.low_ppm < found.ppm < found.high_ppm
    assert found == average_precision(score, fraud, 50, (1, 2))


def test_too_few_frauds_have_no_average_precision() -> None:
    fraud = np.arange(1_000) < 19
    assert average_precision(np.arange(1_000), fraud, 10, (1,)).ppm is None


def test_a_ratio_holds_the_truth_and_widens_with_comparisons() -> None:
    one, many = ratio(rate(100, 1_000), rate(50, 1_000), 1), ratio(rate(100, 1_000), rate(50, 1_000), 100)
    assert one is not None
    assert many is not None
    assert one[0] == pytest.approx(500_000, rel=0.02)
    assert many[1] < one[1] < 500_000 < one[2] < many[2]


def test_a_ratio_of_few_events_is_not_known() -> None:
    assert ratio(rate(4, 10_000), rate(5, 20_000), 1) is None
    assert ratio(rate(0, 0), rate(50, 1_000), 1) is None
