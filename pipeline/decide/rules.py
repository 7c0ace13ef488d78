"""Guardrails and fallback rules: a policy's rules compiled into tables of bounds on features.

Invariants
1. Rules are evaluated and reported in this order: static hard, stateful hard, soft, fallback; within each, the file's.
2. A hard rule is static where it reads EVENT columns alone; it can be evaluated before any state is looked up.
3. NONE and UNKNOWN each meet a condition if the policy says so of it, and no bound whatever it is.
4. Nothing here knows a rule by its name, so the rules of any policy that was ever in force can be evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.phrases import PHRASES, WORDS_REMEMBERED, compared, fact_of, join, short_fact_of
from pipeline.decide.policy import Policy
from pipeline.decide.policy_rules import CONFIDENCE, Condition, PolicyRule
from pipeline.domain.decision import Outcome, Reason
from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, UNKNOWN, Matrix

RULE_COLUMN: Final = {**COLUMN, CONFIDENCE: len(FEATURES)}
"""The columns of a row that rules are asked of: the features, and for soft rules the model's confidence behind them."""


class Bound(NamedTuple):
    """Holds where low ≤ feature ≤ high; for no known value where low is above high."""

    feature: str
    low: int
    high: int
    holds_when_none: bool
    holds_when_unknown: bool

    def is_met_by(self, observed: int) -> bool:
        if observed == NONE:
            return self.holds_when_none
        return self.holds_when_unknown if observed == UNKNOWN else self.low <= observed <= self.high


class Statement(NamedTuple):
    """One thing that is said of a payment."""

    facts: tuple[str, ...]  # without limits and what is typical, for the summary, which says each once
    reason: Reason


class Rule:
    def __init__(self, code: str, outcome: Outcome, bounds: tuple[Bound, ...], limit: int | None) -> None:
        """All `bounds` must hold; the first is the one the reason compares. `limit` is what the rule allows of its
        feature; None for a yes or no."""
        self.code, self.outcome, self.bounds, self.limit = code, outcome, bounds, limit
        self.reads_confidence = any(bound.feature == CONFIDENCE for bound in bounds)
        self._columns = [RULE_COLUMN[bound.feature] for bound in bounds]
        self._statements: dict[tuple[int, ...], Statement] = {}

    def statement(self, row: Matrix) -> Statement:
        """The statement about a row that meets the rule. Most say what many said before them."""
        observed = tuple([int(row[column]) for column in self._columns])
        statement = self._statements.get(observed)
        if statement is None:
            statement = self._stated(observed)
            if len(self._statements) < WORDS_REMEMBERED:
                self._statements[observed] = statement
        return statement

    def _stated(self, observed: tuple[int, ...]) -> Statement:
        first, feature, limit = observed[0], self.bounds[0].feature, self.limit
        others = [fact_of(bound.feature, number) for bound, number in zip(self.bounds, observed, strict=True)]
        del others[0]
        if limit is None:
            facts = [fact_of(feature, first), *others]
            return Statement(tuple(facts), Reason(self.code, join(facts), first, None, None, None))
        fact = short_fact_of(feature, first) if 0 <= first < limit else fact_of(feature, first)
        text = join([compared(feature, fact, first, limit), *others])
        excess = None if first < 0 else first - limit
        return Statement((fact, *others), Reason(self.code, text, first, limit, excess, None))


class RuleTable:
    """Rules in order, and all their bounds side by side."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        bounds = [bound for rule in rules for bound in rule.bounds]
        counts = [len(rule.bounds) for rule in rules]
        self.rules = tuple(rules)
        self.columns = np.array([RULE_COLUMN[bound.feature] for bound in bounds], dtype=np.intp)
        self.low = np.array([bound.low for bound in bounds], dtype=np.int64)
        self.high = np.array([bound.high for bound in bounds], dtype=np.int64)
        self.met_when_none = np.flatnonzero([bound.holds_when_none for bound in bounds])
        self.met_when_unknown = np.flatnonzero([bound.holds_when_unknown for bound in bounds])
        self.starts = np.array([sum(counts[:number]) for number in range(len(rules))], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """One policy's rules, in order."""

    static_hard: RuleTable
    hard: RuleTable  # static, then stateful
    soft: RuleTable
    fallback: RuleTable


def rule_book(policy: Policy) -> RuleBook:
    hard = [_compiled(rule) for rule in policy.hard.rules]
    static = [rule for rule in hard if _is_static(rule)]
    stateful = [rule for rule in hard if not _is_static(rule)]
    return RuleBook(
        RuleTable(static),
        RuleTable(static + stateful),
        RuleTable([_compiled(rule) for rule in policy.soft.rules]),
        RuleTable([_compiled(rule) for rule in policy.fallback.rules]),
    )


def hits_of(table: RuleTable, rows: Matrix) -> dict[int, list[Rule]]:
    """Row → the rules it meets, in table order; rows that meet none are absent.

    `rows` are features; EVENT columns are enough for static rules, and soft rules need the model's confidence behind.
    """
    hits: dict[int, list[Rule]] = {}
    if not table.rules:
        return hits
    met = met_by(table, rows)
    row_numbers, rule_numbers = np.nonzero(met)
    for row, number in zip(row_numbers.tolist(), rule_numbers.tolist(), strict=True):
        hits.setdefault(row, []).append(table.rules[number])
    return hits


def met_by(table: RuleTable, rows: Matrix) -> NDArray[np.bool_]:
    """Whether each row meets each rule, (rows, rules); the table has rules. `rows` are as in `hits_of`."""
    observed = rows[:, table.columns]
    holds = (observed >= table.low) & (observed <= table.high)
    if table.met_when_none.size:
        holds[:, table.met_when_none] |= observed[:, table.met_when_none] == NONE
    if table.met_when_unknown.size and (observed == UNKNOWN).any():  # seldom, and nearly all conditions are among them
        holds[:, table.met_when_unknown] |= observed[:, table.met_when_unknown] == UNKNOWN
    return np.logical_and.reduceat(holds, table.starts, axis=1)


def _is_static(rule: Rule) -> bool:
    return all(bound.feature in EVENT for bound in rule.bounds)


def _compiled(rule: PolicyRule) -> Rule:
    return Rule(rule.code, rule.outcome, tuple(_bound(condition) for condition in rule.when), _limit(rule.when[0]))


def _bound(condition: Condition) -> Bound:
    none, unknown = condition.holds_when_none, condition.holds_when_unknown
    return Bound(condition.feature, condition.low, condition.high, none, unknown)


def _limit(condition: Condition) -> int | None:
    """The limit that the condition sets: the last value below it, or the first above it if it holds from 0 on."""
    if PHRASES[condition.feature].amount is None or not condition.has_bounds:
        return None
    return condition.low - 1 if condition.low > 0 else condition.high + 1
