"""What became of a payment after it was attempted, as the state counts it (ADR 0012).

An account's attempts are counted when they are made. Whether one was made in the end is known only later, from the
executor or from decisions. Such an outcome never changes what was counted; it is kept beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.payment import AMOUNT_MINOR_MAX

TIME_FIRST_MS: Final = 1_420_070_400_000  # 2015-01-01
TIME_END_MS: Final = 2_493_072_000_000  # 2049-01-01, exclusive


class OutcomeKind(StrEnum):
    """MADE: the payment settled. WITHDRAWN: it was blocked, refused or rejected. UNMADE: it settled and was reversed."""

    MADE = "MADE"
    WITHDRAWN = "WITHDRAWN"
    UNMADE = "UNMADE"


class PaymentOutcome(NamedTuple):
    """One outcome of one payment. Outcomes of a payment have the same name; names of different ones differ."""

    account_id: str
    beneficiary_account_id: str
    kind: OutcomeKind
    payment_time_ms: int  # the payment's event time; -1 where it isn't known
    made_at_ms: int  # when it settled; -1 where it didn't
    amount_gbp_minor: int  # as it was counted; -1 where it never counted, or isn't known
    name: bytes  # such as the 16 bytes of the execution's id


def is_effective(outcome: PaymentOutcome) -> bool:
    """Return whether the outcome can change what is known of its account.

    A payment of nothing makes no payee known. A payment that was never counted, or of which it isn't known when or for
    how much, is withdrawn from nothing. What is left out leaves the account's limits as strict as they were.
    """
    match outcome.kind:
        case OutcomeKind.MADE:
            return 0 < outcome.amount_gbp_minor <= AMOUNT_MINOR_MAX and _is_time(outcome.made_at_ms)
        case OutcomeKind.WITHDRAWN:
            return 0 <= outcome.amount_gbp_minor <= AMOUNT_MINOR_MAX and _is_time(outcome.payment_time_ms)
        case OutcomeKind.UNMADE:
            return True


def _is_time(time_ms: int) -> bool:
    return TIME_FIRST_MS <= time_ms < TIME_END_MS
