"""Phrase book 3: book 2, but a ratio that was cut off at its greatest value is "at least" that, and so is how far it is
from a limit.

Invariants
1. Of every value below the greatest it says what book 2 says, to the byte.
2. RATIO_PERCENT_MAX is the book's own copy, so that no change elsewhere can reword what was released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.decide.phrase_books.v1.features import Phrase
from pipeline.decide.phrase_books.v1.numbers import PERCENT, Unit
from pipeline.decide.phrase_books.v2.book import PHRASES as SECOND_PHRASES
from pipeline.decide.phrase_books.v2.book import PhraseBook as SecondBook

RATIO_PERCENT_MAX: Final = 1_000_000
"""A ratio that is greater is reported as this."""
CUT_OFF: Final = (
    "amount_percent_of_average_30d",
    "account_volume_percent_of_normal_month",
    "amount_percent_of_earlier_average_30d",
    "amount_percent_of_earlier_average_ever",
    "account_percent_of_earlier_average_max_7d",
)


def _one(number: int) -> str:
    return f"at least {PERCENT.one(number)}" if number >= RATIO_PERCENT_MAX else PERCENT.one(number)


def _exact(value: int, limit: int) -> Callable[[int], str]:
    """A limit is exact however great it is; only a value was cut off."""
    words = PERCENT.exact(value, limit)
    if value < RATIO_PERCENT_MAX:
        return words
    return lambda number: f"at least {words(number)}" if number == value else words(number)


def _difference(value: int, limit: int) -> Callable[[int], str]:
    words = PERCENT.difference(value, limit)
    return words if value < RATIO_PERCENT_MAX else lambda number: f"at least {words(number)}"


_RATIO: Final = Unit(_one, _exact, _difference)
PHRASES: Final[dict[str, Phrase]] = {
    **SECOND_PHRASES,
    **{name: SECOND_PHRASES[name]._replace(unit=_RATIO) for name in CUT_OFF},
}


class PhraseBook(SecondBook):
    """Version 3. A later version inherits, as this one does."""

    def __init__(self, version: str = "3", phrases: dict[str, Phrase] = PHRASES) -> None:
        super().__init__(version, phrases)
