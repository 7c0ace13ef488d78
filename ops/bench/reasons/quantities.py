"""The numbers in a sentence, with their units: what a reader compares.

A comparison is a value, how far it is from a limit, and the limit: "£60,000.00, £10,000.00 over the limit of
£50,000.00". A reader can check it where the three stand in one unit and the difference is the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

_NUMBER: Final = r"\d[\d,]*(?:\.\d+)?"
_MONEY: Final = rf"£\d[\d,]*\.\d\d|[A-Z]{{3}} {_NUMBER}"
_PERCENT: Final = rf"{_NUMBER} (?:%|percentage points?)"
_TIMES: Final = rf"{_NUMBER} times(?: that (?:average|month))?"
_BEFORE_NOUN: Final = r"(?:different |beneficiary |fraud |attempted |confirmed |fraudulent )*"
_COUNT: Final = rf"(?:no|less than {_NUMBER}|{_NUMBER}) {_BEFORE_NOUN}[a-z]+"
QUANTITY: Final = f"(?:{_MONEY}|{_PERCENT}|{_TIMES}|{_COUNT})"
_PARTED: Final = re.compile(
    rf"(?P<gap>{QUANTITY}) (?P<way>over|above|short of|below) (?:the limit of |the required |)(?P<limit>{QUANTITY})"
)
_VALUE: Final = re.compile(f"{QUANTITY}")
MONEY: Final = re.compile(_MONEY)
_UNITS: Final = {
    **dict.fromkeys(("percentage points", "percentage point"), "%"),
    **dict.fromkeys(("times that average", "times that month"), "times"),
}


class Quantity(NamedTuple):
    number: Decimal
    unit: str


class Comparison(NamedTuple):
    """`value` is None where no number with a unit stands before the difference."""

    value: Quantity | None
    gap: Quantity
    way: str
    limit: Quantity
    text: str


def quantity_of(text: str) -> Quantity:
    """Its number and unit, the noun in the singular."""
    if text.startswith("£"):
        return Quantity(Decimal(text[1:].replace(",", "")), "£")
    head, _, tail = text.partition(" ")
    if head.isalpha() and head.isupper():
        return Quantity(Decimal(tail.replace(",", "")), head)
    if head == "no":
        return Quantity(Decimal(0), tail.removesuffix("s"))
    if text.startswith("less than "):
        _, _, number, unit = text.split(" ", 3)
        return Quantity(Decimal(number.replace(",", "")), f"less than {unit.removesuffix('s')}")
    unit = _UNITS.get(tail, tail)
    return Quantity(Decimal(head.replace(",", "")), unit.removesuffix("s").rpartition(" ")[2])


def comparisons(text: str) -> Iterator[Comparison]:
    for found in _PARTED.finditer(text):
        before = [each[0] for each in _VALUE.finditer(text, 0, found.start()) if not _is_window(text, each.start())]
        value = quantity_of(before[-1]) if before else None
        gap, limit = quantity_of(found["gap"]), quantity_of(found["limit"])
        yield Comparison(value, gap, found["way"], limit, text)


def _is_window(text: str, place: int) -> bool:
    """A window's length ("in the last 30 days") is no value of a fact; it is in every sentence about a window."""
    return text[:place].endswith(("last ", "checked ", "payments in "))


def is_checkable(each: Comparison) -> bool:
    """Whether the value, its limit and their difference are in one unit, and agree."""
    if each.value is None or not each.value.unit == each.gap.unit == each.limit.unit:
        return False
    sign = 1 if each.way in ("over", "above") else -1
    return each.value.number - each.limit.number == sign * each.gap.number
