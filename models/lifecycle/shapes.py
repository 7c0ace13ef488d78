"""What differs between two models' tables: shape by shape, exactly, over every bin of either.

Invariants
1. A shape is the sum of a model's terms over the same features. Two models that score alike everywhere have no
   difference, however their edges lie.
2. `largest_micro` is the largest difference anywhere: between two edges of either, both shapes are constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Calibration, Model, Term, probability_ppm
from pipeline.domain.features import COLUMN, Matrix

Column = NDArray[np.int64]
Features = tuple[str, ...]
_BELOW_ALL: Final = -(2**53)
"""Below every edge, so that it lies in the first bin."""


class ShapeChange(NamedTuple):
    """How the shape of one or two features changed; log-odds in millionths."""

    features: Features
    is_added: bool  # only the later model has it
    is_removed: bool
    largest_micro: int
    largest_at: tuple[int, ...]  # a value of each feature where the change is largest
    mean_micro: int | None  # of the absolute change over the payments that were given; None without any


class CalibrationChange(NamedTuple):
    """How the same score is a different probability; in millionths."""

    intercept_micro: int
    largest_ppm: int
    largest_at_micro: int  # a score


def shape_changes(before: Model, after: Model, payments: Matrix | None = None) -> list[ShapeChange]:
    """Return the shapes that differ, the most changed first.

    payments: (n, len(FEATURES)), by which changes are weighed; None, or no rows, where none are known.
    """
    earlier, later = _shapes(before), _shapes(after)
    found = [_change(name, earlier.get(name, ()), later.get(name, ()), payments) for name in {**earlier, **later}]
    changed = [change for change in found if change.largest_micro or change.is_added or change.is_removed]
    return sorted(changed, key=lambda each: (-(each.mean_micro or 0), -each.largest_micro, each.features))


def calibration_change(before: Model, after: Model) -> CalibrationChange:
    earlier, later = before.calibration, after.calibration
    scores = _points([earlier.edges, later.edges])
    differences = _probabilities(later, scores) - _probabilities(earlier, scores)
    place = int(np.abs(differences).argmax())
    intercept_micro = after.intercept_micro - before.intercept_micro
    return CalibrationChange(intercept_micro, int(differences[place]), int(scores[place]))


def _probabilities(calibration: Calibration, scores: Column) -> Column:
    found = probability_ppm(calibration, scores)
    assert int(found.max(initial=0)) <= PROBABILITY_PPM_MAX, "a loaded model's probabilities are at most 1"
    return found


def _shapes(model: Model) -> Mapping[Features, Sequence[Term]]:
    found: dict[Features, list[Term]] = {}
    for term in model.terms:
        found.setdefault(term.features, []).append(term)
    return found


def _change(name: Features, before: Sequence[Term], after: Sequence[Term], payments: Matrix | None) -> ShapeChange:
    points = [_points([term.edges[axis] for term in (*before, *after)]) for axis in range(len(name))]
    grid = np.array(list(product(*(each.tolist() for each in points))), dtype=np.int64).reshape(-1, len(name))
    differences = _values(after, grid) - _values(before, grid)
    place = int(np.abs(differences).argmax())
    mean_micro = None
    if payments is not None and len(payments):
        values = payments[:, [COLUMN[feature] for feature in name]]
        change = np.abs(_values(after, values) - _values(before, values))
        mean_micro = int(change.sum()) // len(values)
    return ShapeChange(
        features=name,
        is_added=not before,
        is_removed=not after,
        largest_micro=abs(int(differences[place])),
        largest_at=tuple(grid[place].tolist()),
        mean_micro=mean_micro,
    )


def _points(edges: Sequence[Column]) -> Column:
    """Return one value in each interval that any of the edges bounds: below all of them, and each edge itself."""
    return np.unique(np.concatenate([np.array([_BELOW_ALL], dtype=np.int64), *edges]))


def _values(terms: Sequence[Term], values: Matrix) -> Column:
    """Return what the terms add up to for rows of their features' values."""
    total = np.zeros(len(values), dtype=np.int64)
    for term in terms:
        bins = [edges.searchsorted(values[:, axis], side="right") for axis, edges in enumerate(term.edges)]
        total += term.table[tuple(bins)]
    return total
