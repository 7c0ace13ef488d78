"""What a state can't know because it had to start later than its log: those features become UNKNOWN.

Invariants
1. A feature that a payment or an outcome before `since` could have changed is UNKNOWN, never NONE or 0 (I4).
2. A feature that none of them could have changed stays as it is.

`since` is the log time of the oldest record that a state could have. A payment's event time is at most
FUTURE_TOLERANCE_MS later than its log time, so everything that is missing happened before `since` and that tolerance.
A payment counts at its event time or later, and is taken at its event time here, which looks further back.

The opening date that a payment claims for its account is not believed here. Whoever publishes a payment fills it in, no
other source confirms it, and a date after `since` would turn all that is UNKNOWN of the account into a first payment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import NONE, STATE, UNKNOWN, Matrix
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state.periods import (
    ACCOUNT_WINDOWS_MS,
    BENEFICIARY_WINDOWS_MS,
    BLOCK_MS,
    DAY_MS,
    LABEL_WINDOWS_MS,
    NORMAL_MONTH_BLOCKS,
)
from pipeline.state.state_event import StateEvent


class Coverage(NamedTuple):
    """Since when each part of the state is whole, in ms; NONE where it is from its log's beginning."""

    payments_ms: int = NONE  # of the partition's accounts
    outcomes_ms: int = NONE  # of the same accounts' payments
    received_ms: int = NONE  # payments to beneficiaries, from all partitions


WHOLE: Final = Coverage()
DECLARED_MONTH: Final = NORMAL_MONTH_BLOCKS + 1

_OF_LIFETIMES: Final = ("account_count_ever", "account_sum_minor_ever", "account_percent_of_earlier_average_max_7d")
_OF_RUNS: Final = ("beneficiary_fraud_run_30d", "beneficiary_fraud_run_hours_30d")
LIFELONG: Final = (*_OF_LIFETIMES, *_OF_RUNS)
"""Features that no time makes known again where the state begins late."""

_NEVER_MISSING_MS: Final = int(np.iinfo(np.int64).min)

_COLUMN: Final = {name: place for place, name in enumerate(STATE)}
_NAMES: Final = ("1h", "24h", "7d", "30d")


def _columns(*names: str) -> list[int]:
    return [_COLUMN[name] for name in names]


_BY_PAYMENTS: Final = [
    *(
        (width_ms, _columns(f"account_count_{name}", f"account_sum_minor_{name}"))
        for name, width_ms in zip(_NAMES, ACCOUNT_WINDOWS_MS, strict=True)
    ),
    (DAY_MS, _columns("account_distinct_beneficiaries_24h", "account_near_limit_count_24h")),
]
_BY_OUTCOMES: Final = [
    (DAY_MS, _columns("account_volume_minor_24h")),
    (30 * DAY_MS, _columns("account_volume_count_30d", "account_volume_minor_30d")),
]
_RECEIVED: Final = [
    (width_ms, _columns(f"beneficiary_count_{name}", f"beneficiary_senders_{name}"))
    for name, width_ms in zip(("24h", "7d"), BENEFICIARY_WINDOWS_MS, strict=True)
]
_LABELLED: Final = [
    (width_ms, _columns(f"beneficiary_labelled_{name}", f"beneficiary_frauds_{name}"))
    for name, width_ms in zip(("1d", "7d", "30d"), LABEL_WINDOWS_MS, strict=True)
]
_RUN: Final = _columns(*_OF_RUNS)
_CONFIRMED: Final = _COLUMN["beneficiary_confirmed_frauds"]
_LIFETIME: Final = _columns(*_OF_LIFETIMES)
_SINCE_LAST: Final = _COLUMN["account_ms_since_last"]
_MONTH: Final = _COLUMN["account_normal_month_minor"]
_OF_PAYMENTS: Final = [
    place for name, place in _COLUMN.items() if not name.endswith("fraud_reports") and place != _MONTH
]
_IS_NEW: Final = _COLUMN["is_new_beneficiary"]
_IS_UNPAID: Final = _COLUMN["is_unpaid_beneficiary"]


