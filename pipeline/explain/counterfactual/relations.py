"""What must hold between facts, and what follows when some are otherwise.

Invariants
1. A fact that was changed stays as it was changed; everything else moves only as far as it must.
2. What comes out is possible: every relation that held before holds again, or the row is marked as impossible.
3. Features that follow from others are computed as the pipeline computes them.

A payment's amount is in every sum that holds the payment, so it moves them all. A window holds at least what a shorter
one does. Where two windows hold the same payments, they come to the same sum; where one holds this payment alone, the
last one lies before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import (
    COLUMN,
    DERIVED,
    EVENT,
    FEATURES,
    GREATEST,
    NONE,
    STATE_SLICE,
    Matrix,
    feature_matrix,
)
from pipeline.state.periods import ACCOUNT_WINDOWS_MS

_WINDOWS: Final = ("1h", "24h", "7d", "30d")
WINDOWS_MS: Final = ACCOUNT_WINDOWS_MS
_CHECKED: Final = ("1d", "7d", "30d")
AMOUNT: Final = COLUMN["amount_gbp_minor"]
NEAR_LIMIT: Final = COLUMN["account_near_limit_count_24h"]
SINCE_LAST: Final = COLUMN["account_ms_since_last"]
IS_NEW: Final = COLUMN["is_new_beneficiary"]
RUN: Final = COLUMN["beneficiary_fraud_run_30d"]
RUN_HOURS: Final = COLUMN["beneficiary_fraud_run_hours_30d"]
HOLDING_AMOUNT: Final = tuple(
    COLUMN[name] for name in FEATURES if name.startswith(("account_sum_minor_", "account_volume_minor_"))
)
_ROUNDS_MAX: Final = 8
"""The longest chain of consequences is a window's count, the next window's, its sum, the volume's: a few."""


def _chain(pattern: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(pattern.format(a), pattern.format(b)) for a, b in pairwise(names)]


_ORDERED: Final = tuple(
    (COLUMN[lesser], COLUMN[greater])
    for lesser, greater in (
        *_chain("account_count_{}", (*_WINDOWS, "ever")),
        *_chain("account_sum_minor_{}", _WINDOWS),
        ("account_volume_minor_24h", "account_sum_minor_24h"),
        ("account_volume_minor_30d", "account_sum_minor_30d"),
        ("account_volume_minor_24h", "account_volume_minor_30d"),
        ("account_volume_count_30d", "account_count_30d"),
        ("account_distinct_beneficiaries_24h", "account_count_24h"),
        ("account_near_limit_count_24h", "account_count_24h"),
        ("amount_gbp_minor", "account_sum_minor_1h"),
        ("amount_gbp_minor", "account_volume_minor_24h"),
        ("amount_gbp_minor", "account_sum_minor_ever"),  # whose earlier payments weigh less than they were: no window's
        ("is_new_beneficiary", "is_unpaid_beneficiary"),
        ("beneficiary_count_24h", "beneficiary_count_7d"),
        ("beneficiary_senders_24h", "beneficiary_senders_7d"),
        ("beneficiary_senders_24h", "beneficiary_count_24h"),
        ("beneficiary_senders_7d", "beneficiary_count_7d"),
        *_chain("beneficiary_labelled_{}", _CHECKED),
        *_chain("beneficiary_frauds_{}", _CHECKED),
        *[(f"beneficiary_frauds_{window}", f"beneficiary_labelled_{window}") for window in _CHECKED],
        ("beneficiary_frauds_30d", "beneficiary_confirmed_frauds"),
        ("beneficiary_fraud_run_30d", "beneficiary_frauds_30d"),
    )
)
"""The first is never greater than the second."""


class _Same(NamedTuple):
    """Where the counts are equal, so are the sums; the first window lies within the second."""

    number: int
    total: int
    outer_number: int
    outer_total: int


def _same(count: str, total: str, outer: str) -> _Same:
    return _Same(COLUMN[count], COLUMN[total], COLUMN[f"account_count_{outer}"], COLUMN[f"account_sum_minor_{outer}"])


