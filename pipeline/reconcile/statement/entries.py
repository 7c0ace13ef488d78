"""A statement of the rail as values: its head, its entries, and what makes it unusable.

Invariants
1. Amounts are integers of minor units, exactly: a text that is no whole number of them is refused, never rounded.
2. From the opening balance the entries lead to the closing one, and as many of them as the statement says.
3. A key is compared as what it stands for: rails write a UUID with dashes or without, in either case.
4. Two statements have the same digest of their lines exactly where they have the same lines in the same order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from pipeline.domain.money import minor_digits, money_text

AMOUNT_MINOR_MAX: Final = 2**63 - 1
AHEAD_MAX: Final = timedelta(days=1)
"""How far ahead a statement may end: a rail may date it to the end of a day that isn't over."""
BETWEEN_MAX: Final = timedelta(seconds=1)
"""Between two statements that follow each other: many banks end a day at its last second."""
YEARS: Final = range(1970, 2200)
"""Of which a statement can be."""
_DECIMAL: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{0,5})?", re.ASCII)
_SIGNED: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{0,5})?", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_SEQUENCE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class StatementUnusable(Exception):
    """The file is no statement that can be taken in; the message says why in a sentence, and quotes no account."""


class Kind(StrEnum):
    TRANSFER = "TRANSFER"
    RETURN = "RETURN"  # of a transfer, or of a part of one, that was recalled
    OTHER = "OTHER"  # fees, interest, reversals, and whatever else is neither


class Head(NamedTuple):
    """One account in one currency, from a balance to a balance. entries: as many as it says; None: it doesn't say."""

    account_id: str
    currency: str
    sequence: int
    name: str
    form: str
    from_at: datetime
    to_at: datetime
    opening_minor: int
    closing_minor: int
    entries: int | None


class Entry(NamedTuple):
    """One booking. amount_minor: from our side, so below zero is paid out. key: of the transfer, or of the recall that
    a return answers; None where the rail names none. One that is neither has the key of what it is about, if any."""

    number: int
    kind: Kind
    key: str | None
    amount_minor: int
    debtor_account_id: str | None
    creditor_account_id: str | None


class Gap(NamedTuple):
    """Time that no statement is of: between two, or from the first payment to the first statement."""

    ended_at: datetime
    goes_on_at: datetime


class Sum:
    """Adds the entries of one statement up, and says at its end whether they lead to where it says."""

    def __init__(self, head: Head) -> None:
        self._head, self.entries, self._sum_minor = head, 0, 0

    def add(self, entry: Entry) -> None:
        self.entries += 1
        self._sum_minor += entry.amount_minor

    def check(self) -> None:
        """Raises StatementUnusable."""
        head = self._head
        if head.opening_minor + self._sum_minor != head.closing_minor:
            raise StatementUnusable(
                f"statement {head.sequence} opens with {_money(head, head.opening_minor)}, its entries sum to "
                f"{_money(head, self._sum_minor)}, and it closes with {_money(head, head.closing_minor)}"
            )
        if head.entries is not None and head.entries != self.entries:
            raise StatementUnusable(f"statement {head.sequence} says {head.entries} entries and has {self.entries}")


class LinesDigest:
    """Adds the entries of one statement up to a digest; the same as the database's control.stated."""

    def __init__(self) -> None:
        self._digest, self.lines = hashlib.sha256(), 0

    def add(self, entry: Entry) -> None:
        parties = map(_measured, (entry.key, entry.debtor_account_id, entry.creditor_account_id))
        line = "|".join((str(entry.number), entry.kind, str(entry.amount_minor), *parties))
        self._digest.update(hashlib.sha256(line.encode()).digest())
        self.lines += 1

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _measured(text: str | None) -> str:
    """With its length in front, so that no two texts one after the other pass for two others."""
    return "-" if text is None else f"{len(text)}:{text}"


def _money(head: Head, amount_minor: int) -> str:
    return money_text(amount_minor, head.currency)


def follows(head: Head, last: Head | None, now: datetime) -> None:
    """Raise StatementUnusable where the statement does not go on where the last one of its account ended.

    A bank may number the statements of each year from 1.
    """
    if head.to_at < head.from_at:
        raise StatementUnusable(f"statement {head.sequence} ends before it begins")
    if head.to_at > now + AHEAD_MAX:
        raise StatementUnusable(f"statement {head.sequence} ends in the future, at {head.to_at.isoformat()}")
    if last is None:
        return
    if not _is_first_of_a_year(head, last):
        _follows_in_sequence(head, last)
    if head.opening_minor != last.closing_minor:
        raise StatementUnusable(
            f"statement {head.sequence} opens with {_money(head, head.opening_minor)}, and {last.sequence} closed with "
            f"{_money(last, last.closing_minor)}"
        )
    if head.from_at < last.to_at:
        raise StatementUnusable(f"statement {head.sequence} begins before {last.sequence} ended")


