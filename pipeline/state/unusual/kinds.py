"""What payments are for their payers, between the two scripts that count them, where these run in calls of their own.

Payers and beneficiaries stand under different tags then. So the beneficiary's script is told what the payer's answered:
it costs a round trip more, and what isn't answered any more is unknown, which is strict (`fraud_run`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.features import ACCOUNT_STATE, NONE, percents_of_earlier
from pipeline.state.unusual.fraud_run import SLIGHT_MINOR_MAX, SLIGHT_PERCENT_MAX, UNUSUAL_PERCENT, Kind

_COUNT: Final = ACCOUNT_STATE.index("account_count_ever")
_SUM: Final = ACCOUNT_STATE.index("account_sum_minor_ever")
_REBUILD_AT: Final = 19  # in the request of a chunk: behind three offsets, and whether it may be the first
_IS_SILENT: Final = 2
_IS_PASSING: Final = 1


def kinds(state: NDArray[np.int64], counted: NDArray[np.int64], *, is_whole: bool) -> bytes:
    """Return a byte for each payment.

    state: (n, len(STATE)), as it was answered. counted: (n,), `counted_as` of each when it counted; NONE where it
    didn't, or where that isn't told. is_whole: whether the payers' partition lacks no earlier payment; else the
    averages lack it too, and a first payment may not be one.
    """
    if not is_whole:
        return bytes([Kind.DOUBTFUL]) * len(counted)
    count, total = state[:, _COUNT], state[:, _SUM]
    amount = np.where(counted == NONE, NONE, counted >> 1)
    percent = percents_of_earlier(amount, total, count)
    is_slight = (amount <= SLIGHT_MINOR_MAX) | (percent != NONE) & (percent <= SLIGHT_PERCENT_MAX)
    known = np.where(percent > UNUSUAL_PERCENT, Kind.UNUSUAL, np.where(is_slight, Kind.DOUBTFUL, Kind.USUAL))
    is_unknown = (count < 0) | (counted == NONE)
    return np.where(is_unknown, Kind.DOUBTFUL, known).astype(np.uint8).tobytes()


def answering(body: bytes) -> bytes:
    """Return the request to count a chunk's accounts as one whose answer is wanted."""
    if body[_REBUILD_AT] != _IS_SILENT:
        return body
    return body[:_REBUILD_AT] + bytes([_IS_PASSING]) + body[_REBUILD_AT + 1 :]