_SAME: Final = (
    *[_same(f"account_count_{a}", f"account_sum_minor_{a}", b) for a, b in pairwise(_WINDOWS)],
    _same("account_volume_count_30d", "account_volume_minor_30d", "30d"),
)
_ALONE: Final = (
    *[(COLUMN[f"account_count_{window}"], COLUMN[f"account_sum_minor_{window}"]) for window in (*_WINDOWS, "ever")],
    (COLUMN["account_volume_count_30d"], COLUMN["account_volume_minor_30d"]),
)
"""Count and sum of a window: where the payment is alone, the sum is its amount."""
_SINCE: Final = tuple(
    (COLUMN[f"account_count_{window}"], width_ms) for window, width_ms in zip(_WINDOWS, ACCOUNT_WINDOWS_MS, strict=True)
)
_RATIOS: Final = (
    *[(f"account_average_minor_{w}", f"account_sum_minor_{w}", f"account_count_{w}") for w in _WINDOWS[1:]],
    ("amount_percent_of_average_30d", "amount_gbp_minor", "account_sum_minor_30d", "account_count_30d"),
    ("account_volume_percent_of_normal_month", "account_volume_minor_30d", "account_normal_month_minor"),
    *[(f"beneficiary_risk_ppm_{w}", f"beneficiary_frauds_{w}", f"beneficiary_labelled_{w}") for w in _CHECKED],
    (
        "amount_percent_of_earlier_average_30d",
        "amount_gbp_minor",
        "account_volume_minor_30d",
        "account_volume_count_30d",
    ),
    ("amount_percent_of_earlier_average_ever", "amount_gbp_minor", "account_sum_minor_ever", "account_count_ever"),
)
FEEDING: Final = {COLUMN[derived]: frozenset(COLUMN[name] for name in sources) for derived, *sources in _RATIOS}
"""Of each feature that follows from others: the facts that it is computed from."""
assert FEEDING.keys() == {COLUMN[name] for name in DERIVED}


def _links() -> dict[int, set[int]]:
    links: dict[int, set[int]] = {}
    pairs = [
        *_ORDERED,
        *_ALONE,
        *[(count, SINCE_LAST) for count, _ in _SINCE],
        *[(AMOUNT, total) for total in HOLDING_AMOUNT],
        (AMOUNT, NEAR_LIMIT),
        (RUN, RUN_HOURS),
        *[(same.number, same.outer_total) for same in _SAME],
    ]
    for first, second in pairs:
        links.setdefault(first, set()).add(second)
        links.setdefault(second, set()).add(first)
    return links


_LINKS: Final = _links()


@lru_cache(maxsize=len(FEATURES))
def comparable_with(column: int) -> tuple[int, ...]:
    """The columns, itself the first, that a change of this one may make equal to it, as a bound does."""
    if column == AMOUNT:
        return (AMOUNT,)
    found = [column]
    for each in found:
        for pair in _ORDERED:
            if each in pair:
                found.extend(other for other in pair if other not in (*found, AMOUNT))
    return tuple(found)


@lru_cache(maxsize=len(FEATURES))
def touched_by(column: int) -> frozenset[int]:
    """All columns that may move when this one does, itself included."""
    found, waiting = {column}, [column]
    while waiting:
        for other in _LINKS.get(waiting.pop(), ()):
            if other not in found and other != AMOUNT:  # which moves only where it is changed itself
                found.add(other)
                waiting.append(other)
    return frozenset(found | {derived for derived, sources in FEEDING.items() if sources & found})


class _Held(NamedTuple):
    """The relations of each kind that hold."""

    ordered: list[tuple[int, int]]
    same: list[_Same]
    alone: list[tuple[int, int]]
    since: list[tuple[int, int]]

    @property
    def is_any(self) -> bool:
        return any(self)


