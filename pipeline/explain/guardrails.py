"""Every rule of the policy that a decision was made under, against what was observed: also those that did not trigger,
with how far away they were.

The rules are the policy's own, as archived; nothing here knows one by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from models.artefact.scoring import PROBABILITY_PPM_MAX
from pipeline.decide.phrase_books.books import PhraseBook, book_or_current
from pipeline.decide.phrase_books.money import Money, foreign_money
from pipeline.decide.policy import PPM_A_BP
from pipeline.decide.policy_rules import NUMBER_MAX
from pipeline.decide.rules import RULE_COLUMN, Bound, Rule
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision, Route, Silence
from pipeline.domain.features import COLUMN, GREATEST, NEVER_UNKNOWN, NONE, UNKNOWN
from pipeline.replay.regimes import Missing, RegimeOf
from pipeline.replay.verify import policy_key

NOT_ASKED: Final = "the model was not asked"
_UNKNOWN_UNTOLD: Final = NEVER_UNKNOWN | {"account_age_days"}
"""A payment loses nothing that it says but an opening day: 0.1.0 didn't know that, and its words on a rule stand."""


class Tier(StrEnum):
    """The tiers of rules, in the order in which they are asked."""

    HARD = "HARD"
    SOFT = "SOFT"
    FALLBACK = "FALLBACK"


class RuleStanding(StrEnum):
    TRIGGERED = "TRIGGERED"  # and the decision names it
    MET = "MET"  # what it looks for is there, but something else had decided
    CLEAR = "CLEAR"
    NOT_ASKED = "NOT_ASKED"


class Condition(NamedTuple):
    """One thing that a rule looks for. `limit` is the number that `limit_text` names first, `distance` how far the
    observed value is from it, past it where it is met; both None for a yes or no, and distance where it is unknown."""

    feature: str
    fact: str
    observed: int
    limit: int | None
    is_met: bool
    distance: int | None
    limit_text: str
    distance_text: str


class Guardrail(NamedTuple):
    """All conditions must be met for it to trigger. `note` says why one that is met did not count, or wasn't asked."""

    code: str
    tier: Tier
    outcome: str
    standing: RuleStanding
    conditions: tuple[Condition, ...]
    note: str


def guardrails_of(decision: Decision, regime_of: RegimeOf) -> tuple[Guardrail, ...] | Missing:
    """The guardrails in the policy's order; Missing where the policy is not in the archive."""
    in_force = regime_of(policy_key(decision))
    if isinstance(in_force, Missing):
        return in_force
    return tuple(_guardrails(decision, in_force))


def silence_of(decision: Decision) -> str:
    """Why the model gave no answer about the payment, in words."""
    said = [reason.text for reason in decision.reasons if reason.code in (Silence.NOT_ASKED, Silence.FAILED)]
    return said[0] if said else NOT_ASKED


def _guardrails(decision: Decision, in_force: Regime) -> Iterator[Guardrail]:
    rules, block_ppm = in_force.rules, in_force.policy.model.block_probability_ppm
    for rule in rules.hard.rules:
        yield _guardrail(rule, Tier.HARD, decision)
    for rule in rules.soft.rules:
        yield _unsure(rule, decision, block_ppm) if rule.reads_confidence else _guardrail(rule, Tier.SOFT, decision)
    for rule in rules.fallback.rules:
        yield _guardrail(rule, Tier.FALLBACK, decision)


def _guardrail(rule: Rule, tier: Tier, decision: Decision) -> Guardrail:
    features, conditioned = decision.snapshot.features, _conditioned(decision)
    conditions = tuple(conditioned(bound, features[COLUMN[bound.feature]]) for bound in rule.bounds)
    is_met = all(condition.is_met for condition in conditions)
    standing, note = _standing(rule.code, tier, decision, is_met=is_met)
    return Guardrail(rule.code, tier, rule.outcome, standing, conditions, note)


def _unsure(rule: Rule, decision: Decision, block_ppm: int) -> Guardrail:
    """A soft guardrail that asks how sure a model is that would allow the payment."""
    ppm = decision.fraud_probability_ppm
    if ppm == NONE or ppm >= block_ppm:
        note = silence_of(decision) if ppm == NONE else "the model blocked; it is asked of an ALLOW only"
        return Guardrail(rule.code, Tier.SOFT, rule.outcome, RuleStanding.NOT_ASKED, (), note)
    confidence_bp = (PROBABILITY_PPM_MAX - ppm) // PPM_A_BP  # as pipeline.decide.verdict defines it
    values = (*decision.snapshot.features, confidence_bp)
    conditioned = _conditioned(decision)
    conditions = tuple(conditioned(bound, values[RULE_COLUMN[bound.feature]]) for bound in rule.bounds)
    is_met = all(condition.is_met for condition in conditions)
    if decision.route is Route.MODEL:
        standing, note = _standing(rule.code, Tier.SOFT, decision, is_met=is_met)
    else:
        standing = RuleStanding.MET if is_met else RuleStanding.CLEAR
        note = "the model answered in shadow only" if is_met else ""
    return Guardrail(rule.code, Tier.SOFT, rule.outcome, standing, conditions, note)


