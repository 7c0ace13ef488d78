"""A statement of the rail and the ledger, held against each other by key: what differs, and in which way.

Invariants
1. Every entry of the statement is one that the ledger has, by key, amount, direction, debtor and creditor, or a
   difference. An entry that names no key of ours is one: nothing explains it.
2. Everything that the ledger has as paid or taken back within the time of the statement is an entry of it, or of one
   before, or a difference.
3. The order of entries and of executions changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.identities import posting_id
from pipeline.execute.saga import Step
from pipeline.reconcile.statement.entries import Entry, Gap, Kind


class Difference(StrEnum):
    """Kinds of difference, in the order in which they are looked for."""

    UNEXPLAINED = "UNEXPLAINED"  # an entry that names no key: a fee, a reversal, a payment that is not ours
    TWICE = "TWICE"  # one key, booked more than once
    NOT_IN_LEDGER = "NOT_IN_LEDGER"  # booked, under a key that belongs to no execution
    DONE_OTHERWISE = "DONE_OTHERWISE"  # booked, and by the ledger refused, in doubt, or never asked for
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    PARTIES_DIFFER = "PARTIES_DIFFER"  # another debtor or creditor, or the statement names none
    KIND_DIFFERS = "KIND_DIFFERS"  # a payment where the ledger has a recall, or the other way round
    NOT_AT_RAIL = "NOT_AT_RAIL"  # the ledger says that it was done, and no statement has it
    TIME_MISSING = "TIME_MISSING"  # no statement is of the time between two, or since the first payment up to the first
    NO_STATEMENT = "NO_STATEMENT"  # payments were made in a currency, and no statement of that time came within a day
    UNVOUCHED = "UNVOUCHED"  # a statement was taken in, and no two people have said that it is the rail's; never stored


HEALING: Final = frozenset(
    {Difference.NOT_IN_LEDGER, Difference.DONE_OTHERWISE, Difference.NOT_AT_RAIL, Difference.NO_STATEMENT}
)
"""Differences that may only be late on one side, and that close once that side has come to it. The others stay."""
ALWAYS_NEW: Final = frozenset({Difference.UNEXPLAINED, Difference.TWICE})
"""Differences that each further statement makes anew, whatever was found of the key before: a bank may name each year's
statements alike, and so the places of lines without a key; and what is booked a third time went out a third time."""


class Ending(StrEnum):
    """How an attempt ended, by the ledger."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    OPEN = "OPEN"  # the rail has not said
    NEVER = "NEVER"  # the rail was not asked


class Execution(NamedTuple):
    """An execution with its steps, in order, and when each was recorded. parts_minor: of each RECALL_PART, in order."""

    execution_id: str
    debtor_account_id: str
    creditor_account_id: str
    amount_minor: int
    steps: Sequence[str]
    recorded_at_s: Sequence[float]
    parts_minor: Sequence[int]


class Booking(NamedTuple):
    """What the rail was asked to do once, by the ledger. amount_minor: below zero is paid out."""

    key: str
    kind: Kind
    execution_id: str
    amount_minor: int
    debtor_account_id: str
    creditor_account_id: str
    ending: Ending
    recorded_at_s: float  # when its ending was, or when it was asked while there is none


class Found(NamedTuple):
    """One difference. key: the entry's own place where it names none."""

    kind: Difference
    key: str
    execution_id: str | None
    rail_minor: int | None
    ledger_minor: int | None
    detail: str


_ASKING: Final = {Step.SUBMIT: Kind.TRANSFER, Step.RECALL: Kind.RETURN, Step.RECALL_PART: Kind.RETURN}
_ENDING: Final = {
    Step.CREDIT: Ending.DONE,
    Step.REJECT: Ending.REFUSED,
    Step.RECALLED: Ending.DONE,
    Step.GIVE_BACK: Ending.REFUSED,
    Step.PART_RECALLED: Ending.DONE,
    Step.REST_RECALLED: Ending.DONE,
    Step.GIVE_BACK_PART: Ending.REFUSED,
}


def bookings(execution: Execution) -> Iterator[Booking]:
    """Everything that the rail was asked to do about one execution, and the payment that it would be asked for next.

    Nothing of a payment of 0: rails book none.
    """
    if not execution.amount_minor:
        return
    attempts: dict[Step, int] = {}
    asked: Booking | None = None
    for name, at_s in zip(execution.steps, execution.recorded_at_s, strict=True):
        step = Step(name)
        if step in _ASKING:
            attempts[step] = attempts.get(step, 0) + 1
            asked = _asked(execution, step, attempts[step], at_s)
        elif step in _ENDING and asked is not None:
            yield asked._replace(ending=_ENDING[step], recorded_at_s=at_s)
            asked = None
    if asked is not None:
        yield asked
    last_s = execution.recorded_at_s[-1] if execution.steps else 0.0
    yield _asked(execution, Step.SUBMIT, attempts.get(Step.SUBMIT, 0) + 1, last_s)._replace(ending=Ending.NEVER)


def _asked(execution: Execution, step: Step, attempt: int, at_s: float) -> Booking:
    amount_minor = execution.parts_minor[attempt - 1] if step is Step.RECALL_PART else execution.amount_minor
    kind = _ASKING[step]
    return Booking(
        posting_id(execution.execution_id, step, attempt),
        kind,
        execution.execution_id,
        amount_minor if kind is Kind.RETURN else -amount_minor,
        execution.debtor_account_id,
        execution.creditor_account_id,
        Ending.OPEN,
        at_s,
    )


