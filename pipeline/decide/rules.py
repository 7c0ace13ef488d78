"""Guardrails and fallback rules: the policy compiled into one ordered table of bounds on features.

Invariants
1. Rules are evaluated and reported in table order: static hard, stateful hard, soft, then the policy's fallback rules.
2. An UNKNOWN feature meets no bound, so a rule speaks only of what is known; what must not pass when unknown has a
   rule of its own (HARD_UNSUPPORTED_CURRENCY).
3. Static rules read EVENT columns only, so they can be evaluated before any state is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pipeline.decide.phrases import WORDS_REMEMBERED, compared, fact_of, join
from pipeline.decide.policy import FallbackRule, FeatureCondition, Policy
from pipeline.domain.decision import Outcome, Reason
from pipeline.domain.features import COLUMN, UNKNOWN, Matrix

_NO_UPPER: Final = np.iinfo(np.int64).max
CONFIDENCE_CODE: Final = "SOFT_CONFIDENCE_MINIMUM"


class Bound(NamedTuple):
    """low ≤ feature ≤ high."""

    feature: str
    low: int
    high: int = _NO_UPPER


class Told(NamedTuple):
    """One thing that is said of a payment."""

    fact: str  # without limits and what is typical, for the summary
    reason: Reason


class Rule:
    def __init__(self, code: str, outcome: Outcome, bounds: tuple[Bound, ...], limit: int | None) -> None:
        """All `bounds` must hold; the first is the one the reason compares. `limit` is what the rule allows of its
        feature; None for a yes or no."""
        self.code, self.outcome, self.bounds, self.limit = code, outcome, bounds, limit
        self._columns = [COLUMN[bound.feature] for bound in bounds]
        self._told: dict[tuple[int, ...], Told] = {}

    def told(self, row: Matrix) -> Told:
        """Of a row that meets the rule. Most say what many said before them."""
        observed = tuple([int(row[column]) for column in self._columns])
        told = self._told.get(observed)
        if told is None:
            told = self._tell(observed)
            if len(self._told) < WORDS_REMEMBERED:
                self._told[observed] = told
        return told

    def _tell(self, observed: tuple[int, ...]) -> Told:
        facts = [fact_of(bound.feature, number) for bound, number in zip(self.bounds, observed, strict=True)]
        fact, first = join(facts), observed[0]
        if self.limit is None:
            return Told(fact, Reason(self.code, fact, first, None, None, None))
        text = join([compared(self.bounds[0].feature, first, self.limit), *facts[1:]])
        return Told(fact, Reason(self.code, text, first, self.limit, first - self.limit, None))


class RuleTable:
    """Rules in order, and all their bounds side by side."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        bounds = [bound for rule in rules for bound in rule.bounds]
        counts = [len(rule.bounds) for rule in rules]
        self.rules = rules
        self.columns = np.array([COLUMN[bound.feature] for bound in bounds], dtype=np.intp)
        self.low = np.array([bound.low for bound in bounds], dtype=np.int64)
        self.high = np.array([bound.high for bound in bounds], dtype=np.int64)
        self.starts = np.array([sum(counts[:number]) for number in range(len(rules))], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """One policy's rules, in order."""

    static_hard: RuleTable
    hard: RuleTable  # static, then stateful
    soft: RuleTable
    fallback: RuleTable


def rule_book(policy: Policy) -> RuleBook:
    hard, soft = policy.hard, policy.soft
    single_minor, high_minor = hard.max_single_transaction_gbp_minor, hard.high_value_gbp_minor
    daily_minor = hard.max_daily_volume_per_account_gbp_minor
    age_days = hard.min_account_age_for_high_value_days
    velocity_percent = soft.velocity_multiplier_threshold_percent
    payee_minor = soft.new_payee_high_value_gbp_minor
    hours = soft.unusual_hours_local
    block, escalate = Outcome.BLOCK, Outcome.ESCALATE
    static_hard = (
        _over("HARD_MAX_SINGLE_TRANSACTION", block, "amount_gbp_minor", single_minor),
        _flag("HARD_SANCTIONED_COUNTRY", "is_beneficiary_country_sanctioned"),
        _flag("HARD_REFERENCE_MISSING", "is_reference_missing"),
        _flag("HARD_BENEFICIARY_NAME_MISSING", "is_beneficiary_name_missing"),
        Rule(
            "HARD_YOUNG_ACCOUNT_HIGH_VALUE",
            block,
            (Bound("account_age_days", 0, age_days - 1), Bound("amount_gbp_minor", high_minor)),
            age_days,
        ),
        Rule("HARD_UNSUPPORTED_CURRENCY", block, (Bound("amount_gbp_minor", UNKNOWN, UNKNOWN),), None),
    )
    stateful_hard = (_over("HARD_MAX_DAILY_VOLUME", block, "account_sum_minor_24h", daily_minor),)
    soft_rules = (
        _over("SOFT_VELOCITY", escalate, "account_volume_percent_of_normal_month", velocity_percent),
        Rule(
            "SOFT_NEW_PAYEE_HIGH_VALUE",
            escalate,
            (Bound("amount_gbp_minor", payee_minor), Bound("is_new_beneficiary", 1)),
            payee_minor - 1,
        ),
        Rule(
            "SOFT_UNUSUAL_HOURS",
            escalate,
            (
                Bound("local_minute_of_day", hours.from_minute, hours.to_minute - 1),
                Bound("amount_gbp_minor", soft.unusual_hours_minimum_gbp_minor),
            ),
            None,
        ),
    )
    return RuleBook(
        RuleTable(static_hard),
        RuleTable(static_hard + stateful_hard),
        RuleTable(soft_rules),
        RuleTable(tuple(_fallback(rule) for rule in policy.fallback.rules)),
    )


def hits_of(table: RuleTable, features: Matrix) -> dict[int, list[Rule]]:
    """Row → the rules it meets, in table order; rows that meet none are absent.

    `features` may hold just the EVENT columns for static rules.
    """
    hits: dict[int, list[Rule]] = {}
    if not table.rules:
        return hits
    observed = features[:, table.columns]
    holds = (observed >= table.low) & (observed <= table.high)
    met = np.logical_and.reduceat(holds, table.starts, axis=1)
    rows, numbers = np.nonzero(met)
    for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
        hits.setdefault(row, []).append(table.rules[number])
    return hits


def _over(code: str, outcome: Outcome, feature: str, limit: int) -> Rule:
    return Rule(code, outcome, (Bound(feature, limit + 1),), limit)


def _flag(code: str, feature: str) -> Rule:
    return Rule(code, Outcome.BLOCK, (Bound(feature, 1),), None)


def _fallback(rule: FallbackRule) -> Rule:
    first = rule.when[0]
    limit = first.at_least - 1 if first.at_least > 0 else None if first.at_most is None else first.at_most + 1
    return Rule(rule.code, rule.outcome, tuple(_bound(condition) for condition in rule.when), limit)


def _bound(condition: FeatureCondition) -> Bound:
    return Bound(condition.feature, condition.at_least, _NO_UPPER if condition.at_most is None else condition.at_most)
