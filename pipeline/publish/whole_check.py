"""A file of payments, looked at whole before any of it is used.

Invariants
1. A file is sound only if every payment in it can be decided, no two have one id, and none is earlier than the one
   before it.
2. Memory grows by 16 bytes a payment, and there are at most PAYMENTS_MAX; FAULTS_MAX faults are kept.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction
from pipeline.domain.refusals import refusal_of
from pipeline.publish.payment_source import AT_FILE, Fault, FilePayment, PaymentSource

FAULTS_MAX: Final = 100
PAYMENTS_MAX: Final = 50_000_000
"""800 MB of marks. A larger file is cut by day."""
SUSPECTS_MAX: Final = 10_000
"""Ids whose marks meet are compared in full; of more than this the first ones' faults say enough."""


class Checked(NamedTuple):
    payments: int
    faults: list[Fault]  # in the order of their lines, at most FAULTS_MAX
    has_more: bool  # reading ended at the last of them
    first_event_time_ms: int  # 0 where there is no payment


def check(source: PaymentSource, now_ms: int, limit: int | None = None) -> Checked:
    """Read the source's first `limit` payments, or all, and say what is wrong. Raises Failure as the source does.

    `now_ms` is when they are to be decided: a payment from the future is refused.
    """
    marks, faults = array("q"), list[Fault]()
    lines = array("q")
    before_ms, first_ms, is_ordered = 0, 0, True
    for each in source.read():
        if isinstance(each, Fault):
            faults.append(each)
        else:
            if len(marks) in (limit, PAYMENTS_MAX):
                break
            payment = each.transaction
            if refusal := refusal_of(payment, payment.account_id.encode(), Source(0, 0, now_ms)):
                faults.append(Fault(each.line, None, refusal.detail))
            if is_ordered and payment.event_time_ms < before_ms:
                is_ordered = False
                faults.append(Fault(each.line, None, EARLIER))
            first_ms, before_ms = first_ms or payment.event_time_ms, payment.event_time_ms
            marks.append(_mark(payment))
            lines.append(each.line)
        if len(faults) > FAULTS_MAX:
            return Checked(len(marks), faults[:FAULTS_MAX], True, first_ms)
    if len(marks) == PAYMENTS_MAX != limit:
        faults.append(Fault(AT_FILE, None, f"it has more than {PAYMENTS_MAX:,} payments: cut it by time"))
    faults += _repeated(source, marks, lines)
    faults.sort(key=lambda fault: fault.line)
    return Checked(len(marks), faults[:FAULTS_MAX], len(faults) > FAULTS_MAX, first_ms)


EARLIER: Final = (
    "is earlier than the payment before it; windows of time need a file in the order of payment, so sort it by time"
)


def _mark(payment: Transaction) -> int:
    """Return 64 bits of the id within its source system; equal ids have equal marks."""
    name = f"{payment.source_system or ''} {payment.transaction_id}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _repeated(source: PaymentSource, marks: array[int], lines: array[int]) -> Iterator[Fault]:
    """Yield a fault for each payment whose id an earlier one has. Reads the source again only where marks meet."""
    suspects = _met(marks)
    if not suspects:
        return
    wanted = {int(line) for line in np.asarray(lines)[np.isin(np.asarray(marks), np.asarray(sorted(suspects)))]}
    first_lines: dict[tuple[str | None, str], int] = {}
    for number, each in enumerate(payments_of(source)):
        if number == len(marks):
            return
        if each.line in wanted:
            name = each.transaction.source_system, each.transaction.transaction_id
            first = first_lines.setdefault(name, each.line)
            if first != each.line:
                yield Fault(each.line, None, f"has the transaction_id of {source.unit} {first:,}; one payment, one id")


def _met(marks: array[int]) -> set[int]:
    """Return the marks that come more than once, SUSPECTS_MAX of them at most."""
    ordered = np.sort(np.asarray(marks, dtype=np.int64))
    return set(np.unique(ordered[1:][ordered[1:] == ordered[:-1]])[:SUSPECTS_MAX].tolist())


def payments_of(source: PaymentSource) -> Iterator[FilePayment]:
    """Yield the payments alone, of a source that was checked."""
    return (each for each in source.read() if isinstance(each, FilePayment))
