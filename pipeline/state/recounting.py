"""Rows of payments that were counted under another policy than the one that judges them.

A policy decides two things about a counted payment: what it comes to in GBP, by its exchange rates, and whether that is
near the limit. A batch that was observed, not committed, and is read again after a change of the policy gets its rows
as they were counted. Each window holds the payment itself, so a row is restated exactly by the difference; what the
account did before stays as it was counted then. Whatever else a row says follows from the log, and from no policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import NONE, STATE, UNKNOWN
from pipeline.state.state_event import StateEvent

_SUMS: Final = np.array(
    [place for place, name in enumerate(STATE) if name.startswith(("account_sum_minor_", "account_volume_minor_"))]
)
_NEAR_LIMIT: Final = STATE.index("account_near_limit_count_24h")


def counted_as(event: StateEvent) -> int:
    """Return what a policy makes of a counted payment, as one number: 2 · GBP minor + whether it is near the limit."""
    return 2 * event.amount_gbp_minor + event.is_near_limit


def restate(state: NDArray[np.int64], events: Sequence[StateEvent], counted: NDArray[np.int64]) -> None:
    """Make the rows of `state` those of the events as they are now.

    `state` is (n, len(STATE)), before anything in it is made UNKNOWN. `counted` is (n,): `counted_as` of each event
    when its row was made, NONE where it has no row.
    """
    stated = np.fromiter([counted_as(event) for event in events], np.int64, len(events))
    others = np.flatnonzero((counted != NONE) & (counted != stated))
    if not others.size:
        return
    now, then = stated[others], counted[others]
    _add(state, others[:, np.newaxis], _SUMS, ((now >> 1) - (then >> 1))[:, np.newaxis])
    _add(state, others, _NEAR_LIMIT, (now & 1) - (then & 1))


def _add(state: NDArray[np.int64], rows: NDArray[np.intp], columns: Any, more: NDArray[np.int64]) -> None:
    """What is UNKNOWN, because its window is full, stays so."""
    held = state[rows, columns]
    state[rows, columns] = np.where(held == UNKNOWN, UNKNOWN, held + more)
