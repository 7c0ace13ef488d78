"""The values at which an answer may change: the edges of a policy's conditions and of a model's tables.

Between two edges a feature can be anything and the answer stays the same, so a search that looks at one value on
either side of each edge looks at everything.

An edge of a feature that follows from facts is an edge of each of these facts too, at a value that depends on the
others. It is computed here by solving the feature's formula for the fact. That only proposes values: what a row with
such a value holds is computed as the pipeline computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from models.artefact.scoring import Model
from pipeline.domain.features import COLUMN, Matrix
from pipeline.explain.counterfactual.facts import AMOUNT_COLUMN, Fact
from pipeline.explain.counterfactual.relations import (
    FEEDING,
    HOLDING_AMOUNT,
    NEAR_LIMIT,
    SINCE_LAST,
    WINDOWS_MS,
    comparable_with,
    touched_by,
)

NO_EDGE: Final = -1
_PRODUCT_MAX: Final = 9e18
"""Products beyond stand for values that no payment has, and are left out before they overflow."""
_AMOUNT_MAX: Final = 2**38
"""Above every amount, in pence."""
_PERCENT: Final = 100
_PPM: Final = 1_000_000
_SUM_30D, _COUNT_30D = COLUMN["account_sum_minor_30d"], COLUMN["account_count_30d"]
_VOLUME_30D, _VOLUME_COUNT = COLUMN["account_volume_minor_30d"], COLUMN["account_volume_count_30d"]
_MONTH: Final = COLUMN["account_normal_month_minor"]
_OF_AVERAGE, _OF_EARLIER = COLUMN["amount_percent_of_average_30d"], COLUMN["amount_percent_of_earlier_average_30d"]
_OF_MONTH: Final = COLUMN["account_volume_percent_of_normal_month"]
_PLAIN: Final = {
    **{
        COLUMN[f"account_average_minor_{w}"]: (COLUMN[f"account_sum_minor_{w}"], COLUMN[f"account_count_{w}"], 1)
        for w in ("24h", "7d", "30d")
    },
    **{
        COLUMN[f"beneficiary_risk_ppm_{w}"]: (
            COLUMN[f"beneficiary_frauds_{w}"],
            COLUMN[f"beneficiary_labelled_{w}"],
            _PPM,
        )
        for w in ("1d", "7d", "30d")
    },
    _OF_MONTH: (_VOLUME_30D, _MONTH, _PERCENT),
}
"""Numerator, denominator and scale of the features that are one share of two facts."""


class Edges:
    """Edges by column: each is the first value of another cell."""

    def __init__(
        self, bounds: Iterable[tuple[str, int, int]], model: Model | None, near_limit_minor: tuple[int, int] | None
    ) -> None:
        """bounds: feature, least and greatest value of each condition of a rule."""
        found: dict[int, set[int]] = {}
        for feature, low, high in bounds:
            if feature in COLUMN:
                found.setdefault(COLUMN[feature], set()).update((low, high + 1))
        for term in () if model is None else model.terms:
            for name, edges in zip(term.features, term.edges, strict=True):
                found.setdefault(COLUMN[name], set()).update(edges.tolist())
        self._edges = {column: np.array(sorted(values), dtype=np.int64) for column, values in found.items()}
        self._near_limit = () if near_limit_minor is None else (near_limit_minor[0], near_limit_minor[1] + 1)

    @property
    def read(self) -> frozenset[int]:
        """The columns that a rule or the model reads."""
        return frozenset(self._edges)

    def facts_read(self) -> frozenset[int]:
        """The columns of facts that a rule or the model reads, or that a feature is computed from which they read."""
        feeding = {fact for derived, sources in FEEDING.items() if derived in self._edges for fact in sources}
        amount = {AMOUNT_COLUMN} if self.read & {*HOLDING_AMOUNT, NEAR_LIMIT} else set()
        return self.read | feeding | amount

    def values(self, fact: Fact, rows: Matrix) -> Matrix:
        """For each row, the values of the fact at which an answer may change; (n, edges), NO_EDGE where there is none.

        The rows hold all that is changed beside it.
        """
        parts = [np.empty((len(rows), 0), dtype=np.int64)]
        for column in comparable_with(fact.column):
            if column in self._edges:
                parts.append(_beside(rows, self._edges[column]))
            if column != fact.column:  # from here on one pushes the other
                parts.extend((rows[:, column : column + 1], rows[:, column : column + 1] + 1))
            parts.extend(self._of_derived(column, rows))
        parts.extend(self._of_amount(rows) if fact.column == AMOUNT_COLUMN else ())
        if fact.column == SINCE_LAST:
            parts.append(_beside(rows, np.array(WINDOWS_MS, dtype=np.int64)))
        return np.concatenate(parts, axis=1)

    def _of_derived(self, column: int, rows: Matrix) -> Iterator[Matrix]:
        for derived in sorted(self._derived & touched_by(column)):
            if solve := _solver(column, derived):
                yield solve(rows, self._edges[derived])

    def _of_amount(self, rows: Matrix) -> Iterator[Matrix]:
        """Where the amount moves a sum over an edge, or becomes or ceases to be just under the limit."""
        for column in HOLDING_AMOUNT:
            if column in self._edges:
                yield self._edges[column] - (rows[:, column] - rows[:, AMOUNT_COLUMN])[:, np.newaxis]
        yield _beside(rows, np.array(self._near_limit, dtype=np.int64))

    @property
    def _derived(self) -> frozenset[int]:
        return self.read & FEEDING.keys()


def _beside(rows: Matrix, values: Matrix) -> Matrix:
    return np.broadcast_to(values, (len(rows), len(values)))


_Solver = Callable[[Matrix, Matrix], Matrix]


def _solver(fact: int, derived: int) -> _Solver | None:
    """The function that gives, of rows and the feature's edges, the values of the fact, (rows, edges); None where it is
    no source."""
    if derived in _PLAIN:
        numerator, denominator, scale = _PLAIN[derived]
        if fact == numerator:
            return lambda rows, edges: _least_numerator(_of(rows, denominator), edges, scale)
        if fact == denominator:
            return lambda rows, edges: _least_denominator(_of(rows, numerator), edges, scale)
        if fact == AMOUNT_COLUMN and numerator in HOLDING_AMOUNT:
            return lambda rows, edges: _shifted(
                _least_numerator(_of(rows, denominator), edges, scale), _of(rows, fact) - _of(rows, numerator)
            )
        return None
    solvers = _OF_AVERAGE_SOLVERS if derived == _OF_AVERAGE else _OF_EARLIER_SOLVERS
    return solvers.get(fact)


def _of(rows: Matrix, column: int) -> Matrix:
    """(rows, 1), to stand beside edges."""
    return rows[:, column : column + 1]


def _least_numerator(denominator: Matrix, edges: Matrix, scale: int) -> Matrix:
    """The least numerator whose rounded share is at least each edge: ceil(denominator (2 edge − 1) / (2 scale))."""
    is_whole = (denominator > 0) & (edges >= 1) & (denominator * 2.0 * edges < _PRODUCT_MAX)
    product = np.where(is_whole, denominator, 0) * np.where(is_whole, 2 * edges - 1, 0)
    return np.where(is_whole, -(-product // (2 * scale)), NO_EDGE)


def _least_denominator(numerator: Matrix, edges: Matrix, scale: int) -> Matrix:
    """The least denominator whose rounded share is below each edge: floor(2 scale numerator / (2 edge − 1)) + 1."""
    is_whole = (numerator >= 0) & (edges >= 1) & (numerator * 2.0 * scale < _PRODUCT_MAX)
    doubled = np.where(is_whole, numerator, 0) * (2 * scale)
    return np.where(is_whole, doubled // np.maximum(2 * edges - 1, 1) + 1, NO_EDGE)


def _shifted(values: Matrix, by: Matrix | int) -> Matrix:
    return np.where(values == NO_EDGE, NO_EDGE, np.maximum(values + by, NO_EDGE))


def _averages(rows: Matrix, edges: Matrix) -> Matrix:
    """The least average of 30 days of which the payment is less than each edge in percent."""
    return _least_denominator(_of(rows, AMOUNT_COLUMN), edges, _PERCENT)


def _sums_of_average(rows: Matrix, edges: Matrix) -> Matrix:
    return _least_numerator(_of(rows, _COUNT_30D), _averages(rows, edges), 1)


def _counts_of_average(rows: Matrix, edges: Matrix) -> Matrix:
    return _least_denominator(_of(rows, _SUM_30D), _averages(rows, edges), 1)


def _amounts_of_average(rows: Matrix, edges: Matrix) -> Matrix:
    """By halving: the amount is above the line and, as one of the payments averaged, below it."""
    others = _of(rows, _SUM_30D) - _of(rows, AMOUNT_COLUMN)
    is_whole = (_of(rows, _COUNT_30D) > 0) & (others >= 0) & (edges >= 1)
    count = np.maximum(_of(rows, _COUNT_30D), 1)
    low = np.zeros(is_whole.shape, dtype=np.int64)
    high = np.full(is_whole.shape, _AMOUNT_MAX, dtype=np.int64)
    for _ in range(_AMOUNT_MAX.bit_length()):
        middle = (low + high) // 2
        average = np.maximum((2 * (middle + others) + count) // (2 * count), 1)
        is_reached = (2 * _PERCENT * middle + average) // (2 * average) >= edges
        low, high = np.where(is_reached, low, np.minimum(middle + 1, high)), np.where(is_reached, middle, high)
    return np.where(is_whole & (low < _AMOUNT_MAX), low, NO_EDGE)


def _amounts_of_earlier(rows: Matrix, edges: Matrix) -> Matrix:
    others = _of(rows, _VOLUME_30D) - _of(rows, AMOUNT_COLUMN)
    return _over(_least_numerator(others, edges, _PERCENT), _of(rows, _VOLUME_COUNT) - 1)


def _counts_of_earlier(rows: Matrix, edges: Matrix) -> Matrix:
    others = _of(rows, _VOLUME_30D) - _of(rows, AMOUNT_COLUMN)
    return _shifted(_over(_least_numerator(others, edges, _PERCENT), _of(rows, AMOUNT_COLUMN)), 1)


def _volumes_of_earlier(rows: Matrix, edges: Matrix) -> Matrix:
    amount, earlier = _of(rows, AMOUNT_COLUMN), _of(rows, _VOLUME_COUNT) - 1
    is_whole = (earlier > 0) & (amount >= 0) & (amount * 1.0 * earlier < _PRODUCT_MAX / (2 * _PERCENT))
    product = np.where(is_whole, amount * np.maximum(earlier, 0), NO_EDGE)
    return _shifted(_least_denominator(product, edges, _PERCENT), amount)


def _over(product: Matrix, factor: Matrix) -> Matrix:
    """ceil(product / factor)"""
    return np.where((product == NO_EDGE) | (factor <= 0), NO_EDGE, -(-product // np.maximum(factor, 1)))


_OF_AVERAGE_SOLVERS: Final[dict[int, _Solver]] = {
    AMOUNT_COLUMN: _amounts_of_average,
    _SUM_30D: _sums_of_average,
    _COUNT_30D: _counts_of_average,
}
_OF_EARLIER_SOLVERS: Final[dict[int, _Solver]] = {
    AMOUNT_COLUMN: _amounts_of_earlier,
    _VOLUME_COUNT: _counts_of_earlier,
    _VOLUME_30D: _volumes_of_earlier,
}
