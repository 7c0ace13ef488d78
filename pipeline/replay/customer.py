"""The text of a decision for the customer: it follows from the decision, its policy and its phrase book."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.decide.phrase_books.books import book_of
from pipeline.decide.phrase_books.v1.book import PhraseBook
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import COLUMN
from pipeline.replay.regimes import Missing, RegimeOf
from pipeline.replay.verify import policy_key


def customer_text(decision: Decision, regime_of: RegimeOf, stands: Outcome | None = None) -> str | Missing:
    """`stands`: what people made of it since, which is told instead, without a cause. Without the policy of the
    decision it names no cause either, and the contact that the phrase book gives."""
    book = book_of(decision.phrase_book_version)
    if book is None:
        return Missing(f"this release has no phrase book {decision.phrase_book_version!r:.40}, which it is worded in")
    in_force = regime_of(policy_key(decision))
    if isinstance(in_force, Missing):
        return book.customer(stands or decision.outcome, (), None)
    customers = in_force.policy.customers
    mendable = () if stands is not None else tuple(_mendable(decision, in_force, book))
    return book.customer(stands or decision.outcome, mendable, None if customers is None else customers.contact)


def _mendable(decision: Decision, in_force: Regime, book: PhraseBook) -> Iterator[str]:
    """What the payer left out or can change, whatever else stopped it: silence would tell them that something did."""
    for rule in in_force.rules.hard.rules:
        if rule.code in decision.rules_triggered:
            for bound in rule.bounds:
                if book.is_mendable(bound.feature, decision.snapshot.features[COLUMN[bound.feature]]):
                    yield bound.feature