class Relations:
    """The relations that hold in one row of features, from which changes start."""

    def __init__(self, row: Matrix, near_limit_minor: tuple[int, int] | None) -> None:
        """`row` is (len(FEATURES),); `near_limit_minor`: the least and the greatest amount just under the limit."""
        self.row = row
        self._near_limit = near_limit_minor
        rows = row[np.newaxis]
        self._held = _Held(
            [pair for pair in _ORDERED if not _above(rows, *pair)[0]],
            [same for same in _SAME if not _unequal(rows, same)[0]],
            [pair for pair in _ALONE if not _not_alone(rows, *pair)[0]],
            [pair for pair in _SINCE if not _untimely(rows, *pair)[0]],
        )
        self._by_touched: dict[frozenset[int], _Held] = {}

    def rows_with(self, columns: Sequence[int], values: Matrix) -> tuple[Matrix, NDArray[np.bool_]]:
        """Rows in which the columns are as given, with all that follows, and whether each is possible.

        `values` is (n, len(columns)).
        """
        rows = np.repeat(self.row[np.newaxis], len(values), axis=0)
        rows[:, columns] = values
        fixed = frozenset(columns)
        touched = frozenset().union(*(touched_by(column) for column in columns))
        if AMOUNT in fixed:
            self._move_sums(rows, fixed)
        among = self._among(touched | {AMOUNT})  # it doesn't move, and bounds what does
        if among.is_any:
            self._settle_all(rows, among, fixed | {AMOUNT})  # what a payment is follows from nothing
        if RUN in touched and RUN_HOURS not in fixed and not _without_start(self.row[np.newaxis])[0]:
            rows[rows[:, RUN] == 0, RUN_HOURS] = NONE  # no run began
        if touched & FEEDING.keys():
            rows = feature_matrix(rows[:, : len(EVENT)], rows[:, STATE_SLICE])
        return rows, self._are_possible(rows, among, touched)

    def _among(self, touched: frozenset[int]) -> _Held:
        """The relations between columns that may move."""
        if touched not in self._by_touched:
            held = self._held
            self._by_touched[touched] = _Held(
                [pair for pair in held.ordered if touched.issuperset(pair)],
                [same for same in held.same if touched.issuperset(same)],
                [pair for pair in held.alone if touched.issuperset(pair)],
                [pair for pair in held.since if pair[0] in touched],
            )
        return self._by_touched[touched]

    def _settle_all(self, rows: Matrix, among: _Held, fixed: frozenset[int]) -> None:
        moved = rows != self.row
        for _ in range(_ROUNDS_MAX):
            before = rows.copy()
            _settle(rows, moved, fixed, among)
            if np.array_equal(before, rows):
                return

    def _move_sums(self, rows: Matrix, fixed: frozenset[int]) -> None:
        more = rows[:, AMOUNT] - self.row[AMOUNT]
        for column in HOLDING_AMOUNT:
            if column not in fixed and self.row[column] >= self.row[AMOUNT]:
                rows[:, column] += more
        if NEAR_LIMIT not in fixed and self.row[NEAR_LIMIT] >= 0:
            rows[:, NEAR_LIMIT] += self._is_near(rows[:, AMOUNT]) - self._is_near(self.row[AMOUNT : AMOUNT + 1])

    def _is_near(self, amounts: Matrix) -> Matrix:
        if self._near_limit is None:
            return np.zeros(len(amounts), dtype=np.int64)
        least, greatest = self._near_limit
        return np.asarray((amounts >= least) & (amounts <= greatest), dtype=np.int64)

    def _are_possible(self, rows: Matrix, among: _Held, touched: frozenset[int]) -> NDArray[np.bool_]:
        wrong = np.zeros(len(rows), dtype=np.bool_)
        for column, greatest in _BOUNDED:
            if column in touched:
                value = rows[:, column]
                wrong |= ((value > greatest) | (value < 0) & (column != RUN_HOURS)) & (value != self.row[column])
        for lesser, greater in among.ordered:
            wrong |= _above(rows, lesser, greater)
        for count, total in among.alone:
            wrong |= _not_alone(rows, count, total)
        for same in among.same:
            wrong |= _unequal(rows, same)
        for count, width_ms in among.since:
            wrong |= _untimely(rows, count, width_ms)
        if touched & {SINCE_LAST, IS_NEW} and not (self.row[SINCE_LAST] == NONE and self.row[IS_NEW] == 0):
            wrong |= (rows[:, SINCE_LAST] == NONE) & (rows[:, IS_NEW] == 0)
        if RUN in touched and not _without_start(self.row[np.newaxis])[0]:
            wrong |= _without_start(rows)
        if NEAR_LIMIT in touched and self.row[NEAR_LIMIT] >= self._is_near(self.row[AMOUNT : AMOUNT + 1])[0]:
            wrong |= (rows[:, NEAR_LIMIT] >= 0) & (rows[:, NEAR_LIMIT] < self._is_near(rows[:, AMOUNT]))
        return np.asarray(~wrong)


