"""The rule that came nearest to applying: what an ALLOW says after how sure the model is.

Invariants
1. How near a condition is, is its distance from its bound in millionths of the bound; for hours of the day, of how long
   they last. A rule is as near as the farthest of its conditions, which is the one that is told.
2. A yes or no that is not met is a whole bound away, a missing value that does not hold for ever: neither is told where
   anything nearer is.
3. Integers only; a row depends on nothing but itself, and of equally near rules the first is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.reasons.families import MINUTES_OF_DAY, OF_SEVERAL
from pipeline.domain.features import COLUMN, NONE, UNKNOWN, Matrix

_WHOLE: Final = 1_000_000
_FAR: Final = 2**40
"""No rule: nothing is known that would bring it nearer."""
_GAP_MAX: Final = 9 * 10**12
"""A gap as wide as this counts as this, so that its millionths stay below 2^63."""
CONDITIONS_MAX: Final = 4
"""Of a rule, as `pipeline.decide.policy_rules` has it."""
NOTHING_NEAR: Final = -1
_COUNT_30D: Final = COLUMN["account_count_30d"]


class Edge(NamedTuple):
    """A condition as the distance is measured to it; columns are those of a row of features."""

    feature: str
    column: int
    low: int
    high: int
    holds_when_none: bool
    holds_when_unknown: bool


class Distances:
    """The rules whose distance can be measured, side by side."""

    def __init__(self, rules: Sequence[tuple[int, Sequence[Edge]]]) -> None:
        """Each with its place in the table that it stands in."""
        edges = [edge for _, its in rules for edge in its]
        counts = [len(its) for _, its in rules]
        self._places = np.array([place for place, _ in rules], dtype=np.int64)
        self._columns = np.array([edge.column for edge in edges], dtype=np.intp)
        self._low = _column([edge.low for edge in edges])
        self._high = _column([edge.high for edge in edges])
        self._scale = _column([_scale(edge) for edge in edges])
        self._when_none = _column([0 if edge.holds_when_none else _FAR for edge in edges])
        self._when_unknown = _column([0 if edge.holds_when_unknown else _FAR for edge in edges])
        self._boundless = np.flatnonzero(self._low > self._high)
        self._of_several = np.flatnonzero([edge.feature in OF_SEVERAL for edge in edges])
        # Ties within a rule go to the first condition: it is told with the greatest of these.
        self._rank = _column([CONDITIONS_MAX - 1 - n for count in counts for n in range(count)])
        self._starts = np.array([sum(counts[:number]) for number in range(len(counts))], dtype=np.intp)

    def nearest(self, rows: Matrix) -> list[int]:
        """One a row: the rule's place in its table, times CONDITIONS_MAX, and its condition's in the rule; -1 where no
        rule comes near. Integers and no tuples, which would cost as much as all the rest."""
        if not len(self._places):
            return [NOTHING_NEAR] * len(rows)
        far = self._far(rows) * CONDITIONS_MAX + self._rank
        by_rule = np.maximum.reduceat(far, self._starts, axis=0)
        chosen = (by_rule // CONDITIONS_MAX).argmin(axis=0)
        rank = by_rule[chosen, np.arange(len(rows))]
        near = self._places[chosen] * CONDITIONS_MAX + (CONDITIONS_MAX - 1 - rank % CONDITIONS_MAX)
        named: list[int] = np.where(rank >= _FAR * CONDITIONS_MAX, NOTHING_NEAR, near).tolist()
        return named

    def _far(self, rows: Matrix) -> Matrix:
        """(conditions, rows): a condition's numbers side by side, which is several times as fast."""
        observed = np.ascontiguousarray(rows[:, self._columns].T)
        gap: NDArray[np.int64] = np.maximum(self._low - observed, observed - self._high)
        np.clip(gap, 0, _GAP_MAX, out=gap)
        far: Matrix = gap * _WHOLE // self._scale
        np.minimum(far, _FAR, out=far)
        far[self._boundless] = _FAR
        if self._of_several.size:  # of an account's only payment they say nothing
            part = far[self._of_several]
            far[self._of_several] = np.where((rows[:, _COUNT_30D] <= 1) & (part > 0), _FAR, part)
        if (observed < 0).any():
            far = np.where(observed == NONE, self._when_none, far)
            far = np.where(observed == UNKNOWN, self._when_unknown, far)
        return far


def _column(numbers: list[int]) -> Matrix:
    return np.array(numbers, dtype=np.int64)[:, np.newaxis]


def _scale(edge: Edge) -> int:
    if edge.feature.startswith("is_"):
        return 1
    if edge.feature in MINUTES_OF_DAY and edge.low <= edge.high:
        return max(min(edge.high, 1439) - edge.low + 1, 1)
    return max(edge.low if edge.low > 0 else edge.high + 1, 1)
