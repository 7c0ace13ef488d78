"""The facts that a payment was decided on and that could have been otherwise.

Invariants
1. A fact is one feature that was observed; what follows from others is computed, never chosen.
2. A change ends in a value that is known and possible. Nobody is told that a device should not have been named.
3. What the law or the bank's own lists say is no fact of the payment: a sanctioned country stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.domain.features import (
    ACCOUNT_STATE,
    COLUMN,
    EVENT,
    FEATURES,
    GREATEST,
    SHARED_STATE,
    STATE,
    UNKNOWN,
    Matrix,
)
from pipeline.explain.counterfactual.relations import AMOUNT

CHANGEABLE: Final = tuple(name for name in (*EVENT, *STATE) if name != "is_beneficiary_country_sanctioned")
SIZE_WHOLE: Final = 1_000_000
"""The size of a change from yes to no, or from something that was not known to something that is."""
MINUTES_OF_DAY: Final = frozenset({"local_minute_of_day", "logged_minute_of_day"})
_HALF_A_DAY: Final = 720
_TOLD_LATER: Final = frozenset(
    {
        "beneficiary_age_hours",
        "account_ms_since_last",
        "account_normal_month_minor",
        "ip_fraud_reports",
        "device_fraud_reports",
    }
)
"""Where NONE means that there was nothing yet or that nobody said, there might have been something."""
_COUNTS_ITSELF: Final = ("_count_", "_senders_", "_distinct_beneficiaries_")
_SUMS: Final = ("account_sum_minor_", "account_volume_minor_")
_GREATEST: Final = {
    "account_age_days": 40_000,
    "beneficiary_age_hours": 1_000_000,
    "event_age_hours": 1_000_000,
    "exchange_rate_age_hours": 1_000_000,
    "sanctions_list_age_hours": 1_000_000,
    "account_ms_since_last": 10**12,
    "account_normal_month_minor": 2**51,
    "ip_fraud_reports": 10**6,
    "device_fraud_reports": 10**6,
}
"""The greatest value that is tried of a feature that has no greatest: a hundred years, or more than anybody counts."""


class Fact(NamedTuple):
    """A fact that could have been any of `least` to `greatest`, both included."""

    feature: str
    column: int
    least: int
    greatest: int


class Change(NamedTuple):
    feature: str
    before: int  # NONE or UNKNOWN where there was no value
    after: int


Attained = Callable[[int], tuple[int, int]]
"""The amounts in the policy's currency that a payment in its own can have: the nearest that is at most as much as was
asked for, and the nearest that is at least as much."""


def facts_of(row: Sequence[int], read: frozenset[int], *, is_unseen: bool = False) -> tuple[Fact, ...]:
    """The facts of a decision's features that could have been otherwise, in the order of FEATURES.

    `read` are the columns that matter: of the others nobody would gain by a change. `is_unseen`: nothing was looked up,
    so only what the payment itself says can be otherwise.
    """
    names = tuple(name for name in CHANGEABLE if name in EVENT) if is_unseen else CHANGEABLE
    return tuple(_fact(name, row) for name in names if COLUMN[name] in read and _could_differ(name, row[COLUMN[name]]))


def _could_differ(name: str, value: int) -> bool:
    if value == UNKNOWN:
        return name not in EVENT
    return value >= 0 or name in _TOLD_LATER


def _fact(name: str, row: Sequence[int]) -> Fact:
    greatest = GREATEST.get(name) or _GREATEST[name]
    return Fact(name, COLUMN[name], _least(name, row), max(greatest, row[COLUMN[name]]))


def _least(name: str, row: Sequence[int]) -> int:
    """A payment is itself in every window that it counts in."""
    if name.startswith(_SUMS):
        return 0
    is_count = name in (*ACCOUNT_STATE, *SHARED_STATE) and any(part in name for part in _COUNTS_ITSELF)
    if is_count and "near_limit" not in name:
        return min(1, max(row[COLUMN[name]], 0)) if row[COLUMN[name]] >= 0 else 1
    return 0


def sizes(fact: Fact, before: int, after: Matrix) -> Matrix:
    """How large changes of a fact are, in millionths, so that changes of different facts can be compared.

    The difference is measured against the larger of the two values, of a time of day against half a day. A time of day
    moves within its day: 23:50 is not ten minutes from 00:00, which belongs to another day, and that may be a weekend.
    """
    if before < 0 or fact.greatest == 1:
        return np.full(len(after), SIZE_WHOLE, dtype=np.int64)
    distance = np.abs(after - before)
    if fact.feature in MINUTES_OF_DAY:
        return np.asarray(distance * SIZE_WHOLE // _HALF_A_DAY)
    larger = np.maximum(np.maximum(after, before), 1)
    return np.rint(distance / larger * SIZE_WHOLE).astype(np.int64)  # a ratio for comparing, no amount of money


def changes_of(row: Sequence[int], other: Sequence[int], columns: Sequence[int]) -> tuple[Change, ...]:
    """What differs between two rows in the columns, in the order of FEATURES."""
    return tuple(Change(FEATURES[each], row[each], other[each]) for each in sorted(columns) if row[each] != other[each])


AMOUNT_COLUMN: Final = AMOUNT
