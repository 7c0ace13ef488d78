"""The exact compilation of a fitted additive booster to integer tables.

The booster splits at real cuts c: a value is right of a cut when value >= c. On integers that is value >= ceil(c), so
the edge is ceil(c) with side="right". Cuts that fall between the same two integers leave bins that no integer reaches;
these bins are left out. UNKNOWN is the booster's missing value and becomes bin 0, below an edge at 0 (see
`models.artefact.scoring`). Rounding each entry to a millionth moves a score by at most half a millionth for each term
and for the intercept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]

from models.artefact.scoring import CONTRIBUTION_MICRO_MAX, Calibration, Column, Term

MICRO: Final = 1_000_000
PPM: Final = 1_000_000


class LearningDiverged(ArithmeticError):
    """The booster's numbers make no model; the message is one sentence."""


def compile_terms(booster: Any, names: Sequence[str]) -> tuple[int, tuple[Term, ...]]:
    """Compile a fitted ExplainableBoostingClassifier into intercept_micro and terms.

    `names` are its features in order. Terms that are 0 everywhere are left out. Raises LearningDiverged.
    """
    terms = []
    for columns, scores in zip(booster.term_features_, booster.term_scores_, strict=True):
        cuts = [_cuts(booster.bins_[column], len(columns)) for column in columns]
        term = _term(tuple(names[column] for column in columns), cuts, scores)
        if term.table.any():
            terms.append(term)
    return round(float(booster.intercept_[0]) * MICRO), tuple(terms)


def calibrate(score_micro: Column, fraud: NDArray[np.bool_]) -> Calibration:
    """Fit isotonic steps from scores to the share of fraud, on examples that the tables were not learned from.

    A step's share is (frauds + 1/2) / (examples + 1), so that a step without an honest example is not taken for
    certainty.
    """
    fitted = IsotonicRegression(increasing=True).fit_transform(score_micro.astype(np.float64), fraud.astype(np.float64))
    order = np.argsort(score_micro, kind="stable")
    score_sorted, step, fraud_sorted = score_micro[order], fitted[order], fraud[order]
    begins = np.flatnonzero(np.diff(step, prepend=-1.0) > 0)
    ends = [*begins[1:].tolist(), len(order)]
    shares = [
        (int(fraud_sorted[begin:end].sum()) + 0.5) / (end - begin + 1)
        for begin, end in zip(begins.tolist(), ends, strict=True)
    ]
    probability_ppm = np.maximum.accumulate(np.round(np.array(shares) * PPM)).astype(np.int64)
    changes = np.concatenate([[True], np.diff(probability_ppm) > 0])
    return Calibration(score_sorted[begins[changes]][1:].astype(np.int64), probability_ppm[changes])


def _cuts(levels: Sequence[NDArray[np.float64]], dimensions: int) -> NDArray[np.float64]:
    """Return a feature's cuts; the booster keeps finer ones for single features (level 0) than for pairs (the last)."""
    return np.asarray(levels[min(len(levels), dimensions) - 1], dtype=np.float64)


def _term(names: tuple[str, ...], cuts: list[NDArray[np.float64]], scores: NDArray[np.float64]) -> Term:
    """Compile one term.

    On each axis `scores` has the missing bin, the bins between cuts, and a bin for unseen categories.
    """
    table = np.asarray(scores, dtype=np.float64)
    edges = []
    for axis, axis_cuts in enumerate(cuts):
        axis_edges, kept = _integer_bins(axis_cuts)
        table = np.take(table, kept, axis=axis)
        edges.append(axis_edges)
    if not np.abs(table).max() * MICRO <= CONTRIBUTION_MICRO_MAX:  # written so, this catches NaN too
        raise LearningDiverged(
            f"the table of {' and '.join(names)} has no finite, reasonable log-odds; learn more slowly"
        )
    return Term(names, tuple(edges), np.round(table * MICRO).astype(np.int64))


def _integer_bins(cuts: NDArray[np.float64]) -> tuple[Column, list[int]]:
    """Return edges for integers of at least 0, and for each of their bins the booster's bin; the first is missing."""
    ceilings = [0, *(int(ceiling) for ceiling in np.ceil(cuts))]
    bins = [(edge, bin_) for bin_, edge in enumerate(ceilings, start=1)]
    reachable = [
        (max(edge, 0), bin_)
        for (edge, bin_), (after, _) in itertools.pairwise([*bins, (2**62, 0)])
        if after > max(edge, 0)
    ]
    return np.array([edge for edge, _ in reachable], dtype=np.int64), [0, *(bin_ for _, bin_ in reachable)]
