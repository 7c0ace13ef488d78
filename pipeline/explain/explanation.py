"""`fraud explain`: one decision in full, for the person who has to answer for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.artefact.scoring import Model, score
from pipeline.decide.phrase_books.books import PhraseBook, book_or_current
from pipeline.decide.phrase_books.money import Money, foreign_money
from pipeline.decide.phrases import percent_of_bp
from pipeline.domain.decision import BreakerState, Decision, Route, StoredDecision, drill_in, unmarked_scope
from pipeline.domain.features import ACCOUNT_STATE, COLUMN, DERIVED, EVENT, NONE, SHARED_STATE
from pipeline.explain.counterfactual.counterfactual import Otherwise, otherwise_of
from pipeline.explain.guardrails import NOT_ASKED, Guardrail, guardrails_of, silence_of
from pipeline.replay.feature_lists import unheld_features
from pipeline.replay.regimes import FeedsFault, Missing, RegimeOf, feeds_unasked
from pipeline.replay.verify import Check, Result, regime_key, verify


class TermShare(NamedTuple):
    """The addend of one term of the model to the log-odds."""

    features: tuple[str, ...]
    fact: str
    contribution_micro: int


class ModelAccount(NamedTuple):
    """The score, term by term; `shares` by size, largest first."""

    intercept_micro: int
    shares: tuple[TermShare, ...]
    score_micro: int  # the intercept and all shares
    is_recorded_score: bool


class FeatureFact(NamedTuple):
    group: str
    name: str
    value: int
    fact: str


class Explanation(NamedTuple):
    decision: Decision
    partition: int
    offset: int
    features: tuple[FeatureFact, ...]
    model: ModelAccount | Missing
    why_route: str
    check: Check
    guardrails: tuple[Guardrail, ...] | Missing
    otherwise: Otherwise | Missing


_GROUPS = (
    ("the payment", EVENT),
    ("the account", ACCOUNT_STATE),
    ("the beneficiary, address and device", SHARED_STATE),
    ("in proportion", DERIVED),
)


def explanation(
    stored: StoredDecision,
    partition: int,
    offset: int,
    regime_of: RegimeOf,
    feeds_fault: FeedsFault = feeds_unasked,
) -> Explanation:
    """Everything that can be said of a decision, the model's part computed again from the archived model."""
    decision = stored.decision
    features, own = decision.snapshot.features, foreign_money(decision.snapshot.transaction)
    book, unheld = book_or_current(decision.phrase_book_version), unheld_features(stored.release)
    facts = tuple(
        FeatureFact(group, name, features[COLUMN[name]], book.fact(name, features[COLUMN[name]], own))
        for group, names in _GROUPS
        for name in names
        if name not in unheld
    )
    [check] = verify([stored], regime_of, feeds_fault)
    model, guardrails = _model_account(decision, regime_of), guardrails_of(decision, regime_of)
    otherwise = _otherwise(stored, check, regime_of)
    return Explanation(decision, partition, offset, facts, model, _why_route(decision), check, guardrails, otherwise)


def _otherwise(stored: StoredDecision, check: Check, regime_of: RegimeOf) -> Otherwise | Missing:
    """Return what would have had to be otherwise, of a decision that follows from what it says; of no other it is
    known."""
    if check.result is Result.DIFFERS:
        return Missing(f"decided again it DIFFERS in {', '.join(check.differing)}, so it isn't known what made it so")
    return otherwise_of(stored.decision, regime_of, stored.release)


def _model_account(decision: Decision, regime_of: RegimeOf) -> ModelAccount | Missing:
    if decision.fraud_probability_ppm == NONE:
        return Missing(silence_of(decision))
    in_force = regime_of(regime_key(decision))
    if isinstance(in_force, Missing):
        return in_force
    assert in_force.model is not None, "a model answered, so the decision names one"
    return _account_of(in_force.model, decision)


def _account_of(model: Model, decision: Decision) -> ModelAccount:
    features, own = decision.snapshot.features, foreign_money(decision.snapshot.transaction)
    book = book_or_current(decision.phrase_book_version)
    scores = score(model, np.array([features], dtype=np.int64))
    shares = [
        TermShare(term.features, _term_fact(book, term.features, features, own), micro)
        for term, micro in zip(model.terms, scores.contribution_micro[0].tolist(), strict=True)
    ]
    total = model.intercept_micro + sum(share.contribution_micro for share in shares)
    largest_first = tuple(sorted(shares, key=lambda share: -abs(share.contribution_micro)))
    return ModelAccount(model.intercept_micro, largest_first, total, total == decision.score_micro)


def _term_fact(book: PhraseBook, names: tuple[str, ...], features: Sequence[int], own: Money | None) -> str:
    return book.join([book.fact(name, features[COLUMN[name]], own) for name in names])


def _why_route(decision: Decision) -> str:
    state = decision.breaker_state
    breaker = f"the circuit breaker for {unmarked_scope(decision.breaker_scope)} was {state}"
    if (drill := drill_in(decision.breaker_scope)) is not None:
        breaker += f", by the drill {drill} that two people consented to"
    match decision.route:
        case Route.GUARDRAIL:
            return "A hard guardrail applied, so the payment was blocked and the model was not asked."
        case Route.MODEL if state is BreakerState.HALF_OPEN:
            return f"The model decided: {breaker}, and this payment was in the sample that tries the model again."
        case Route.MODEL:
            return f"The model decided: {breaker}."
        case Route.FALLBACK:
            shadow = decision.fraud_probability_ppm
            if (said := silence_of(decision)) != NOT_ASKED:
                return f"The fallback rules decided: {said}; {breaker}."
            asked = "" if shadow == NONE else f" The model, in shadow, put fraud at {percent_of_bp(shadow // 100)}."
            return f"The fallback rules decided: {breaker}.{asked}"
