"""The run of frauds that a beneficiary's checked payments end with: the plain reference.

Invariants
1. The run is the number of usual payments in the longest label window after the last one there that isn't labelled
   fraud, as labels are known now. It depends on no payment and no label beyond that window, so it is the same after a
   rebuild, in which labels come last.
2. A payment that is unusual for its payer is of no run and ends none: it tells of the payer rather than of the
   beneficiary. Where it isn't known whether it is, or where it is too small to tell of anything, it is of the run if it
   is fraud, and ends none if it isn't: whoever lives by the frauds can pay a penny himself.
3. Where more than LOOKED_AT_MAX payments would have to be looked through, the run is UNKNOWN, until a usual payment is
   checked that is no fraud, a label changes again, or none is left in the window.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

from pipeline.domain.features import NONE, UNKNOWN
from pipeline.state.periods import HOUR_MS

UNUSUAL_PERCENT: Final = 200
"""A payment of more than this many percent of the average of its payer's earlier ones is unusual; a payer's first one
isn't."""
SLIGHT_MINOR_MAX: Final = 999
"""A payment below £10 ends no run, however usual it is for its payer: a payer's payments may all be pennies."""
SLIGHT_PERCENT_MAX: Final = 49
"""Nor does one of less than half of the average of its payer's earlier ones."""
LOOKED_AT_MAX: Final = 4_096
"""Most payments that are looked through in one call, because a label changed what was counted, or because all that
waited became old enough at once; it takes Redis half a millisecond."""


class Kind(IntEnum):
    """What a payment is for its payer, as the store's scripts are told it; 1 is added to it in the log for fraud."""

    USUAL = 0
    UNUSUAL = 2
    DOUBTFUL = 4  # it isn't known, or the payment is slight


def kind_of(percent: int, amount_minor: int) -> Kind:
    """percent: of the average of the payer's earlier payments; NONE for the first."""
    if percent == UNKNOWN:
        return Kind.DOUBTFUL
    if percent > UNUSUAL_PERCENT:
        return Kind.UNUSUAL
    is_slight = amount_minor <= SLIGHT_MINOR_MAX or (percent != NONE and percent <= SLIGHT_PERCENT_MAX)
    return Kind.DOUBTFUL if is_slight else Kind.USUAL


class Checked(Protocol):
    """A payment that labels are known of."""

    number: int  # one more than that of the payment before
    time_ms: int
    fraud: bool
    kind: Kind


AnyChecked = TypeVar("AnyChecked", bound=Checked)


class FraudRun(Generic[AnyChecked]):
    """The run in one queue of checked payments, the oldest first, which others fill and empty."""

    __slots__ = ("_checked", "count", "ended_by")

    def __init__(self, checked: deque[AnyChecked]) -> None:
        self._checked = checked
        self.count = 0  # UNKNOWN where it isn't known
        self.ended_by: AnyChecked | None = None  # the last usual payment that is no fraud

    def enter(self, payment: AnyChecked) -> None:
        """Take in a payment that has joined the queue."""
        if _ends(payment):
            self.count, self.ended_by = 0, payment
        elif self.count != UNKNOWN:
            self.count += _is_counted(payment)

    def leave(self, payment: AnyChecked) -> None:
        """Forget the oldest payment, which has left the queue."""
        if payment is self.ended_by:
            self.ended_by = None
        elif self.ended_by is None and self.count > 0:
            self.count -= _is_counted(payment)
        if not self._checked:
            self.count = 0

    def relabel(self, payment: AnyChecked) -> None:
        """Count anew where the label of a payment in the queue has changed, unless it stands before the run."""
        is_before = self.ended_by is not None and payment.number < self.ended_by.number
        if payment.kind is not Kind.UNUSUAL and not is_before:
            self.look_back()

    def look_back(self) -> None:
        """Count anew from the latest payment on."""
        self.count, self.ended_by = 0, None
        for looked_at, payment in enumerate(reversed(self._checked)):
            if looked_at == LOOKED_AT_MAX:
                self.count = UNKNOWN
                return
            if _ends(payment):
                self.ended_by = payment
                return
            self.count += _is_counted(payment)

    def told(self, now_ms: int, *, is_whole: bool) -> tuple[int, int]:
        """Return the run, and the hours since the first payment of it or beside it; NONE without a run.

        A queue that isn't whole may lack payments that are older than all in it, so a run that reaches back as far
        isn't known.
        """
        if self.count == UNKNOWN or not (is_whole or self.ended_by is not None):
            return UNKNOWN, UNKNOWN
        if not self.count:
            return 0, NONE
        first = 0 if self.ended_by is None else self.ended_by.number + 1 - self._checked[0].number
        return self.count, (now_ms - self._checked[first].time_ms) // HOUR_MS


def _ends(payment: Checked) -> bool:
    return payment.kind is Kind.USUAL and not payment.fraud


def _is_counted(payment: Checked) -> bool:
    return payment.kind is not Kind.UNUSUAL and payment.fraud
