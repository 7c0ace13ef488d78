"""What a model was asked about: histograms of its inputs and scores, in the bins of its reference.

Invariants
1. Counts are whole and add up over any division of time.
2. A model without a reference has sums of its scores only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.bias.drift.quality import ScoreSums, sums_of
from pipeline.bias.drift.reference import MISSING_BINS, Reference, counts_of
from pipeline.domain.features import COLUMN

SCORE: Final = "score_ppm"
"""The name under which the scores' histogram stands beside those of features; no feature has it."""


class Asked(NamedTuple):
    """A payment that a model answered: the features in order, the probability, and whether the model would block."""

    features: Sequence[int]
    probability_ppm: int
    is_blocked: bool


class InputCounts(NamedTuple):
    sums: ScoreSums
    histograms: Mapping[str, tuple[int, ...]]  # by feature and SCORE; empty without a reference

    def plus(self, other: InputCounts) -> InputCounts:
        names = self.histograms.keys() | other.histograms.keys()
        added = {name: _added(self.histograms.get(name), other.histograms.get(name)) for name in sorted(names)}
        return InputCounts(self.sums.plus(other.sums), added)


NOTHING: Final = InputCounts(ScoreSums(), {})


def inputs_of(asked: Sequence[Asked], reference: Reference | None) -> InputCounts:
    sums = sums_of([each.probability_ppm for each in asked], [each.is_blocked for each in asked])
    if reference is None or not asked:
        return InputCounts(sums, {})
    columns = np.array([each.features for each in asked], np.int64)
    histograms = {
        name: tuple(counts_of(histogram.edges, columns[:, COLUMN[name]]).tolist())
        for name, histogram in reference.features.items()
    }
    scores = np.array([each.probability_ppm for each in asked], np.int64)
    histograms[SCORE] = tuple(counts_of(reference.score_ppm.edges, scores).tolist())
    return InputCounts(sums, histograms)


def inputs_json(counts: InputCounts) -> dict[str, object]:
    return {"sums": list(counts.sums), "histograms": {name: list(each) for name, each in counts.histograms.items()}}


def inputs_from(stored: Mapping[str, object]) -> InputCounts:
    """Return the counts of their JSON. Raises ValueError."""
    sums, histograms = stored.get("sums"), stored.get("histograms")
    if not isinstance(sums, list) or not isinstance(histograms, dict) or len(sums) != len(ScoreSums()):
        raise ValueError("counts of inputs have sums and histograms")
    return InputCounts(ScoreSums(*_whole(sums)), {str(name): _whole(each) for name, each in histograms.items()})


def _whole(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(isinstance(each, int) and each >= 0 for each in values):
        raise ValueError("a count is no integer")
    if len(values) < MISSING_BINS:
        raise ValueError("a histogram has its bins")
    return tuple(values)


def _added(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> tuple[int, ...]:
    if first is None or second is None:
        return first or second or ()
    return tuple([mine + more for mine, more in zip(first, second, strict=True)])
