"""The model of the bench `scoring` is as large as it says, and its score is the plain sum of its tables."""

from __future__ import annotations

import numpy as np

from models.artefact.scoring import FEW_ROWS, score
from ops.bench.learned.scoring import BINS, PAIR_BINS, PAIRS, largest, payments
from pipeline.domain.features import COLUMN


def test_the_largest_model_has_1024_bins_and_pairs_of_64() -> None:
    model = largest()
    shapes = [term.table.shape for term in model.terms]
    assert shapes.count((PAIR_BINS, PAIR_BINS)) == PAIRS
    assert {shape for shape in shapes if len(shape) == 1} == {(BINS,)}


def test_its_scores_are_the_entries_of_its_tables_in_batches_and_alone() -> None:
    model, rows = largest(), payments(40)
    whole = score(model, rows)
    for place, term in enumerate(model.terms):
        bins = [
            edges.searchsorted(rows[:, COLUMN[name]], side="right")
            for name, edges in zip(term.features, term.edges, strict=True)
        ]
        assert np.array_equal(term.table[tuple(bins)], whole.contribution_micro[:, place])
    for count in range(1, FEW_ROWS + 2):
        assert np.array_equal(score(model, rows[:count]).score_micro, whole.score_micro[:count])
