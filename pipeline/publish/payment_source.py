"""What any file of payments gives, whatever its form: payments, and faults that say where they are.

A source is read twice: whole, to find its faults (`whole_check`), and again, to publish. No fault quotes a value of a
payment (I10); names of columns and paths of elements are the file's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from pipeline.domain.payment import Transaction

LABELLED_AFTER_MS: Final = 3 * 86_400_000
"""A file doesn't say when its labels became known. Publishing and training take them to come so long after the payment,
which is before the label windows ask for them."""
AT_FILE: Final = 0
"""The line of a fault that is the whole file's."""


class Fault(NamedTuple):
    """`line` counts from 1 in the source's `unit`; `column` is the file's own name, or a path, or None for the row."""

    line: int
    column: str | None
    what: str  # a predicate of the column or the line, without a full stop: "is empty"


class FilePayment(NamedTuple):
    """A payment that was converted by checking; whether it can be decided is asked of it later (`refusal_of`)."""

    line: int
    transaction: Transaction
    is_fraud: bool | None  # None where labels weren't asked for


class ControlTotals(NamedTuple):
    """`payments` None: their number isn't said. `sums_minor`: empty, or the sum in each currency that there is."""

    payments: int | None = None
    sums_minor: Mapping[str, int] = MappingProxyType({})

    @property
    def is_said(self) -> bool:
        return self.payments is not None or bool(self.sums_minor)

    def faults(self, payments: int, sums_minor: Mapping[str, int]) -> Iterator[Fault]:
        """Yield what a whole file that comes to this has otherwise. No sum is quoted: it may be one payment's."""
        if payments == 0 and self.payments is None:
            yield Fault(AT_FILE, None, NO_PAYMENT)
        if self.payments not in (None, payments):
            yield _cut(f"it has {payments:,} payments where {self.payments:,} are declared")
        if not self.sums_minor:
            return
        for currency in sorted(sums_minor.keys() - self.sums_minor.keys()):
            yield _cut(f"it has payments in {currency}, for which no sum is declared")
        for currency, declared in sorted(self.sums_minor.items()):
            if sums_minor.get(currency, 0) != declared:
                yield _cut(f"its payments in {currency} come to another sum than is declared")


NO_PAYMENT: Final = "it has no payment: if that is the whole file, say so by --payments 0, or payments = 0 in a map"
"""A delimited file that was cut off behind its first line looks like one of a day without payments."""
NO_TOTALS: Final = ControlTotals()


def _cut(what: str) -> Fault:
    return Fault(AT_FILE, None, f"{what}: it may be cut off, or be another file")


class Wrong(ValueError):
    """A value can't be taken for what its place demands. The message is a Fault's `what`."""


class Unreadable(Exception):
    """The file can't be read at all: `what` is wrong with it and how to `fix` it, two short sentences."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.what, self.fix = what, fix


class PaymentSource(Protocol):
    """A file of payments. `read` begins anew each time, and gives the same for the same bytes."""

    @property
    def name(self) -> str:
        """The file's name, for sentences."""

    @property
    def unit(self) -> str:
        """What `Fault.line` counts: "line" or "row"."""

    @property
    def part(self) -> str:
        """What `Fault.column` names: "column" or "element"."""

    @property
    def count(self) -> int | None:
        """The number of payments, where the file says it without being read."""

    @property
    def is_whole(self) -> bool:
        """Whether the file says of itself what holds for all of it only, so that its first payments are no file."""

    @property
    def totals(self) -> ControlTotals:
        """What its sender says, beside the file, that it comes to."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """Parts that no payment has a place for, and how often the last reading met each."""

    def read(self) -> Iterator[FilePayment | Fault]:
        """Yield payments in the file's order, in bounded memory, and go on behind a fault where that is possible.

        Raises Unreadable where the file can't be read at all; never anything else that a file could cause.
        """

    def read_to_its_end(self) -> None:
        """Look at what a reading that stops early leaves unseen: a checksum at the end. Raises Unreadable."""

    def require_same(self) -> None:
        """Raises Unreadable where the file has changed since it was opened, which a reading that stops early misses."""


def sentence_of(fault: Fault, unit: str, part: str = "column") -> str:
    """Say a fault in a sentence, as "Line 7, column 'amount': is empty."."""
    if fault.line == AT_FILE:
        return f"{fault.what[:1].upper()}{fault.what[1:]}."
    place = f"{unit.capitalize()} {fault.line:,}"
    return f"{place}, {part} '{fault.column}': {fault.what}." if fault.column else f"{place}: {fault.what}."