def filled(head: Head, gaps: Iterable[Gap], before_first: Gap | None = None) -> Gap | None:
    """Return the gap that a statement is of, from its beginning on; None where it is of none.

    before_first: the one among them before which there is no statement. A statement of it may begin before it.
    """
    for gap in gaps:
        begins_there = abs(head.from_at - gap.ended_at) <= BETWEEN_MAX
        begins_there |= gap == before_first and head.from_at < gap.ended_at
        if begins_there and gap.ended_at + BETWEEN_MAX < head.to_at <= gap.goes_on_at:
            return gap
    return None


def fits(head: Head, gap: Gap, before_minor: int | None, after_minor: int | None) -> Gap | None:
    """Return what is left of a gap behind a statement that fills it from its beginning on; None where nothing is.

    before_minor, after_minor: what the account had where the gap begins and ends; before_minor is None where no
    statement ends there. Raises StatementUnusable where the statement does not lead from the one to the other.
    """
    if before_minor is not None and head.opening_minor != before_minor:
        raise StatementUnusable(
            f"statement {head.sequence} opens with {_money(head, head.opening_minor)}, and the one before it closed "
            f"with {_money(head, before_minor)}"
        )
    if gap.goes_on_at - head.to_at > BETWEEN_MAX:
        return Gap(head.to_at, gap.goes_on_at)
    if head.closing_minor != after_minor:
        raise StatementUnusable(
            f"statement {head.sequence} closes with {_money(head, head.closing_minor)}, and the one behind it opens "
            f"with {'nothing that is known' if after_minor is None else _money(head, after_minor)}"
        )
    return None


def is_gap(head: Head, last: Head | None) -> bool:
    """Whether no statement is of the time between the last one and this one."""
    return last is not None and head.from_at - last.to_at > BETWEEN_MAX


def _is_first_of_a_year(head: Head, last: Head) -> bool:
    """By the year of the statement's own time zone: the last one was of an earlier one."""
    is_later = head.from_at >= last.to_at and head.to_at.year > last.from_at.astimezone(head.to_at.tzinfo).year
    return head.sequence == 1 and is_later


def _follows_in_sequence(head: Head, last: Head) -> None:
    if head.sequence <= last.sequence:
        raise StatementUnusable(f"statement {head.sequence} was taken in before: the last one was {last.sequence}")
    if head.sequence != last.sequence + 1:
        raise StatementUnusable(f"statement {head.sequence} follows {last.sequence}: take in {last.sequence + 1} first")


def amount_minor(text: str, currency: str, *, is_signed: bool = False) -> int:
    """Raises StatementUnusable where the text is no whole number of minor units."""
    if not (_SIGNED if is_signed else _DECIMAL).fullmatch(text):
        raise StatementUnusable(f"an amount is no decimal number of at most 18 digits and 5 decimals: {text[:30]!r}")
    scaled = Decimal(text).scaleb(minor_digits(currency))
    minor = int(scaled)
    if minor != scaled or abs(minor) > AMOUNT_MINOR_MAX:
        raise StatementUnusable(f"an amount is no whole number of minor units of {currency}: {text}")
    return minor


def currency_of(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise StatementUnusable("the currency is no code of three letters")
    return text


def sequence_of(text: str) -> int:
    if not _SEQUENCE.fullmatch(text):
        raise StatementUnusable("the statement's sequence is no number")
    return int(text)


def time_of(text: str) -> datetime:
    """Raises StatementUnusable: a time without its distance from UTC may be any of a day's."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise StatementUnusable(f"a time can't be read: {text[:40]!r}") from error
    if found.tzinfo is None:
        raise StatementUnusable(f"a time does not say how far it is from UTC: {text[:40]!r}")
    if found.year not in YEARS:
        raise StatementUnusable(f"a time is of no year that a statement can be of: {text[:40]!r}")
    return found


def named_key(kind: Kind, text: str) -> str | None:
    """The key that an entry names. Of what is neither a transfer nor a return only a UUID is one, as ours are: what a
    bank books back of a payment of ours is somebody's money, and its own references of fees are none of ours."""
    return key_of(text) if text and (kind is not Kind.OTHER or _UUID.fullmatch(text)) else None


def key_of(text: str) -> str:
    """The key as the ledger writes it."""
    return str(UUID(text)) if _UUID.fullmatch(text) else text
