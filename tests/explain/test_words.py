"""Probabilities as people read them beside a decision."""

from __future__ import annotations

import pytest

from pipeline.decide.phrases import percent_of_ppm


@pytest.mark.parametrize(
    ("ppm", "said"),
    [
        (0, "less than 0.01 %"),
        (99, "less than 0.01 %"),
        (100, "0.01 %"),
        (123_456, "12.34 %"),
        (999_999, "99.99 %"),
        (1_000_000, "more than 99.99 %"),
    ],
)
def test_no_answer_of_a_model_is_told_as_impossible_or_certain(ppm: int, said: str) -> None:
    """ "fraud with probability 0.00 %" claims what no model knows."""
    assert percent_of_ppm(ppm) == said
