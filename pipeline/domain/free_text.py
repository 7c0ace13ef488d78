"""The free text of people: reasons, names and notes, which others read on terminals and pages.

Invariants
1. What `shown` returns holds no character that a terminal or a page acts upon instead of showing it: no control, no
   escape, no direction override, no invisible one. Each stands as its code point, such as <U+202E>, so that nothing
   that was written is hidden from whoever reads it.
2. A text that `reason_fault` accepts holds none of them, and has words in it: neither blanks nor zero-width characters
   nor combining marks nor punctuation make up its length.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final

REASON_CHARACTERS_MAX: Final = 4000
WORD_CHARACTERS_MAX: Final = 300
"""Characters of a word in a failure's sentence. A path or an id has fewer."""
LETTERS_MIN: Final = 2
"""Letters of the shortest reason. In some scripts a word has two."""
LETTER_SHARE: Final = 2
"""At least one in so many of a reason's characters, where a minimum is asked for, is a letter or a digit."""
_JOINERS: Final = frozenset("\u200c\u200d")
"""Characters that Persian and Indic words need, and which act on their two neighbours only."""
_UNSEEN_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0")
"""Hangul fillers, which Unicode calls letters and no reader sees."""
_UNSEEN: Final = _UNSEEN_LETTERS | frozenset("\u2800\ufffc\ufffd")
"""Those, the blank Braille cell, and what stands where an object or a character was lost."""


class ReasonFault(StrEnum):
    """Why a text is no reason, in order of precedence; each completes "the reason …"."""

    HIDDEN = "holds characters that act on the screen or that no reader sees"
    TOO_SHORT = "is too short to be of use to whoever reads it later"
    TOO_LONG = f"is over {REASON_CHARACTERS_MAX} characters"


def shown(text: str) -> str:
    """Return one line of text with every character that isn't shown, or isn't blank, as its code point."""
    if text.isprintable():
        return text
    return "".join(each if _is_shown(each) else " " if each in "\n\t" else f"<U+{ord(each):04X}>" for each in text)


def shortened(sentence: str) -> str:
    """Return a sentence whose words have at most `WORD_CHARACTERS_MAX`: it may quote a file instead of a name."""
    return re.sub(rf"\S{{{WORD_CHARACTERS_MAX + 1},}}", lambda word: f"{word[0][: WORD_CHARACTERS_MAX - 1]}…", sentence)


def tidied(text: str) -> str:
    """Return a text as it is kept: composed (NFC), with single blanks, and none at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def reason_fault(text: str, *, characters_min: int = 0, characters_max: int = REASON_CHARACTERS_MAX) -> str | None:
    """Return why a text is no reason, as words that complete "the reason …", or None where it is one."""
    kept = tidied(text)
    if not all(_is_shown(each) or each in _JOINERS for each in kept):
        return ReasonFault.HIDDEN
    visible, letters = _visible(kept), _letters(kept)
    if visible < characters_min or letters < max(LETTERS_MIN, characters_min // LETTER_SHARE):
        return ReasonFault.TOO_SHORT
    if len(kept) > characters_max:
        return f"is over {characters_max} characters"
    return None


def is_name(text: str, characters_max: int = 64) -> bool:
    """Return whether a text names somebody: a line that is shown as it is written, with a letter or a digit in it."""
    return 0 < len(text) <= characters_max and text == tidied(text) and text.isprintable() and _letters(text) > 0


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _visible(text: str) -> int:
    """Count the characters that take room of their own: no marks, which stand on others, and nothing invisible."""
    return sum(each == " " or is_seen(each) for each in text)


def is_seen(character: str) -> bool:
    """Whether a reader sees it by itself."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _UNSEEN


def _letters(text: str) -> int:
    return sum(unicodedata.category(each)[0] in "LN" and each not in _UNSEEN_LETTERS for each in text)
