"""A model that fails on some payments costs the others nothing, and one that fails on all costs a bounded time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact import asking
from models.artefact.asking import FAILED_ALONE_MAX, NONSENSE, NOT_TRIED, ask
from models.artefact.scoring import Scores, score
from pipeline.domain.features import COLUMN
from tests.records import features, small_model

MODEL = small_model()
REPORTS = COLUMN["ip_fraud_reports"]
BAD = 77


def rows_of(count: int, bad: set[int]) -> np.ndarray:
    rows = np.repeat(features(), count, axis=0)
    rows[:, REPORTS] = np.arange(count) % 5
    rows[sorted(bad), REPORTS] = BAD
    return rows


class Scorer:
    """Scores as the real one does, but raises where a batch holds a bad row."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model, rows):
        self.calls += 1
        if (rows[:, REPORTS] == BAD).any():
            raise IndexError("outside a table")
        return score(model, rows)


def same(scores: Scores, expected: Scores) -> bool:
    return all(np.array_equal(*pair) for pair in zip(scores, expected, strict=True))


@given(st.integers(0, 300), st.sets(st.integers(0, 299), max_size=FAILED_ALONE_MAX - 1))
def test_a_row_that_makes_the_model_raise_costs_no_other_row_its_answer(count, bad):
    bad = {row for row in bad if row < count}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "score", Scorer())
        asked = ask(MODEL, rows_of(count, bad))
    good = [row for row in range(count) if row not in bad]
    assert asked.rows.tolist() == good
    assert asked.failed == dict.fromkeys(bad, "IndexError")
    assert same(asked.scores, score(MODEL, rows_of(count, bad)[good]))


def test_a_model_that_fails_on_everything_is_asked_a_bounded_number_of_times(monkeypatch):
    scorer = Scorer()
    monkeypatch.setattr(asking, "score", scorer)
    asked = ask(MODEL, rows_of(2_048, set(range(2_048))))
    assert (len(asked.rows), len(asked.failed)) == (0, 2_048)
    assert list(asked.failed.values()).count("IndexError") == FAILED_ALONE_MAX
    assert list(asked.failed.values()).count(NOT_TRIED) == 2_048 - FAILED_ALONE_MAX
    assert scorer.calls <= 2 * FAILED_ALONE_MAX + 11


def wrong(field: str, value: object):
    return lambda model, rows: score(model, rows)._replace(**{field: value})


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda model, rows: None,
        lambda model, rows: (1, 2),
        wrong("score_micro", np.zeros(3, dtype=np.int64)),
        wrong("contribution_micro", np.zeros((3, 1), dtype=np.int64)),
        wrong("fraud_probability_ppm", np.full(20, np.nan)),
        wrong("fraud_probability_ppm", np.zeros(20)),
        wrong("fraud_probability_ppm", np.full(20, -1, dtype=np.int64)),
        wrong("fraud_probability_ppm", np.full(20, 1_000_001, dtype=np.int64)),
        wrong("contribution_micro", np.full((20, 2), 5, dtype=np.int64)),
        wrong("score_micro", np.full(20, 2**62, dtype=np.int64)),
    ],
)
def test_nonsense_is_no_answer(monkeypatch, nonsense):
    monkeypatch.setattr(asking, "score", nonsense)
    asked = ask(MODEL, rows_of(20, set()))
    assert len(asked.rows) == 0
    assert len(asked.failed) == 20
    assert all(part.shape[0] == 0 for part in asked.scores)


@pytest.mark.parametrize("ppm", [-1, 1_000_001])
def test_nonsense_about_one_row_is_that_row_s_alone(monkeypatch, ppm):
    def slips(model, rows):
        scores = score(model, rows)
        scores.fraud_probability_ppm[rows[:, REPORTS] == BAD] = ppm
        return scores

    monkeypatch.setattr(asking, "score", slips)
    asked = ask(MODEL, rows_of(600, {0, 300, 599}))
    assert asked.failed == dict.fromkeys((0, 300, 599), NONSENSE)
    assert len(asked.rows) == len(asked.scores.score_micro) == 597


def test_a_model_that_is_sound_is_asked_once(monkeypatch):
    scorer = Scorer()
    monkeypatch.setattr(asking, "score", scorer)
    assert len(ask(MODEL, rows_of(512, set())).rows) == 512
    assert scorer.calls == 1
