"""A board as a table of panels, each a title, what it says, and its queries."""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.money import CURRENCIES, minor_digits

USUAL_DIGITS: Final = 2


class Kind(StrEnum):
    """The kinds of panels, as Grafana names them."""

    TIME_SERIES = "timeseries"
    NUMBER = "stat"
    BARS = "bargauge"
    TABLE = "table"


class Unit(StrEnum):
    """Units, as Grafana names them. MONEY is in whole pounds, yen or dinars, each line in the currency it names."""

    NONE = "none"
    SHARE = "percentunit"
    SECONDS = "s"
    PER_SECOND = "cps"
    MONEY = "locale"
    TIMES = "suffix: ×"


class Line(NamedTuple):
    """A query, and the legend of what it yields, in which {{label}} stands for a label's value."""

    query: str
    legend: str


class Panel(NamedTuple):
    """objective: from where on the number is good, in its unit; None where a number is neither good nor bad."""

    title: str
    says: str
    kind: Kind
    unit: Unit
    lines: tuple[Line, ...]
    objective: float | None = None


class Board(NamedTuple):
    name: str  # of the file, and of the address
    title: str
    panels: tuple[Panel, ...]


def unusual_digits() -> dict[int, tuple[str, ...]]:
    """Return ISO 4217's currencies with another number of decimals than two, by that number."""
    by_digits = defaultdict(list)
    for currency in sorted(CURRENCIES):
        if (digits := minor_digits(currency)) != USUAL_DIGITS:
            by_digits[digits].append(currency)
    return {digits: tuple(by_digits[digits]) for digits in sorted(by_digits)}


def in_whole_units(minor: str) -> str:
    """Make a query that yields each currency's amounts in its whole unit, of one that yields them in its minor unit.

    minor: a query by currency; CURRENCY in it stands where each of its selectors takes a matcher.
    """
    unusual = unusual_digits()
    others = "|".join(currency for digits in unusual.values() for currency in digits)
    parts = [_divided(minor, f'currency!~"{others}"', USUAL_DIGITS)]
    parts += [_divided(minor, f'currency=~"{"|".join(named)}"', digits) for digits, named in unusual.items()]
    return " or ".join(parts)


def _divided(minor: str, matcher: str, digits: int) -> str:
    query = minor.replace("CURRENCY", matcher)
    assert query != minor, "a query without a matcher would count every currency in every unit"
    return f"({query}) / {10**digits}" if digits else f"({query})"
