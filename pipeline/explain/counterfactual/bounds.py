"""How low a model's score could go if some features were anything at all.

A glass box is a sum of tables, so the least that each could say where some of its features are free is a bound on the
whole. Facts whose every change leaves the bound too high are not looked at, which costs a search nothing that it could
have found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.artefact.scoring import Column, Model, Term
from pipeline.domain.features import COLUMN, Matrix


class _Least(NamedTuple):
    """A term's table, and the least along one axis or both."""

    columns: tuple[int, ...]
    edges: tuple[Column, ...]
    table: Matrix
    least_of_first: Matrix | None  # for a pair: the first is free, one entry a bin of the second
    least_of_second: Matrix | None
    least: int


class Bounds:
    def __init__(self, model: Model) -> None:
        self.intercept_micro = model.intercept_micro
        self.terms = [_least(term) for term in model.terms]

    def least_score(self, rows: Matrix, free: frozenset[int]) -> Column:
        """For each row, a number that its score is not below, whatever the `free` columns were."""
        total = np.full(len(rows), self.intercept_micro, dtype=np.int64)
        for term in self.terms:
            is_free = [column in free for column in term.columns]
            if all(is_free):
                total += term.least
                continue
            bins = [
                None if each_free else edges.searchsorted(rows[:, column], side="right")
                for column, edges, each_free in zip(term.columns, term.edges, is_free, strict=True)
            ]
            total += _entries(term, bins)
        return total


class RowBounds:
    """The bounds of one row, for many sets of free columns."""

    def __init__(self, bounds: Bounds, row: Matrix) -> None:
        self._intercept = bounds.intercept_micro
        rows = row[np.newaxis]
        self._terms = [(term.columns, _least_by_free(term, rows)) for term in bounds.terms]

    def least_score(self, free: frozenset[int]) -> int:
        """As `Bounds.least_score`."""
        total = self._intercept
        for columns, least in self._terms:
            total += least[columns[0] in free][columns[-1] in free]
        return total


def _least_by_free(term: _Least, rows: Matrix) -> list[list[int]]:
    """By whether the first column is free, then by whether the last is."""
    first, last = (
        edges.searchsorted(rows[:, column], side="right")
        for column, edges in ((term.columns[0], term.edges[0]), (term.columns[-1], term.edges[-1]))
    )
    if len(term.columns) == 1:
        known = int(term.table[first][0])
        return [[known, term.least], [term.least, term.least]]
    return [
        [int(_entries(term, [first, last])[0]), int(_entries(term, [first, None])[0])],
        [int(_entries(term, [None, last])[0]), term.least],
    ]


def _entries(term: _Least, bins: list[Column | None]) -> Column:
    first, *others = bins
    if not others:
        return term.table[first]
    [second] = others
    if first is None:
        assert term.least_of_first is not None
        return term.least_of_first[second]
    if second is None:
        assert term.least_of_second is not None
        return term.least_of_second[first]
    return term.table[first, second]


def _least(term: Term) -> _Least:
    is_pair = len(term.features) == 2
    return _Least(
        tuple(COLUMN[name] for name in term.features),
        term.edges,
        term.table,
        term.table.min(axis=0) if is_pair else None,
        term.table.min(axis=1) if is_pair else None,
        int(term.table.min()),
    )
