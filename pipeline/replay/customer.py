"""The text of a decision for the customer: it follows from the decision, its policy and its phrase book."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from pipeline.decide.phrase_books.books import book_of
from pipeline.decide.phrase_books.v1.book import PhraseBook
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import COLUMN
from pipeline.replay.regimes import Missing, RegimeOf
from pipeline.replay.verify import policy_key


class Money(Enum):
    """Where a payment's money is, as far as what its customer is told hangs on it."""

    AS_DECIDED = auto()  # nothing is known of it that the outcome doesn't say
    MAY_BE_OUT = auto()  # so that no text may say that it is not
    NOT_MADE = auto()  # with the payer, for want of funds or of an account, or because the rail refused it
    GIVEN_BACK = auto()  # with the payer again, after it was out or may have been


def customer_text(
    decision: Decision, regime_of: RegimeOf, stands: Outcome | None = None, money: Money = Money.AS_DECIDED
) -> str | Missing:
    """`stands`: what people made of it since, which is told instead, without a cause. Without the policy of the
    decision it names no cause either, and the contact that the phrase book gives.
    """
    book = book_of(decision.phrase_book_version)
    if book is None:
        return Missing(f"this release has no phrase book {decision.phrase_book_version!r:.40}, which it is worded in")
    in_force, outcome = regime_of(policy_key(decision)), stands or decision.outcome
    customers = None if isinstance(in_force, Missing) else in_force.policy.customers
    contact = None if customers is None else customers.contact
    if money is Money.MAY_BE_OUT and outcome is not Outcome.ALLOW:
        return book.customer_paid(outcome, contact)
    if money is Money.GIVEN_BACK:
        return book.customer_given_back(contact)
    if money is Money.NOT_MADE and outcome is not Outcome.BLOCK:
        return book.customer_not_made(contact)
    if stands is not None or isinstance(in_force, Missing):
        return book.customer(outcome, (), contact)
    return book.customer(outcome, tuple(_mendable(decision, in_force, book)), contact)


def _mendable(decision: Decision, in_force: Regime, book: PhraseBook) -> Iterator[str]:
    """What the payer left out or can change, whatever else stopped it: silence would tell them that something did."""
    for rule in in_force.rules.hard.rules:
        if rule.code in decision.rules_triggered:
            for bound in rule.bounds:
                if book.is_mendable(bound.feature, decision.snapshot.features[COLUMN[bound.feature]]):
                    yield bound.feature