class Comparison:
    """Holds the entries of one statement, and those of earlier ones that differ still, until they are explained."""

    def __init__(self, since_s: float, until_s: float) -> None:
        """[since, until): when what the ledger has must stand on this statement, or on one before."""
        self._since_s, self._until_s = since_s, until_s
        self._entries: dict[str, Entry] = {}
        self._compared: set[str] = set()
        self.found: list[Found] = []
        self.not_on_it: dict[str, Booking] = {}
        """What the ledger has as done within its time, and it does not have; perhaps one before it does."""

    def take(self, entry: Entry, place: str) -> None:
        """place: of the entry, for one that names no key."""
        if entry.key is None:
            self.found.append(Found(Difference.UNEXPLAINED, place, None, entry.amount_minor, None, entry.kind))
        elif entry.key in self._entries:
            self.found.append(twice(entry.key, entry.amount_minor))
        else:
            self._entries[entry.key] = entry

    @property
    def has_unexplained(self) -> bool:
        """Whether entries are left that no execution looked at so far explains."""
        return len(self._compared) < len(self._entries)

    @property
    def keys(self) -> Iterable[str]:
        return self._entries.keys()

    def look_at(self, booking: Booking) -> None:
        entry = self._entries.get(booking.key)
        if entry is None:
            is_due = self._since_s <= booking.recorded_at_s < self._until_s
            if booking.ending is Ending.DONE and is_due:
                self.not_on_it[booking.key] = booking
            return
        if booking.key not in self._compared:
            self._compared.add(booking.key)
            self.found += _differences(entry, booking)

    def end(self, on_earlier: Iterable[str]) -> list[Found]:
        """All that differs. on_earlier: keys of not_on_it that a statement before this one has."""
        known = frozenset(on_earlier)
        strangers = [
            Found(Difference.NOT_IN_LEDGER, key, None, entry.amount_minor, None, entry.kind)
            for key, entry in self._entries.items()
            if key not in self._compared
        ]
        missing = [missed(booking) for key, booking in self.not_on_it.items() if key not in known]
        return [*self.found, *strangers, *missing]


def twice(key: str, amount_minor: int) -> Found:
    return Found(Difference.TWICE, key, None, amount_minor, None, "booked more than once")


def missed(booking: Booking) -> Found:
    return Found(Difference.NOT_AT_RAIL, booking.key, booking.execution_id, None, booking.amount_minor, booking.kind)


def time_missing(ended_at: datetime, goes_on_at: datetime) -> Found:
    times = f"{ended_at.astimezone(UTC).isoformat()}/{goes_on_at.astimezone(UTC).isoformat()}"
    return Found(Difference.TIME_MISSING, times, None, None, None, "no statement is of the time in between")


def time_before(paid_at: datetime, first_at: datetime) -> Found:
    """Payments were made before the first statement that was taken in, so nothing was held against them."""
    missing = time_missing(paid_at, first_at)
    return missing._replace(detail="payments were made then, and the first statement that was taken in begins later")


def gap_of(found: Found) -> Gap:
    """The gap that `time_missing` or `time_before` has named."""
    ended_at, _, goes_on_at = found.key.partition("/")
    return Gap(datetime.fromisoformat(ended_at), datetime.fromisoformat(goes_on_at))


def no_statement(currency: str, until: datetime | None) -> Found:
    """until: where the last statement in the currency ended; None where none was ever taken in."""
    if until is None:
        detail = f"payments were made in {currency}, and no statement was ever taken in"
        return Found(Difference.NO_STATEMENT, currency, None, None, None, detail)
    since = until.astimezone(UTC).isoformat()
    detail = f"payments were made in {currency} since {since}, and no statement of that time was taken in"
    return Found(Difference.NO_STATEMENT, f"{currency}/{since}", None, None, None, detail)


def not_vouched(sequence: int, number: int) -> Found:
    """A statement, by its sequence and the number that it is stored under, on which nobody's word stands."""
    detail = f"statement {sequence}, number {number}, was taken in, and no two people have said that it is the rail's"
    return Found(Difference.UNVOUCHED, str(number), None, None, None, detail)


def healed(open_before: Iterable[Found], found: Iterable[Found], on_statements: Iterable[str]) -> list[Found]:
    """Open differences that are no more. on_statements: keys of them that a statement has by now.

    Several may be about one key, and each heals by itself: that the ledger has come to what was in doubt says nothing
    of its being booked twice.
    """
    still, known = {(each.kind, each.key) for each in found}, frozenset(on_statements)
    return [
        each
        for each in open_before
        if each.kind in HEALING
        and (each.key in known if each.kind is Difference.NOT_AT_RAIL else (each.kind, each.key) not in still)
    ]


def _differences(entry: Entry, booking: Booking) -> Iterator[Found]:
    about = booking.key, booking.execution_id, entry.amount_minor, booking.amount_minor
    if booking.ending is not Ending.DONE:
        yield Found(Difference.DONE_OTHERWISE, *about, f"the rail has done it, the ledger says {booking.ending}")
    if entry.kind is not booking.kind:
        yield Found(Difference.KIND_DIFFERS, *about, f"{entry.kind} at the rail, {booking.kind} in the ledger")
    elif entry.amount_minor != booking.amount_minor:
        yield Found(Difference.AMOUNT_DIFFERS, *about, entry.kind)
    parties = entry.debtor_account_id, entry.creditor_account_id
    if parties != (booking.debtor_account_id, booking.creditor_account_id):
        yield Found(Difference.PARTIES_DIFFER, *about, "another debtor or creditor, or none is named")
