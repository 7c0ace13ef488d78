"""A model's terms as reasons.

Invariants
1. A term is told only of facts whose values are known and differ, in words, from what is typical. Of two features both
   are told, or the other one is typical: then what the term contributes is the told one's alone. So where one is
   missing, or was told before, the term is not told.
2. No fact is told twice, and none is the payment's own amount in another guise.
3. Contributions are told against the typical payment's (`rebased`), and still sum to the score exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from librt.strings import read_i64_le

from models.artefact.scoring import Model, Term
from pipeline.decide.phrase_books.books import PhraseBook
from pipeline.decide.reasons.families import FAMILY, MONEY, OF_SEVERAL, windows_of
from pipeline.domain.decision import Reason
from pipeline.domain.features import COLUMN, UNKNOWN

WORDS_REMEMBERED: Final = 8192
"""Texts remembered for each feature or rule, 300 bytes each: most payments say what many said before them."""
_BYTES: Final = 8
_AMOUNT: Final = COLUMN["amount_gbp_minor"]
_COUNT_30D: Final = COLUMN["account_count_30d"]


def rebased(model: Model) -> Model:
    """The same model, each table counted from the typical values' entry, which goes to the intercept: integers, so the
    score of every payment stays what it was."""
    entries = [_typical_entry(term, model) for term in model.terms]
    terms = tuple(term._replace(table=term.table - entry) for term, entry in zip(model.terms, entries, strict=True))
    return replace(model, intercept_micro=model.intercept_micro + sum(entries), terms=terms)


def _typical_entry(term: Term, model: Model) -> int:
    place = tuple(
        int(np.searchsorted(edges, model.typical.get(name, UNKNOWN), side="right"))
        for name, edges in zip(term.features, term.edges, strict=True)
    )
    return int(term.table[place])


class _Words:
    """The words about one feature's values beside what is typical."""

    def __init__(self, feature: str, typical: int, book: PhraseBook) -> None:
        self.column, self.family, self.typical = COLUMN[feature], FAMILY[feature], typical if typical >= 0 else None
        self._feature, self._beside, self._book = feature, typical, book
        self._is_money, self._is_of_several = feature in MONEY, feature in OF_SEVERAL
        self._windows = windows_of(feature) if book.tells_windows_once else None
        self._rounded = book.rounding(feature)
        self._typical_key = self._key(typical)
        self._known: dict[int, str] = {}

    def _key(self, observed: int) -> int:
        """The least value that is told in the same words; the value itself where it is missing."""
        return observed if self._rounded is None or observed < 0 else self._rounded(observed)

    def of(self, observed: int, values: bytes, start: int) -> str | None:
        """None where nothing is to be said; the row is `values` from number `start` on."""
        if observed < 0:
            return None
        if self._is_money and observed == read_i64_le(values, (start + _AMOUNT) * _BYTES):
            return None
        if self._is_of_several and read_i64_le(values, (start + _COUNT_30D) * _BYTES) == 1:
            return None
        key = self._key(observed)
        if key == self._typical_key:
            return None
        words = self._known.get(key)
        if words is None:
            words = self._book.typical(self._feature, observed, self._beside)
            if words is not None and len(self._known) < WORDS_REMEMBERED:
                self._known[key] = words
        return words

    def is_told(self, told: int, values: bytes, start: int) -> bool:
        """Whether the fact is among those `told`, in its own words or as that of a window of the same payments."""
        if told & self.family:
            return True
        if self._windows is None:
            return False
        for family, column in self._windows.others:
            if told & family:
                count = read_i64_le(values, (start + self._windows.counted) * _BYTES)
                if count >= 0 and count == read_i64_le(values, (start + column) * _BYTES):
                    return True
        return False

    def is_typical(self, observed: int) -> bool:
        return self._key(observed) == self._typical_key

    def excess(self, observed: int) -> int | None:
        return None if self.typical is None else observed - self.typical


class TermView:
    """The words about a model's term."""

    def __init__(self, code: str, first: _Words, second: _Words | None) -> None:
        self._code, self._first, self._second = code, first, second
        self._known: dict[int, Reason] = {}  # of a term of one feature, whose value decides what it contributes

    def tell(
        self, values: bytes, start: int, contribution_micro: int, told: int, facts: list[str], reasons: list[Reason]
    ) -> int:
        """Adds the term's facts and its reason, where they may be told; the families told by then."""
        words = self._first
        observed = read_i64_le(values, (start + words.column) * _BYTES)
        text = words.of(observed, values, start)
        if text is not None and words.is_told(told, values, start):
            return told
        if self._second is None:
            if text is None:
                return told
            reason = self._known.get(observed)
            if reason is None:
                reason = self._reason(words, text, observed, contribution_micro)
                if len(self._known) < WORDS_REMEMBERED:
                    self._known[observed] = reason
            facts.append(reason.text)
            reasons.append(reason)
            return told | words.family
        other = self._second
        second = read_i64_le(values, (start + other.column) * _BYTES)
        second_text = other.of(second, values, start)
        if second_text is None:
            if text is None or not other.is_typical(second):
                return told
        elif other.is_told(told, values, start):
            return told
        elif text is None:
            if not words.is_typical(observed):
                return told
            words, observed, text = other, second, second_text
        elif not other.is_told(words.family, values, start):
            text = f"{text} and {second_text}"
            told |= other.family
        facts.append(text)
        reasons.append(self._reason(words, text, observed, contribution_micro))
        return told | words.family

    def _reason(self, words: _Words, text: str, observed: int, contribution_micro: int) -> Reason:
        return Reason(self._code, text, observed, words.typical, words.excess(observed), contribution_micro)


def term_views(model: Model, book: PhraseBook) -> Iterator[TermView]:
    words = {
        name: _Words(name, model.typical.get(name, UNKNOWN), book) for term in model.terms for name in term.features
    }
    for term in model.terms:
        code = "MODEL_" + "_AND_".join(name.upper() for name in term.features)
        first, *second = term.features
        yield TermView(code, words[first], words[second[0]] if second else None)
