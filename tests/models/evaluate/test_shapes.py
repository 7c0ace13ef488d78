"""The generated streams: the same for the same seed, and with frauds in every week that is learned or judged."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluate.folds import TEST_STARTS, VALIDATION_STARTS, WEEK
from models.evaluate.shapes import DAY_S, DAYS, EARLIER, PENCE_MAX, SHAPES, stream

PAYMENTS = 30_000


@pytest.mark.parametrize("shape", SHAPES)
def test_each_week_of_a_stream_can_teach_and_judge(shape: str) -> None:
    made = stream(shape, 3, PAYMENTS)
    assert len(made.fraud) == PAYMENTS
    assert (np.diff(made.time_s) >= 0).all()
    assert 0 <= made.time_s.min()
    assert made.time_s.max() < DAYS * DAY_S
    assert 1 <= made.amount_minor.min()
    assert made.amount_minor.max() <= PENCE_MAX
    for start in (*VALIDATION_STARTS, *TEST_STARTS):
        for begin in (start - EARLIER, start - EARLIER + 2 * WEEK):
            week = made.fraud[(made.time_s >= begin * DAY_S) & (made.time_s < (begin + WEEK) * DAY_S)]
            assert 0 < week.sum() < len(week) / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_follows_from_name_and_seed(shape: str) -> None:
    made, again, other = (stream(shape, seed, 5_000) for seed in (1, 1, 2))
    assert all((one == two).all() for one, two in zip(made, again, strict=True))
    assert (made.amount_minor != other.amount_minor).any()
