"""What would have had to be otherwise, in words."""

from __future__ import annotations

import pytest

from pipeline.decide.phrase_books.books import BOOKS, PhraseBook
from pipeline.explain.counterfactual.answers import Shortfall
from pipeline.explain.counterfactual.facts import Change
from pipeline.explain.counterfactual.words import moved_text, shortfall_text

WITH_ZERO = [
    (book, name)
    for book in BOOKS.values()
    if book.version != "1"
    for name in (
        "account_ms_since_last",
        "account_age_days",
        "beneficiary_age_hours",
        "beneficiary_risk_ppm_7d",
        "beneficiary_fraud_run_30d",
        "account_percent_of_earlier_average_max_7d",
    )
    if name in book.features
]
"""Features whose 0 is told in words of its own. Book 1 is a promise, and takes it for a number."""


@pytest.mark.parametrize(("book", "name"), WITH_ZERO)
@pytest.mark.parametrize("number", [500, 60_000])
def test_what_is_no_number_is_no_number_of_a_difference(book: PhraseBook, name: str, number: int) -> None:
    """ "The last payment 40 hours earlier, and not 0 hours: 40 hours more" is untrue of a late payment."""
    zero = book.fact(name, 0)
    for before, after in ((0, number), (number, 0)):
        text = moved_text(book, Change(name, before, after))
        assert "and not" not in text
        assert " 0 " not in text.replace(zero, "")
        other = book.beside(name, number, 0)
        assert text in (f"{zero}, where {other}", f"{other}, where {zero}")


@pytest.mark.parametrize(("book", "name"), WITH_ZERO)
def test_a_rule_that_such_a_zero_met_or_would_not_is_told_without_a_difference(book: PhraseBook, name: str) -> None:
    zero = book.fact(name, 0)
    met = shortfall_text(book, None, Shortfall("RULE", name, 0, 500, 500))
    assert met == f"RULE applied because {zero}; it would not at {book.number(name, 500, 0)}."
    free = shortfall_text(book, None, Shortfall("RULE", name, 500, 0, -500))
    assert free.endswith(f"; it would not if {zero}.")


@pytest.mark.parametrize("book", BOOKS.values())
def test_a_number_is_told_with_its_difference(book: PhraseBook) -> None:
    text = moved_text(book, Change("ip_fraud_reports", 3, 0))
    assert text == "the IP address is linked to 0 fraud reports, and not 3 fraud reports: 3 fraud reports less"
