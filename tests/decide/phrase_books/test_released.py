"""A released phrase book says what it said when it was released, to the byte.

To word something otherwise, add a version. `python -m tests.decide.phrase_books.release VERSION` writes its lines and
digest, once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from pipeline.decide.phrase_books.books import BOOKS, CURRENT, PhraseBook, book_of
from pipeline.domain.features import FEATURES
from tests.decide.phrase_books.wording import FEW, MANY, lines

HERE: Final = Path(__file__).parent
RELEASED: Final = {
    "1": "fe7afdc220881148103b3a58dd657abbafabdec1cfede8b0c481f569aa37e557",
    "2": "4e795265564dafb206a313fa6ee1391ee8d676f8d8efa57e2cd089a80e8677f5",
}
"""The SHA-256 over all the wording of every version that was ever released. A line of it never changes."""


def digest(book: PhraseBook) -> str:
    return hashlib.sha256("\n".join(lines(book, MANY)).encode()).hexdigest()


def test_every_version_that_was_released_is_still_here_and_no_other() -> None:
    assert BOOKS.keys() == RELEASED.keys()
    assert book_of(CURRENT.version) is CURRENT
    assert book_of("") is book_of("0") is None


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_book_says_what_it_said(version: str) -> None:
    book = BOOKS[version]
    assert book.version == version
    kept = (HERE / f"v{version}.txt").read_text(encoding="utf-8").splitlines()
    assert list(dict.fromkeys(lines(book, FEW))) == kept, "a changed wording is a new version"
    assert digest(book) == RELEASED[version], "a changed wording is a new version"


def test_the_current_book_has_words_for_every_feature() -> None:
    """A new feature's words are of a new version: decisions of before don't have it."""
    assert set(CURRENT.features) == {*FEATURES, "confidence_bp"}


def test_book_2_says_of_what_book_1_knows_what_that_says() -> None:
    assert set(lines(BOOKS["1"], FEW)) <= set(lines(BOOKS["2"], FEW))


class Reworded(PhraseBook):
    def no_rule(self) -> str:
        return "no fallback rule applies"


class RewordedFarAway(PhraseBook):
    """In a number that the kept lines don't have."""

    def fact(self, feature: str, observed: int, own: object = None) -> str:
        return super().fact(feature, 2 if observed == 301 else observed, own)  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [Reworded(), RewordedFarAway()])
def test_a_changed_wording_is_found(changed: PhraseBook) -> None:
    assert digest(changed) != RELEASED["1"]