def _standing(code: str, tier: Tier, decision: Decision, *, is_met: bool) -> tuple[RuleStanding, str]:
    if code in decision.rules_triggered:
        return RuleStanding.TRIGGERED, ""
    if not is_met:
        return RuleStanding.CLEAR, ""
    return RuleStanding.MET, _why_met_is_not_enough(tier, decision)


def _why_met_is_not_enough(tier: Tier, decision: Decision) -> str:
    match tier, decision.route:
        case _, Route.GUARDRAIL:
            return "a hard guardrail had blocked the payment already"
        case Tier.FALLBACK, Route.MODEL:
            return "the fallback rules were not in force: the model answered"
        case Tier.SOFT, Route.MODEL:
            return "the model had blocked the payment already, and a soft guardrail never makes that milder"
        case _:
            return "the decision does not name it, which contradicts the policy: see whether it verifies"


def _conditioned(decision: Decision) -> Callable[[Bound, int], Condition]:
    """Conditions in the words of the decision's own phrase book."""
    book, own = book_or_current(decision.phrase_book_version), foreign_money(decision.snapshot.transaction)
    return lambda bound, observed: _condition(book, bound, observed, own)


def _condition(book: PhraseBook, bound: Bound, observed: int, own: Money | None) -> Condition:
    is_met = bound.is_met_by(observed)
    applies, edges = _applies(book, bound, observed)
    distance = _distance(edges, observed, is_met=is_met)
    return Condition(
        bound.feature,
        book.beside(bound.feature, observed, edges[0], own) if edges else book.fact(bound.feature, observed, own),
        observed,
        edges[0] if edges else None,
        is_met,
        distance,
        f"applies {applies}",
        _distance_text(book, bound.feature, observed, distance, edges, is_met=is_met),
    )


def _applies(book: PhraseBook, bound: Bound, observed: int) -> tuple[str, tuple[int, ...]]:
    """When it is met, in words, also by a missing value, and the values that these name; none for a yes or no."""
    known, edges = _applies_to_known(book, bound, max(observed, 0))
    has_known = bound.low <= bound.high
    parts = [known] if has_known else []
    if bound.holds_when_none:
        parts.append(f"where {book.fact(bound.feature, NONE)}")
    if bound.holds_when_unknown and (observed == UNKNOWN or bound.feature not in _UNKNOWN_UNTOLD):
        parts.append("if unknown" if parts else f"where {book.fact(bound.feature, UNKNOWN)}")
    return ", or ".join(parts), edges if has_known else ()


def _applies_to_known(book: PhraseBook, bound: Bound, beside: int) -> tuple[str, tuple[int, ...]]:
    feature, low, high = bound.feature, bound.low, bound.high
    has_upper = high < NUMBER_MAX
    if GREATEST.get(feature) == 1:
        return f"where {book.fact(feature, low)}", ()
    if has_upper and low > 0:
        return f"from {_amount(book, feature, low, beside)} to {_amount(book, feature, high, beside)}", (low, high)
    if has_upper:
        return _rounder(book, feature, beside, ("below", high + 1), ("up to", high))
    return _rounder(book, feature, beside, ("above", low - 1), ("from", low))


def _rounder(
    book: PhraseBook, feature: str, beside: int, exclusive: tuple[str, int], inclusive: tuple[str, int]
) -> tuple[str, tuple[int, ...]]:
    """Says "above 50,000.00" or "from 5,000.00", whichever is the number that the policy's author wrote."""
    word, limit = exclusive if exclusive[1] > 0 and exclusive[1] % 10 == 0 else inclusive
    return f"{word} {_amount(book, feature, limit, beside)}", (limit,)


def _distance(edges: tuple[int, ...], observed: int, *, is_met: bool) -> int | None:
    """To the nearest of the values that the limit names; 0 within a span."""
    if not edges or observed < 0:
        return None
    return 0 if is_met and len(edges) > 1 else min(abs(observed - edge) for edge in edges)


def _distance_text(
    book: PhraseBook, feature: str, observed: int, distance: int | None, edges: tuple[int, ...], *, is_met: bool
) -> str:
    if is_met:
        if observed == UNKNOWN:
            return "met, as what is unknown counts as the worst"
        return f"met, by {_span(book, feature, observed, distance, edges)}" if distance else "met"
    if observed < 0:
        return f"{'unknown' if observed == UNKNOWN else 'none'}, so it does not apply"
    return "not so" if distance is None else f"{_span(book, feature, observed, distance, edges)} away"


def _amount(book: PhraseBook, feature: str, value: int, beside: int) -> str:
    """In the unit that gives it and what it stands beside exactly."""
    return book.number(feature, value, beside) or f"{value:,}"


def _span(book: PhraseBook, feature: str, observed: int, distance: int, edges: tuple[int, ...]) -> str:
    nearest = min(edges, key=lambda edge: abs(observed - edge))
    return book.distance(feature, observed, nearest) or f"{distance:,}"


def guardrail_sentence(guardrail: Guardrail) -> str:
    """Conditions in words: what was observed, and how far from the limit."""
    return "; ".join(_condition_sentence(condition) for condition in guardrail.conditions) or guardrail.note


def _condition_sentence(condition: Condition) -> str:
    return f"{condition.fact} ({condition.limit_text}: {condition.distance_text})"
