"""Taking out of a table over two features what each of them says alone, so that only their interplay is left in it.

Invariants
1. constant + first[i] + second[j] + rest[i, j] is the table's entry, for every i and j.
2. Weighted by the density, `rest` has mean 0 along each axis, and so have `first` and `second`. So no part of the score
   could stand in another table as well: the contributions of a score are unique.
3. A bin that the density never met has no weight of its own; the other feature's density stands in for it, so that its
   row of `rest` has mean 0, too.

4. Where the density falls into blocks that share no bin, a constant could move from one axis to the other in each. Then
   the mean square of what is left outside of the blocks, under the product of both densities, decides. So the split is
   the same whatever stood in the table for one feature alone.

This is the weighted additive fit (functional analysis of variance; Lengerich and others, 2020), solved at once: to
average rows and columns in turns needs thousands of rounds where two features nearly follow from each other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

Floats = NDArray[np.float64]

SINGULAR: Final = 1e-12
"""Share of the largest eigenvalue below which a direction is no direction: of each block one, a constant's."""
POLISHED: Final = 20
"""Rounds of averaging in turns, after the solution, that take out what its rounding left."""


class Purified(NamedTuple):
    constant: float
    first: Floats  # (rows,)
    second: Floats  # (columns,)
    rest: Floats  # (rows, columns)


def purified(table: Floats, density: Floats) -> Purified:
    """Split a table; `density` has its shape, is nowhere negative, and is above 0 somewhere."""
    assert table.shape == density.shape, "every entry has its weight"
    weight = density / density.sum()
    rows, columns = weight.sum(axis=1), weight.sum(axis=0)
    constant = float((weight * table).sum())
    second = _second(weight, rows, columns, table - constant)
    first = np.zeros(len(rows))
    for _ in range(POLISHED):
        first = _mean(weight, table - constant - second[np.newaxis, :], rows, columns)
        second = _mean(weight.T, (table - constant - first[:, np.newaxis]).T, columns, rows)
    first, second = _settled_between(weight, rows, columns, table - constant, first, second)
    moved = float((columns * second).sum())
    second, first = second - moved, first + moved
    rest = table - constant - first[:, np.newaxis] - second[np.newaxis, :]
    return Purified(constant, first, second, rest)


def _mean(weight: Floats, table: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return the mean of each row under its weights; of one without any, under the other feature's density."""
    alone = (table * columns[np.newaxis, :]).sum(axis=1)
    own = (weight * table).sum(axis=1)
    mean: Floats = np.where(rows > 0, own / np.where(rows > 0, rows, 1.0), alone)
    return mean


def _second(weight: Floats, rows: Floats, columns: Floats, table: Floats) -> Floats:
    """Solve the normal equations of the additive fit for the second feature's effects."""
    met_rows, met_columns = np.flatnonzero(rows > 0), np.flatnonzero(columns > 0)
    w = weight[np.ix_(met_rows, met_columns)]
    t, root = table[np.ix_(met_rows, met_columns)], np.sqrt(columns[met_columns])
    share = w / rows[met_rows][:, np.newaxis]
    right = (w * t).sum(axis=0) - (share * (w * t).sum(axis=1)[:, np.newaxis]).sum(axis=0)
    left = np.diag(columns[met_columns]) - np.einsum("ij,ik->jk", share, w)
    scaled = left / root[:, np.newaxis] / root[np.newaxis, :]
    effects = np.zeros(len(columns))
    effects[met_columns] = np.linalg.lstsq(scaled, right / root, rcond=SINGULAR)[0] / root
    return effects


def _settled_between(
    weight: Floats, rows: Floats, columns: Floats, table: Floats, first: Floats, second: Floats
) -> tuple[Floats, Floats]:
    """Move a constant between the axes of each block so that what is left outside of the blocks is least."""
    count = len(rows)
    joined = np.zeros((count + len(columns),) * 2, dtype=np.bool_)
    joined[:count, count:] = weight > 0
    blocks, block = connected_components(joined, directed=False)
    of_row, of_column = np.eye(blocks)[block[:count]], np.eye(blocks)[block[count:]]
    mass = np.outer(rows, columns)
    between = np.einsum("ik,ij,jl->kl", of_row, mass, of_column)
    left = table - first[:, np.newaxis] - second[np.newaxis, :]
    rest = np.einsum("ik,ij,jl->kl", of_row, mass * left, of_column)
    pull = between + between.T
    laplacian = np.diag(pull.sum(axis=1)) - pull
    constants = np.linalg.lstsq(laplacian, rest.sum(axis=1) - rest.sum(axis=0), rcond=SINGULAR)[0]
    first, second = first + of_row @ constants, second - of_column @ constants
    alone = rows == 0, columns == 0  # their means follow from the other axis as it is now
    first[alone[0]] = _mean(weight, table - second[np.newaxis, :], rows, columns)[alone[0]]
    second[alone[1]] = _mean(weight.T, (table - first[:, np.newaxis]).T, columns, rows)[alone[1]]
    return first, second
