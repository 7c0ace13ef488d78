"""Every phrase book that was ever released, by its version: a decision names the one that it is worded in.

A released book's wording never changes (`tests/decide/phrase_books` hold each to its digest). To word something
otherwise, add a version that inherits from the last, and make it CURRENT.
"""

from __future__ import annotations

from typing import Final

from pipeline.decide.phrase_books.v1.book import PhraseBook
from pipeline.decide.phrase_books.v2.book import PhraseBook as SecondBook
from pipeline.decide.phrase_books.v3.book import PhraseBook as ThirdBook

__all__ = ["BOOKS", "CURRENT", "PhraseBook", "book_of", "book_or_current"]

CURRENT: Final[PhraseBook] = ThirdBook()
BOOKS: Final[dict[str, PhraseBook]] = {book.version: book for book in (PhraseBook(), SecondBook(), CURRENT)}


def book_or_current(version: str) -> PhraseBook:
    """For what is said about a decision beside it: its own book, or the current one where this release lacks it."""
    return BOOKS.get(version, CURRENT)


def book_of(version: str) -> PhraseBook | None:
    """None where this release has no book of that version."""
    return BOOKS.get(version)
