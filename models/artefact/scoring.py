"""The score: a sum of one- and two-feature tables of integers, and one monotone table that turns it into a probability.

Invariants
1. score_micro == intercept_micro + the sum of contribution_micro, exactly: the contributions are the score (I9).
2. All arithmetic is on integers, so every machine and library version gives the same numbers (I3).
3. fraud_probability_ppm never falls when score_micro rises.
4. Row i of the result depends only on row i of the input, so a batch gives the same as its rows one by one.

A value's bin is the number of edges that are at most the value (`searchsorted` side="right"). So bin 0 is below the
first edge, and a table has one entry more than its edges. Known feature values are at least 0, so where the first edge
is 0, bin 0 holds UNKNOWN (-1) and nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import COLUMN, Matrix

TERMS_MAX: Final = 256
CONTRIBUTION_MICRO_MAX: Final = 10**9
"""Largest contribution: a thousand log-odds. 257 of them (terms and intercept) stay far below 2^63."""
PROBABILITY_PPM_MAX: Final = 1_000_000

FEW_ROWS: Final = 4
"""Up to so many rows the bins are found without numpy: for one row in 0.2 µs a feature, where numpy takes 0.7."""

Column = NDArray[np.int64]


class Term(NamedTuple):
    """A table over the bins of one or two features."""

    features: tuple[str, ...]
    edges: tuple[Column, ...]  # for each feature, strictly increasing
    table: Matrix  # log-odds in millionths; shape (len(edges) + 1, ...), one axis for each feature


class Calibration(NamedTuple):
    """The function score_micro → probability of fraud in millionths, with a step at each edge."""

    edges: Column  # score_micro, strictly increasing
    probability_ppm: Column  # len(edges) + 1, never falling


class Scores(NamedTuple):
    contribution_micro: Matrix  # (n, terms)
    score_micro: Column  # (n,)
    fraud_probability_ppm: Column  # (n,)


class _Digitiser(NamedTuple):
    """The cuts of all tables over one feature, so that a value is looked up once."""

    column: int
    edges: Column
    edge_list: list[int]


class _Plan(NamedTuple):
    """All tables laid end to end, and from a feature's bin the way to its part of an entry's position.

    An entry stands at step of its first feature's bin + step of its second's. A step is the bin among the table's own
    edges times the table's stride, the first one's with the place where the table begins.
    """

    digitisers: tuple[_Digitiser, ...]  # each feature once; the last has no edges and gives bin 0
    first: Column  # (terms,) index of a digitiser
    second: Column  # (terms,) index of a digitiser; for a one-feature term, that of the one without edges
    first_at: Column  # (terms, 1) where the steps of the term's first feature begin
    second_at: Column  # (terms, 1)
    steps: Column
    entries: Column


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model. `hash` is the SHA-256 of its manifest, which holds the hashes of all the other files."""

    version: str
    hash: bytes
    intercept_micro: int
    terms: tuple[Term, ...]
    calibration: Calibration
    typical: Mapping[str, int]
    """Training median of each feature that the model sees; UNKNOWN where it has none."""
    _plan: _Plan = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plan", _plan(self.terms))

    @property
    def plan(self) -> _Plan:
        return self._plan


def score(model: Model, features: Matrix) -> Scores:
    """Score a batch; `features` is (n, len(FEATURES)). `python -m ops.bench scoring` says what it costs."""
    plan = model.plan
    bins = _bins_of_few(plan, features) if len(features) <= FEW_ROWS else _bins(plan, features)
    at = bins[plan.first]
    at += plan.first_at
    position = plan.steps[at]
    at = bins[plan.second]
    at += plan.second_at
    position += plan.steps[at]
    contribution_micro = plan.entries[position]
    score_micro = contribution_micro.sum(axis=0) + model.intercept_micro
    return Scores(contribution_micro.T, score_micro, probability_ppm(model.calibration, score_micro))


def _bins(plan: _Plan, features: Matrix) -> Matrix:
    columns = np.ascontiguousarray(features.T)
    bins = np.empty((len(plan.digitisers), features.shape[0]), dtype=np.int64)
    for row, (column, edges, _) in enumerate(plan.digitisers):
        bins[row] = edges.searchsorted(columns[column], side="right")
    return bins


def _bins_of_few(plan: _Plan, features: Matrix) -> Matrix:
    """Return the same without numpy, whose call for each feature costs more than the search."""
    rows = features.tolist()
    return np.array(
        [[bisect_right(edges, row[column]) for row in rows] for column, _, edges in plan.digitisers], dtype=np.int64
    ).reshape(len(plan.digitisers), len(rows))


def probability_ppm(calibration: Calibration, score_micro: Column) -> Column:
    return calibration.probability_ppm[calibration.edges.searchsorted(score_micro, side="right")]


def _plan(terms: tuple[Term, ...]) -> _Plan:
    cuts: dict[str, list[Column]] = {}
    for term in terms:
        for name, edges in zip(term.features, term.edges, strict=True):
            cuts.setdefault(name, []).append(edges)
    merged = {name: np.unique(np.concatenate(each)) for name, each in cuts.items()}
    rows = {name: row for row, name in enumerate(merged)}
    without_edges, nothing = len(rows), _integers([])
    first_at, second_at, steps, offset, size = [], [], [nothing], 0, 0
    for term in terms:
        stride = term.table.shape[1] if term.table.ndim == 2 else 1
        own = [_steps(edges, merged[name]) for name, edges in zip(term.features, term.edges, strict=True)]
        parts = [own[0] * stride + offset, own[1] if len(own) == 2 else _integers([0])]
        first_at.append(size)
        second_at.append(size + len(parts[0]))
        steps += parts
        size += len(parts[0]) + len(parts[1])
        offset += term.table.size
    digitisers = [_Digitiser(COLUMN[name], edges, edges.tolist()) for name, edges in merged.items()]
    return _Plan(
        digitisers=(*digitisers, _Digitiser(0, nothing, [])),
        first=_integers([rows[term.features[0]] for term in terms]),
        second=_integers([rows[term.features[1]] if len(term.features) == 2 else without_edges for term in terms]),
        first_at=_integers(first_at)[:, np.newaxis],
        second_at=_integers(second_at)[:, np.newaxis],
        steps=np.concatenate(steps),
        entries=np.concatenate([nothing, *(term.table.ravel() for term in terms)]),
    )


def _steps(edges: Column, merged: Column) -> Column:
    """Return the bin among `edges` for each bin among `merged`, which holds them all."""
    return np.concatenate([_integers([0]), edges.searchsorted(merged, side="right")]).astype(np.int64)


def _integers(values: list[int]) -> Column:
    return np.array(values, dtype=np.int64)
