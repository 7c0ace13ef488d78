"""What a customer is told follows from the decision, and names what is the payer's to change, and no other cause."""

from __future__ import annotations

import re

import pytest

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.replay.customer import Money, customer_text
from pipeline.replay.regimes import Missing
from tests.archive import CLOSED, OPEN, payment
from tests.decisions import decision_of

CONTACT = "Call us at the number on the back of your card, or write to us in your online banking."
FIELD, CURRENCY = "A field that we need is empty", "We don't make payments in its currency."


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reference": None}, FIELD),
        ({"beneficiary_name": None}, FIELD),
        ({"reference": None, "beneficiary_name": None}, FIELD),
        ({"currency": "XXX"}, CURRENCY),
        ({"beneficiary_country": "KP", "reference": None}, FIELD),
        ({"amount_minor": 6_000_000, "reference": None}, FIELD),
        ({"beneficiary_country": "KP", "currency": "XXX"}, CURRENCY),
        ({"currency": "XXX", "reference": None}, f"{FIELD}: please fill in every field and try again. {CURRENCY}"),
    ],
)
def test_what_the_payer_can_change_is_said(archive, fields, said):
    [value] = archive.values([payment(1, **fields)], [CLOSED])
    text = customer_text(decision_of(value), archive.regime_of)
    assert said in text
    assert text.endswith(CONTACT)


@pytest.mark.parametrize(
    "fields",
    [
        {"beneficiary_country": "KP"},
        {"beneficiary_country": "ZZ"},
        {"amount_minor": 6_000_000},
    ],
)
def test_no_other_cause_is_named(archive, fields):
    [value] = archive.values([payment(1, **fields)], [CLOSED])
    text = customer_text(decision_of(value), archive.regime_of)
    assert text == (
        "We have not made your payment: our checks did not let it through. If you think that this is wrong, you"
        f" can ask a person to look at it again, and say why. {CONTACT}"
    )


@pytest.mark.parametrize(
    "other", [{"beneficiary_country": "KP"}, {"beneficiary_country": "ZZ"}, {"amount_minor": 6_000_000}]
)
@pytest.mark.parametrize("mendable", [{"reference": None}, {"beneficiary_name": None}])
def test_an_empty_field_tells_nothing_of_what_else_hit(archive, mendable, other):
    """Else whoever leaves a field empty learns from a text without it that something else stands against them."""
    paid = [payment(1, **mendable), payment(2, **mendable, **other)]
    texts = {customer_text(decision_of(value), archive.regime_of) for value in archive.values(paid, [CLOSED] * 2)}
    assert len(texts) == 1


@pytest.mark.parametrize("mode", [CLOSED, OPEN])
@pytest.mark.parametrize("reports", [NONE, 0, 1, 3])
def test_all_that_an_outcome_tells_is_the_outcome(archive, mode, reports):
    paid = [payment(n, amount_minor=n * 77_777) for n in range(1, 9)]
    values = archive.values(paid, [mode] * 8, ip_fraud_reports=reports)
    decisions = [decision_of(value) for value in values]
    texts = {(each.outcome, customer_text(each, archive.regime_of)) for each in decisions}
    assert len(texts) == len({each.outcome for each in decisions})
    assert not any(re.search(r"\d|fraud|model|rule", str(text).removesuffix(CONTACT)) for _, text in texts)


def test_without_the_policy_no_cause_is_named_and_the_contact_is_the_usual_one(archive):
    [value] = archive.values([payment(1, reference=None)], [CLOSED])
    text = customer_text(decision_of(value), lambda _key: Missing("it is gone"))
    assert FIELD not in str(text)
    assert str(text).endswith("Please reach us in the way that you usually do.")


def test_a_decision_in_words_that_this_release_does_not_know_has_no_text(archive):
    [value] = archive.values([payment(1)], [CLOSED])
    text = customer_text(decision_of(value)._replace(phrase_book_version="17"), archive.regime_of)
    assert isinstance(text, Missing)
    assert "'17'" in text.why


@pytest.mark.parametrize("stands", [None, Outcome.BLOCK, Outcome.ESCALATE])
def test_no_text_says_that_a_payment_is_not_made_whose_money_may_be_out(archive, stands):
    [value] = archive.values([payment(1, reference=None)], [CLOSED])
    text = customer_text(decision_of(value), archive.regime_of, stands, Money.MAY_BE_OUT)
    assert text.startswith("Your payment was made, or may have been, before our checks held it back. If you ")
    assert text.endswith(CONTACT)


def test_a_payment_that_is_made_and_stands_is_told_as_ever(archive):
    [value] = archive.values([payment(1)], [CLOSED])
    told = {
        customer_text(decision_of(value), archive.regime_of, money=money)
        for money in (Money.MAY_BE_OUT, Money.AS_DECIDED)
    }
    assert len(told) == 1


@pytest.mark.parametrize("stands", [None, *Outcome])
def test_a_payment_that_was_made_and_taken_back_is_never_told_as_one_that_was_not_made(archive, stands):
    [value] = archive.values([payment(1, reference=None)], [CLOSED])
    text = customer_text(decision_of(value), archive.regime_of, stands, Money.GIVEN_BACK)
    assert text.startswith("Your payment was made, or was being made, and has been taken back: its money is with you. ")
    assert text.endswith(CONTACT)


@pytest.mark.parametrize("stands", [None, *Outcome])
def test_nobody_is_said_to_look_at_a_payment_that_could_not_be_made(archive, stands):
    [value] = archive.values([payment(1)], [OPEN], ip_fraud_reports=1)
    decision = decision_of(value)
    assert decision.outcome is Outcome.ESCALATE
    text = customer_text(decision, archive.regime_of, stands, Money.NOT_MADE)
    says = "We have not made your payment:" if stands is Outcome.BLOCK else "Your payment has not been made, and"
    assert text.startswith(says)
    assert text.endswith(CONTACT)
