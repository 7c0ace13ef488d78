"""People's words: what a reader is shown of them, and which of them are no reason."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.free_text import ReasonFault, is_name, reason_fault, shown, tidied

HOSTILE = {
    "escape sequence": "cleared \x1b[2J\x1b[1;1Hall is well",
    "one-byte CSI": "cleared \x9b2J all is well",
    "hyperlink": "see \x1b]8;;https://bank.example\x07here\x1b]8;;\x07 for it",
    "carriage return": "BLOCK it\rALLOW",
    "backspace": "ALLOW\b\b\b\b\bBLOCK it",
    "right-to-left override": "pay \u202eKCOLB",
    "isolate": "pay \u2067this\u2069 now",
    "zero width": "al\u200blow this payment",
    "tags": "fine\U000e0041\U000e0042",
    "soft hyphen": "al\u00adlow",
    "line separator": "one\u2028two words",
    "unassigned": "one \ufdd0 two",
}
NOT_WORDS = {
    "zero width": "\u200b" * 25,
    "marks alone": "\u0301" * 25,
    "marks on blanks": " \u0301" * 25,
    "punctuation": ".,-!?" * 5,
    "symbols": "✓" * 25,
    "blanks": "\u00a0\u2003" * 13,
    "Hangul fillers": "\u3164" * 25,
    "blank Braille": "\u2800" * 25,
    "one letter and marks": "a" + "\u0301" * 30,
    "one letter and punctuation": "a" + "." * 30,
    "joiners": "a" + "\u200d" * 30,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_invariant_1_nothing_acts_on_the_screen(text: str) -> None:
    assert shown(text).isprintable()
    assert reason_fault(text) == ReasonFault.HIDDEN or "\r" in text or "\u2028" in text  # blanks, which are made one


@given(st.text())
def test_invariant_1_shown_is_one_printable_line_of_the_same_words(text: str) -> None:
    line = shown(text)
    assert all(each.isprintable() or unicodedata.category(each) == "Zs" for each in line)
    assert all(each in line for each in text if each.isprintable())


@pytest.mark.parametrize("text", NOT_WORDS.values(), ids=NOT_WORDS.keys())
@pytest.mark.parametrize("characters_min", [0, 20])
def test_invariant_2_a_reason_holds_words(text: str, characters_min: int) -> None:
    assert reason_fault(text, characters_min=characters_min) in (ReasonFault.HIDDEN, ReasonFault.TOO_SHORT)


@pytest.mark.parametrize(
    "text",
    [
        "The customer confirmed it by telephone.",
        "Le client l'a confirmé par téléphone",
        "客户通过电话确认了这笔付款并且提供了全部证明文件以供查验",
        "مشتری این پرداخت را تأیید کرده است و می\u200cخواهد",
        "Case 4711/2026-A: confirmed, see e-mail",
    ],
)
def test_reasons_in_every_script_pass(text: str) -> None:
    assert reason_fault(text, characters_min=20) is None


def test_a_reason_has_its_bounds() -> None:
    assert reason_fault("x" * 19, characters_min=20) == ReasonFault.TOO_SHORT
    assert reason_fault("x" * 20, characters_min=20) is None
    assert reason_fault("x" * 4001) == ReasonFault.TOO_LONG
    assert reason_fault("x" * 11, characters_max=10) == "is over 10 characters"


def test_a_text_is_kept_composed_and_with_single_blanks() -> None:
    assert tidied("  e\u0301t\u00a0 a\n\tit ") == "\u00e9t a it"


@pytest.mark.parametrize("name", ["", " ", "ana ", "an\u200ba", "...", "a" * 65, "an\x1b[0ma", "e\u0301va"])
def test_no_name_is_written_so(name: str) -> None:
    assert not is_name(name)


def test_names_are_lines_with_letters() -> None:
    assert is_name("a.person@bank.example")
    assert is_name("éva")
