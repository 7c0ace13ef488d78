"""Amounts as people read them: sign, code, thousands and the decimals of ISO 4217."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.money import CURRENCIES, minor_digits, money_text


@pytest.mark.parametrize(
    ("amount_minor", "currency", "said"),
    [
        (-150, "GBP", "-£1.50"),
        (-1, "GBP", "-£0.01"),
        (0, "GBP", "£0.00"),
        (-123_456_789, "EUR", "-EUR 1,234,567.89"),
        (-7, "JPY", "-JPY 7"),
        (-5, "KWD", "-KWD 0.005"),
        (1_234_567, "JPY", "JPY 1,234,567"),
    ],
)
def test_an_amount_has_its_sign_in_front_and_is_not_rounded_away_from_nothing(
    amount_minor: int, currency: str, said: str
) -> None:
    """-150 pence were told as £-2.50."""
    assert money_text(amount_minor, currency) == said


@given(st.integers(-(10**18), 10**18), st.sampled_from(sorted(CURRENCIES)))
def test_an_amount_is_read_back_to_the_minor_unit(amount_minor: int, currency: str) -> None:
    said = money_text(amount_minor, currency)
    digits = "".join(figure for figure in said if figure.isdigit())
    assert (-1 if said.startswith("-") else 1) * int(digits) == amount_minor
    assert len(said.partition(".")[2]) == minor_digits(currency)