def enter_unknown(
    state: Matrix,
    events: Sequence[StateEvent],
    month_blocks: Matrix,
    outcomes_position: NDArray[np.int64],
    coverage: Coverage,
    label_delay_ms: int,
) -> None:
    """Make UNKNOWN, in place, what the rows of counted events can't know.

    state: (n, len(STATE)). month_blocks: (n,), how many blocks the normal month is the mean of. With fewer than
    NORMAL_MONTH_BLOCKS it depends on when the account first paid. DECLARED_MONTH: it is declared, and needs no past.
    outcomes_position: (n,), UNKNOWN where outcomes that were known before are still to be taken in.
    """
    lacks_outcomes = outcomes_position == UNKNOWN
    if not events or (coverage == WHOLE and not lacks_outcomes.any()):
        return
    times = np.array([event.event_time_ms for event in events], dtype=np.int64)
    counted = state[:, 0] != NONE
    outcomes_ms = np.where(lacks_outcomes, np.iinfo(np.int64).max, _missing_until_ms(coverage.outcomes_ms))
    _enter_accounts(state, times, counted, month_blocks, _missing_until_ms(coverage.payments_ms), outcomes_ms)
    missing_until_ms = _missing_until_ms(coverage.received_ms)
    for width_ms, columns in _RECEIVED:
        _enter(state, columns, counted & (times - width_ms < missing_until_ms))
    for width_ms, columns in _LABELLED:
        _enter(state, columns, counted & (times - label_delay_ms - width_ms < missing_until_ms))
    longest_ms = label_delay_ms + LABEL_WINDOWS_MS[-1]
    _enter(state, [_CONFIRMED], counted & (times - longest_ms < missing_until_ms))
    # Whether a payment is unusual for its payer depends on all that the payer attempted before.
    _enter(state, _RUN, counted & (missing_until_ms > _NEVER_MISSING_MS))


def enter_stale(state: Matrix, is_stale: NDArray[np.bool_], month_blocks: Matrix) -> None:
    """Make UNKNOWN, in place, what rows can't know that were made without a payment that counted late, before them.

    is_stale: (n,). Reports and declared months follow from no payment. month_blocks: as for `enter_unknown`.
    """
    if is_stale.any():
        _enter(state, _OF_PAYMENTS, is_stale)
        _enter(state, [_MONTH], is_stale & (month_blocks != DECLARED_MONTH))


def _enter_accounts(
    state: Matrix,
    times: NDArray[np.int64],
    counted: NDArray[np.bool_],
    month_blocks: Matrix,
    payments_ms: int,
    outcomes_ms: NDArray[np.int64],
) -> None:
    """payments_ms, outcomes_ms: event time from which on none is missing; that of outcomes differs by row."""
    by_payments = counted & (payments_ms > _NEVER_MISSING_MS)
    by_outcomes = counted & (outcomes_ms > _NEVER_MISSING_MS)
    _enter(state, _LIFETIME, by_payments)  # a missing payment is of every average from then on
    for width_ms, columns in _BY_PAYMENTS:
        _enter(state, columns, by_payments & (times - width_ms < payments_ms))
    for width_ms, columns in _BY_OUTCOMES:
        is_missing = by_payments & (times - width_ms < payments_ms) | by_outcomes & (times - width_ms < outcomes_ms)
        _enter(state, columns, is_missing)
    first_block_ms = (times // BLOCK_MS - NORMAL_MONTH_BLOCKS) * BLOCK_MS
    is_partial = (first_block_ms < payments_ms) | (month_blocks < NORMAL_MONTH_BLOCKS)
    is_missing = by_payments & is_partial | by_outcomes & (first_block_ms < outcomes_ms)
    _enter(state, [_MONTH], is_missing & (month_blocks != DECLARED_MONTH))
    since_last_ms = state[:, _SINCE_LAST]
    is_missing = (since_last_ms == NONE) | (times - since_last_ms < payments_ms)
    _enter(state, [_SINCE_LAST], by_payments & is_missing)
    _enter(state, [_IS_NEW], by_payments & (state[:, _IS_NEW] == 1))
    is_missing = by_outcomes | by_payments & (times < payments_ms)  # a missing payment may have moved the clock on
    _enter(state, [_IS_UNPAID], is_missing & (state[:, _IS_UNPAID] == 1))


def _missing_until_ms(since_ms: int) -> int:
    """Return the event time from which on nothing is missing."""
    return _NEVER_MISSING_MS if since_ms == NONE else since_ms + FUTURE_TOLERANCE_MS


def _enter(state: Matrix, columns: list[int], rows: NDArray[np.bool_]) -> None:
    for column in columns:
        state[rows, column] = UNKNOWN