def _settle(rows: Matrix, moved: NDArray[np.bool_], fixed: frozenset[int], among: _Held) -> None:
    """Moves what contradicts a change, once."""
    for count, width_ms in among.since:
        _settle_since(rows, moved, fixed, count, width_ms)
    for lesser, greater in among.ordered:
        wrong = _above(rows, lesser, greater)
        if wrong.any():
            is_raised = wrong & (moved[:, lesser] | (lesser in fixed)) & (greater not in fixed)
            _move(rows, moved, is_raised, greater, rows[:, lesser])
            _move(rows, moved, wrong & ~is_raised & (lesser not in fixed), lesser, rows[:, greater])
    for count, total in among.alone:
        if total not in fixed:
            _move(rows, moved, _not_alone(rows, count, total), total, rows[:, AMOUNT])
    for same in among.same:
        wrong = _unequal(rows, same)
        if wrong.any():
            is_inner = wrong & moved[:, same.number] & (same.total not in fixed)
            _move(rows, moved, is_inner, same.total, rows[:, same.outer_total])
            _move(
                rows, moved, wrong & ~is_inner & (same.outer_total not in fixed), same.outer_total, rows[:, same.total]
            )


def _move(rows: Matrix, moved: NDArray[np.bool_], where: NDArray[np.bool_], column: int, to: Matrix) -> None:
    rows[where, column] = to[where]
    moved[where, column] = True


_BOUNDED: Final = tuple((COLUMN[name], GREATEST.get(name, 2**62)) for name in FEATURES if name not in DERIVED)


def _settle_since(rows: Matrix, moved: NDArray[np.bool_], fixed: frozenset[int], count: int, width_ms: int) -> None:
    wrong = _untimely(rows, count, width_ms)
    if not wrong.any():
        return
    is_count = wrong & (count not in fixed) & ((SINCE_LAST in fixed) | ~moved[:, count])
    is_alone = (rows[:, SINCE_LAST] >= width_ms) | (rows[:, SINCE_LAST] == NONE)
    _move(rows, moved, is_count, count, np.where(is_alone, 1, 2))
    if SINCE_LAST not in fixed:
        _move(rows, moved, wrong & ~is_count, SINCE_LAST, np.where(rows[:, count] == 1, width_ms, width_ms - 1))


def _above(rows: Matrix, lesser: int, greater: int) -> NDArray[np.bool_]:
    return np.asarray((rows[:, lesser] > rows[:, greater]) & (rows[:, greater] >= 0))


def _not_alone(rows: Matrix, count: int, total: int) -> NDArray[np.bool_]:
    known = (rows[:, total] >= 0) & (rows[:, AMOUNT] >= 0)
    return np.asarray((rows[:, count] == 1) & known & (rows[:, total] != rows[:, AMOUNT]))


def _without_start(rows: Matrix) -> NDArray[np.bool_]:
    """Where there is a run that never began, or none that did."""
    run, hours = rows[:, RUN], rows[:, RUN_HOURS]
    return np.asarray(((run > 0) & (hours == NONE)) | ((run == 0) & (hours >= 0)))


def _unequal(rows: Matrix, same: _Same) -> NDArray[np.bool_]:
    is_same = (rows[:, same.number] == rows[:, same.outer_number]) & (rows[:, same.number] >= 0)
    known = (rows[:, same.total] >= 0) & (rows[:, same.outer_total] >= 0)
    return np.asarray(is_same & known & (rows[:, same.total] != rows[:, same.outer_total]))


def _untimely(rows: Matrix, count: int, width_ms: int) -> NDArray[np.bool_]:
    """Where the time since the last payment and the payments of the window contradict each other."""
    since, number = rows[:, SINCE_LAST], rows[:, count]
    is_beyond = (since >= width_ms) | (since == NONE)
    is_within = (since >= 0) & (since < width_ms)
    return np.asarray((number >= 0) & ((is_beyond & (number > 1)) | (is_within & (number == 1))))
