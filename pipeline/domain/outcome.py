"""What became of a payment after it was attempted, as the state counts it (ADR 0012).

An account's attempts are counted when they are made. Whether one was made in the end is known only later, from the
executor or from decisions. Such an outcome never changes what was counted; it is kept beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class OutcomeKind(StrEnum):
    """MADE: the payment settled. WITHDRAWN: it was blocked, refused or rejected. UNMADE: it was reversed when made."""

    MADE = "MADE"
    WITHDRAWN = "WITHDRAWN"
    UNMADE = "UNMADE"


class PaymentOutcome(NamedTuple):
    """One outcome of one payment; of a payment's outcomes the one of the highest order holds.

    Names tell payments apart.
    """

    account_id: str
    beneficiary_account_id: str
    kind: OutcomeKind
    payment_time_ms: int  # the payment's event time; -1 where it isn't known
    made_at_ms: int  # when it settled; -1 where it didn't
    amount_gbp_minor: int  # as it was counted; -1 where it never counted, or isn't known
    name: bytes  # such as the 16 bytes of the execution's id
    counted_until_ms: int = -1  # it was counted then at the latest, by the log's time; -1 for at its own time
    order: int = -1  # among the payment's outcomes; -1 for that of the log that tells them
