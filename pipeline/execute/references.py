"""References of fundings: which are one, and what one stands for.

Invariants
1. References that read alike are one: they differ in letter case, in the number or kind of blanks, dashes or quotes, or
   in how Unicode writes the same letters. A reference has letters of one script only, digits, the punctuation of ASCII
   and blanks: a Cyrillic letter among Latin ones, which no reader tells from them, is in none, nor is what none sees.
2. A reference stands for one account, currency and amount, for ever. The same again is nothing new; another is refused.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final, NamedTuple

from pipeline.domain.free_text import is_name, tidied
from pipeline.domain.identities import funding_id
from pipeline.domain.money import money_text

REFERENCE_CHARACTERS_MAX: Final = 140
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that Python takes for printable, and that fonts show as nothing."""
_DASH_LIKE: Final = "\u02d7\u06d4\u2043\u2212\u2796\u2cba"
"""Signs that read as a dash, and that Unicode doesn't call one."""
_QUOTES: Final = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u02b9\u02bb\u02bc\u02bd\u02c8\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u02ba", '"')
)
_NO_LETTERS: Final = frozenset(" " + string.punctuation + string.digits)
_ALONE: Final = (
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "THAANA", "DEVANAGARI", "BENGALI", "GURMUKHI",
    "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO", "TIBETAN", "MYANMAR",
    "GEORGIAN", "HANGUL", "ETHIOPIC", "KHMER", "BOPOMOFO",
)  # fmt: skip
_WITH_HAN: Final = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC")
_SCRIPTS: Final = {each: each for each in _ALONE} | dict.fromkeys(_WITH_HAN, "JAPANESE")
"""The scripts of today (UAX 31), by the first word of their letters' names. Those of one text are one."""
_LATIN_BESIDE_ASCII: Final = frozenset("\u00e6\u00f0\u00f8\u00fe\u0111\u0127\u0142\u014b\u0153")
"""Latin letters that are no ASCII letter with marks on it, in small: ae, eth, o with a stroke, and others. Letters of
phonetics aren't among them, because many read as ASCII's."""
_READ_AS_LATIN: Final = frozenset(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
)
"""Cyrillic and Greek letters, in small, that read as Latin ones when they are small or capitals."""


class Funding(NamedTuple):
    """Money from outside. kind: OPENING, whose reference is the account and its currency, or FUNDING."""

    kind: str
    reference: str
    account_id: str
    currency: str
    amount_minor: int

    @property
    def funding_id(self) -> str:
        return funding_id(f"{self.kind.lower()} {self.reference}")

    @property
    def covered(self) -> str:
        return f"{money_text(self.amount_minor, self.currency)} to {self.account_id}"


class Opening(NamedTuple):
    account_id: str
    currency: str
    overdraft_limit_minor: int
    opening_balance_minor: int

    @property
    def funding(self) -> Funding:
        name = f"{self.account_id} {self.currency}"
        return Funding("OPENING", name, self.account_id, self.currency, self.opening_balance_minor)

    @property
    def terms(self) -> str:
        overdraft, balance = (money_text(minor, self.currency) for minor in self[2:])
        return f"{balance} to begin with and an overdraft of {overdraft}"


class LedgerConflict(Exception):
    """The ledger has what was asked for already, for something else. Each sentence names both.

    opened: how many accounts were opened before it was met.
    """

    def __init__(self, sentences: list[str], opened: int = 0) -> None:
        super().__init__(" ".join(sentences))
        self.sentences, self.opened = sentences, opened


def canonical_reference(text: str) -> str | None:
    """The spelling by which a reference is compared; None where it is empty, too long, or holds what nobody sees."""
    plain = text.translate(_QUOTES)  # before NFKC, which takes an acute accent apart
    kept = tidied("".join(map(_plain, unicodedata.normalize("NFKC", plain))))
    if not is_name(kept, REFERENCE_CHARACTERS_MAX) or _UNSEEN.search(kept):
        return None
    folded = unicodedata.normalize("NFKC", kept.casefold().replace("i\u0307", "i").replace("\u0131", "i"))
    if len(folded) > REFERENCE_CHARACTERS_MAX or not _is_of_one_script(folded):
        return None
    return folded


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return "-" if category == "Pd" or character in _DASH_LIKE else character


def _is_of_one_script(text: str) -> bool:
    """Whether a text has nothing but letters of one script, digits, ASCII's punctuation and blanks.

    One whose every letter reads as a Latin one is taken for Latin by whoever reads it, so it isn't of its own script.
    """
    letters = [each for each in text if each not in _NO_LETTERS]
    scripts = set(map(_script, letters))
    return not letters or (len(scripts) == 1 and "" not in scripts and not _READ_AS_LATIN.issuperset(letters))


def _script(character: str) -> str:
    """Return the script of a small letter or a mark by its Unicode name; empty for what is none of these."""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    script = _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0], "")
    if script == "LATIN" and character not in _LATIN_BESIDE_ASCII:
        return script if unicodedata.normalize("NFD", character)[0].isascii() else ""
    return script


def funding_conflict(asked: Funding, stored: Funding) -> str | None:
    """Why the reference can't stand for what is asked for; None where it stands for just that."""
    if asked == stored._replace(kind=asked.kind, reference=asked.reference):
        return None
    return (
        f"The reference {asked.reference!r} stands for {stored.covered}, and can't stand for {asked.covered} as well."
    )


def opening_conflict(asked: Opening, stored: Opening) -> str | None:
    """Why an account that is open isn't the one that is asked for; None where it is."""
    if asked == stored:
        return None
    return f"{asked.account_id} was opened in {asked.currency} with {stored.terms}, and not with {asked.terms}."
