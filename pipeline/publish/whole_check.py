"""A file of payments, looked at whole before any of it is used.

Invariants
1. A file is sound only if every payment in it can be decided, and no two have one id. Whether it is in order of time is
   told as well; without that, it can't be published.
2. Memory grows by 8 bytes a payment, and there are at most PAYMENTS_MAX; FAULTS_MAX faults are kept.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction
from pipeline.domain.refusals import refusal_of
from pipeline.publish.payment_source import AT_FILE, Fault, FilePayment, PaymentSource

FAULTS_MAX: Final = 100
PAYMENTS_MAX: Final = 50_000_000
"""400 MB of marks. A larger file is cut by day."""
ADVANCE_EVERY: Final = 20_000
EARLIER: Final = "is earlier than the payment before it: sort the file by time, since it is published in its order"
SUSPECTS_MAX: Final = 10_000
"""Ids whose marks meet are compared in full; of more than this the first ones' faults say enough."""


class Checked(NamedTuple):
    payments: int
    faults: list[Fault]  # in the order of their lines, at most FAULTS_MAX
    has_more: bool
    is_ordered: bool  # none is earlier than the one before it


def check(
    source: PaymentSource,
    now_ms: int,
    *,
    is_order_needed: bool,
    limit: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Checked:
    """Read the source's first `limit` payments, or all, and say what is wrong. Raises Unreadable as the source does.

    `now_ms` is when they are to be decided: a payment from the future is refused. `advance` hears how many were read.
    """
    look = _Look(now_ms, is_order_needed, is_summed=bool(source.totals.sums_minor))
    for each in source.read():
        if look.payments == limit:
            source.read_to_its_end()
            break
        if isinstance(each, Fault):
            look.faults.append(each)
        elif look.payments == PAYMENTS_MAX:
            look.faults.append(Fault(AT_FILE, None, f"it has more than {PAYMENTS_MAX:,} payments: cut it by time"))
            break
        else:
            look.take(each)
            if advance is not None and look.payments % ADVANCE_EVERY == 0:
                advance(look.payments)
        if len(look.faults) > FAULTS_MAX:
            break
    else:
        if not look.faults:  # a payment that has one is missing in the sums
            look.faults += source.totals.faults(look.payments, look.sums_minor)
    if len(look.faults) <= FAULTS_MAX:
        look.faults += _repeated(source, look.marks)
    source.require_same()
    faults = sorted(look.faults, key=lambda fault: fault.line)
    return Checked(look.payments, faults[:FAULTS_MAX], len(faults) > FAULTS_MAX, look.is_ordered)


class _Look:
    """What is remembered of the payments that were read."""

    def __init__(self, now_ms: int, is_order_needed: bool, *, is_summed: bool) -> None:
        self.faults: list[Fault] = []
        self.sums_minor: dict[str, int] = {}
        self._is_summed = is_summed
        self.marks = array("q")
        self.is_ordered = True
        self._now, self._is_order_needed, self._before_ms = Source(0, 0, now_ms), is_order_needed, 0

    @property
    def payments(self) -> int:
        return len(self.marks)

    def take(self, each: FilePayment) -> None:
        payment = each.transaction
        if refusal := refusal_of(payment, payment.account_id.encode(), self._now):
            self.faults.append(Fault(each.line, None, refusal.detail))
        if self.is_ordered and payment.event_time_ms < self._before_ms:
            self.is_ordered = False
            if self._is_order_needed:
                self.faults.append(Fault(each.line, None, EARLIER))
        self._before_ms = payment.event_time_ms
        if self._is_summed:
            self.sums_minor[payment.currency] = self.sums_minor.get(payment.currency, 0) + payment.amount_minor
        self.marks.append(_mark(payment))


def _mark(payment: Transaction) -> int:
    """Return 64 bits of the id within its source system; equal ids have equal marks."""
    name = f"{payment.source_system or ''} {payment.transaction_id}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _repeated(source: PaymentSource, marks: array[int]) -> Iterator[Fault]:
    """Yield a fault for each payment whose id an earlier one has. Reads the source again only where marks meet."""
    suspects = _met(marks)
    if not suspects:
        return
    wanted = set(np.flatnonzero(np.isin(np.asarray(marks), np.asarray(sorted(suspects)))).tolist())
    firsts: dict[tuple[str | None, str], tuple[int, int]] = {}  # the number of the first one, since a line may hold all
    for number, each in enumerate(payments_of(source)):
        if number == len(marks):
            return
        if number in wanted:
            name = each.transaction.source_system, each.transaction.transaction_id
            first, line = firsts.setdefault(name, (number, each.line))
            if first != number:
                yield Fault(each.line, None, f"has the transaction_id of {source.unit} {line:,}; one payment, one id")


def _met(marks: array[int]) -> set[int]:
    """Return the marks that come more than once, SUSPECTS_MAX of them at most."""
    ordered = np.sort(np.asarray(marks, dtype=np.int64))
    return set(np.unique(ordered[1:][ordered[1:] == ordered[:-1]])[:SUSPECTS_MAX].tolist())


def payments_of(source: PaymentSource) -> Iterator[FilePayment]:
    """Yield the payments alone, of a source that was checked."""
    return (each for each in source.read() if isinstance(each, FilePayment))
