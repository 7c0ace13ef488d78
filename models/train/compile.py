"""The exact compilation of a fitted additive booster to integer tables.

Invariants
1. The sum of the exact tables is the booster's own score within 1e-9, whatever integers a payment has.
2. Rounding each entry to a millionth moves a score by at most half a millionth for each term and for the intercept.
3. The tables are pure: under the density of the training, a table over two features has mean 0 along each axis, and one
   over a single feature has mean 0. So a score has one sum of contributions, and no other (`models.train.purify`).

The booster splits at real cuts c: a value is right of a cut when value >= c. On integers that is value >= ceil(c), so
the edge is ceil(c) with side="right". Cuts that fall between the same two integers leave bins that no integer reaches;
these bins are left out. NONE is the booster's missing value and becomes bin 0, below an edge at 0 (see
`models.artefact.scoring`).

The booster cuts a feature more coarsely for its pairs than for its own table, and not always at the same places. What a
pair says about one of its features alone goes into that feature's own table, which then has the cuts of both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]

from models.artefact.scoring import CONTRIBUTION_MICRO_MAX, Calibration, Column, Term
from models.train.purify import Floats, purified

MICRO: Final = 1_000_000
PPM: Final = 1_000_000


class LearningDiverged(ArithmeticError):
    """The booster's numbers make no model; the message is one sentence."""


class ExactTerm(NamedTuple):
    """A table before rounding; otherwise as a Term."""

    features: tuple[str, ...]
    edges: tuple[Column, ...]
    table: Floats  # log-odds


class Exact(NamedTuple):
    intercept: float
    terms: tuple[ExactTerm, ...]  # those over one feature first


class _Part(NamedTuple):
    """A table with the training's weight of each of its entries."""

    columns: tuple[int, ...]
    edges: tuple[Column, ...]
    table: Floats
    density: Floats


def compile_terms(booster: Any, names: Sequence[str]) -> tuple[int, tuple[Term, ...]]:
    """Compile a fitted ExplainableBoostingClassifier into intercept_micro and terms.

    `names` are its features in order. Terms that are 0 everywhere are left out. Raises LearningDiverged.
    """
    exact = exact_terms(booster, names)
    rounded = [
        Term(term.features, term.edges, np.round(term.table * MICRO).astype(np.int64))
        for term in map(_sane, exact.terms)
    ]
    if not abs(exact.intercept) * MICRO <= CONTRIBUTION_MICRO_MAX:
        raise LearningDiverged("the intercept is no finite, reasonable log-odds; learn more slowly")
    return round(exact.intercept * MICRO), tuple(term for term in rounded if term.table.any())


def exact_terms(booster: Any, names: Sequence[str]) -> Exact:
    """Return the booster's tables on integers, pure, and before they are rounded."""
    fitted = zip(booster.term_features_, booster.term_scores_, booster.bin_weights_, strict=True)
    parts = [_part(booster, columns, scores, density) for columns, scores, density in fitted]
    intercept, pairs = float(booster.intercept_[0]), []
    alone: dict[int, list[tuple[Column, Floats]]] = {}
    for part in parts:
        if len(part.columns) == 1:
            mean = float((part.table * part.density).sum() / part.density.sum())
            intercept += mean
            alone.setdefault(part.columns[0], []).append((part.edges[0], part.table - mean))
            continue
        split = purified(part.table, part.density)
        intercept += split.constant
        for column, edges, effects in zip(part.columns, part.edges, (split.first, split.second), strict=True):
            alone.setdefault(column, []).append((edges, effects))
        pairs.append(ExactTerm(tuple(names[column] for column in part.columns), part.edges, split.rest))
    mains = [ExactTerm((names[column],), *_summed(alone[column])) for column in sorted(alone)]
    return Exact(intercept, (*mains, *pairs))


def exact_scores(exact: Exact, columns: dict[str, Column]) -> Floats:
    """Return the log-odds before rounding; `columns` are the values of each feature."""
    total = np.full(len(next(iter(columns.values()))), exact.intercept)
    for term in exact.terms:
        bins = [
            edges.searchsorted(columns[name], side="right")
            for name, edges in zip(term.features, term.edges, strict=True)
        ]
        total += term.table[tuple(bins)]
    return total


def calibrate(score_micro: Column, fraud: NDArray[np.bool_], weight: Floats | None = None) -> Calibration:
    """Fit isotonic steps from scores to the share of fraud, on examples that the tables were not learned from.

    A step's share is (frauds + 1/2) / (examples + 1), so that a step without an honest example is not taken for
    certainty. weight: what each example counts; None for 1. A step of weighted examples says as much as its effective
    number of them (Kish, 1965), because one that stands for twenty is one observation all the same.
    """
    counted = np.ones(len(fraud)) if weight is None else weight
    fitted = IsotonicRegression(increasing=True).fit_transform(
        score_micro.astype(np.float64), fraud.astype(np.float64), sample_weight=weight
    )
    order = np.argsort(score_micro, kind="stable")
    score_sorted, step, counted = score_micro[order], fitted[order], counted[order]
    fraud_sorted = fraud[order] * counted
    begins = np.flatnonzero(np.diff(step, prepend=-1.0) > 0)
    ends = [*begins[1:].tolist(), len(order)]
    shares = [
        _share(fraud_sorted[begin:end], counted[begin:end]) for begin, end in zip(begins.tolist(), ends, strict=True)
    ]
    probability_ppm = np.maximum.accumulate(np.round(np.array(shares) * PPM)).astype(np.int64)
    changes = np.concatenate([[True], np.diff(probability_ppm) > 0])
    return Calibration(score_sorted[begins[changes]][1:].astype(np.int64), probability_ppm[changes])


def _share(frauds: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    observed = total / float((weights**2).sum())  # examples to one of weight; 1 where none is weighted
    return (float(frauds.sum()) * observed + 0.5) / (total * observed + 1)


def _part(booster: Any, columns: Sequence[int], scores: Floats, density: Floats) -> _Part:
    """Bring one term onto integers.

    On each axis `scores` has the missing bin, the bins between cuts, and a bin for unseen categories.
    """
    table, weights = np.asarray(scores, dtype=np.float64), np.asarray(density, dtype=np.float64)
    edges = []
    for axis, column in enumerate(columns):
        axis_edges, kept = _integer_bins(_cuts(booster.bins_[column], len(columns)))
        table, weights = np.take(table, kept, axis=axis), np.take(weights, kept, axis=axis)
        edges.append(axis_edges)
    return _Part(tuple(columns), tuple(edges), table, weights)


def _summed(parts: Sequence[tuple[Column, Floats]]) -> tuple[tuple[Column], Floats]:
    """Add up tables over one feature, on the cuts of all of them."""
    edges = np.unique(np.concatenate([each for each, _ in parts]))
    lower = np.concatenate([[-1], edges])  # the least value of each bin; NONE stands for the first
    tables = [table[own.searchsorted(lower, side="right")] for own, table in parts]
    return (edges,), np.sum(tables, axis=0)


def _cuts(levels: Sequence[NDArray[np.float64]], dimensions: int) -> NDArray[np.float64]:
    """Return a feature's cuts; the booster keeps finer ones for single features (level 0) than for pairs (the last)."""
    return np.asarray(levels[min(len(levels), dimensions) - 1], dtype=np.float64)


def _sane(term: ExactTerm) -> ExactTerm:
    if not np.abs(term.table).max() * MICRO <= CONTRIBUTION_MICRO_MAX:  # written so, this catches NaN too
        raise LearningDiverged(
            f"the table of {' and '.join(term.features)} has no finite, reasonable log-odds; learn more slowly"
        )
    return term


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
