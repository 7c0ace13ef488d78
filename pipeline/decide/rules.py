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

from pipeline.decide.phrase_books.books import CURRENT, PhraseBook
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.policy import Policy
from pipeline.decide.policy_rules import AMOUNT, CONFIDENCE, Condition, PolicyRule
from pipeline.decide.reasons.families import FAMILY, is_measured
from pipeline.decide.reasons.nearest import Distances, Edge
from pipeline.decide.reasons.terms import WORDS_REMEMBERED
from pipeline.domain.decision import Outcome, Reason
from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, UNKNOWN, Matrix

RULE_COLUMN: Final = {**COLUMN, CONFIDENCE: len(FEATURES)}
"""The columns of a row that rules are asked of: the features, and for soft rules the model's confidence behind them."""
NEAREST: Final = "NEAREST_"
"""Stands before the code of the rule that came nearest to applying, in the reason of an ALLOW that names it."""


class Bound(NamedTuple):
    """Holds where low ≤ feature ≤ high; for no known value where low is above high."""

    feature: str
    low: int
    high: int
    holds_when_none: bool
    holds_when_unknown: bool

    @property
    def limit(self) -> int | None:
        """The last value below it, or the first above it if it holds from 0 on; None where there is none to compare."""
        if self.low > self.high or not is_measured(self.feature):
            return None
        return self.low - 1 if self.low > 0 else self.high + 1

    def is_met_by(self, observed: int) -> bool:
        if observed == NONE:
            return self.holds_when_none
        return self.holds_when_unknown if observed == UNKNOWN else self.low <= observed <= self.high


class Statement(NamedTuple):
    """One thing that is said of a payment, and the families of facts that it tells."""

    facts: tuple[str, ...]  # without most limits, for the summary
    reason: Reason
    told: int


class Rule:
    def __init__(
        self, code: str, outcome: Outcome, bounds: tuple[Bound, ...], book: PhraseBook, *, is_fallback: bool = False
    ) -> None:
        """All `bounds` must hold; the first is the one the reason compares with its limit."""
        self.code, self.outcome, self.bounds = code, outcome, bounds
        self.limit = bounds[0].limit
        self.reads_confidence = any(bound.feature == CONFIDENCE for bound in bounds)
        self._book, self._is_fallback = book, is_fallback
        self.columns = [RULE_COLUMN[bound.feature] for bound in bounds]
        self._families = [FAMILY[bound.feature] for bound in bounds]
        self._names_amount = any(bound.feature == AMOUNT for bound in bounds)
        self._mask = 0
        for family in self._families:
            self._mask |= family
        self._statements: dict[tuple[int, ...], Statement] = {}
        self._clear: list[dict[int, Statement]] = [{} for _ in bounds]

    def tell(self, row: Matrix, own: Money | None, told: int, facts: list[str], reasons: list[Reason]) -> int:
        """Adds what the rule, which the row meets, says of it beside what is `told`; the families told by then.

        Most say what many said before them. `own`: the payment's amount where its currency isn't the pound.
        """
        mask = told & self._mask
        if mask == self._mask:
            return told
        key = (mask, *[int(row[column]) for column in self.columns])
        if own is not None and self._names_amount:
            statement = self._stated(key, own)
        else:
            known = self._statements.get(key)
            statement = self._stated(key, None) if known is None else known
            if known is None and len(self._statements) < WORDS_REMEMBERED:
                self._statements[key] = statement
        facts.extend(statement.facts)
        reasons.append(statement.reason)
        return told | statement.told

    def clear(self, condition: int, observed: int, own: Money | None) -> Statement:
        """The statement about a row that does not meet the rule, because of this condition."""
        known = self._clear[condition]
        foreign = own if own is not None and self.bounds[condition].feature == AMOUNT else None
        statement = known.get(observed) if foreign is None else None
        if statement is None:
            bound = self.bounds[condition]
            text = self._book.clear(bound.feature, observed, bound.low, bound.high, foreign)
            said = self._book.nearest(text, is_fallback=self._is_fallback)
            reason = _compared(f"{NEAREST}{self.code}", said, observed, bound.limit)
            statement = Statement((said,), reason, FAMILY[bound.feature])
            if foreign is None and len(known) < WORDS_REMEMBERED:
                known[observed] = statement
        return statement

    def _stated(self, key: tuple[int, ...], own: Money | None) -> Statement:
        """`key` are the families told already, then the values observed."""
        mask, book = key[0], self._book
        facts: list[str] = []
        texts: list[str] = []
        told = observed = 0
        limit: int | None = None
        for place, bound in enumerate(self.bounds):
            family, number = self._families[place], key[place + 1]
            if family & (mask | told):
                continue
            facts.append(book.brief(bound.feature, number, bound.low, bound.high, own))
            if not texts:
                observed, limit = number, bound.limit
                texts.append(book.over(bound.feature, number, bound.low, bound.high, own))
            else:
                texts.append(book.met(bound.feature, number, bound.low, bound.high, own))
            told |= family
        return Statement(tuple(facts), _compared(self.code, book.join(texts), observed, limit), told)


def _compared(code: str, text: str, observed: int, limit: int | None) -> Reason:
    excess = None if limit is None or observed < 0 else observed - limit
    return Reason(code, text, observed, limit, excess, None)


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
    far_from_guardrails: Distances
    far_from_fallback: Distances
    guardrails: RuleTable  # hard and soft, without those that ask for the model's confidence


def rule_book(policy: Policy, book: PhraseBook = CURRENT) -> RuleBook:
    """`book` words what the rules say."""
    hard, soft = _table(policy.hard.rules, book), _table(policy.soft.rules, book)
    static = [rule for rule in hard.rules if _is_static(rule)]
    stateful = [rule for rule in hard.rules if not _is_static(rule)]
    hard = RuleTable(static + stateful)
    fallback = _table(policy.fallback.rules, book, is_fallback=True)
    guardrails = RuleTable([*hard.rules, *(rule for rule in soft.rules if not rule.reads_confidence)])
    return RuleBook(RuleTable(static), hard, soft, fallback, _distances(guardrails), _distances(fallback), guardrails)


def _distances(table: RuleTable) -> Distances:
    return Distances([(place, [_edge(bound) for bound in rule.bounds]) for place, rule in enumerate(table.rules)])


def _edge(bound: Bound) -> Edge:
    feature, low, high, when_none, when_unknown = bound
    return Edge(feature, COLUMN[feature], low, high, when_none, when_unknown)


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


def _table(rules: Sequence[PolicyRule], book: PhraseBook, *, is_fallback: bool = False) -> RuleTable:
    return RuleTable(
        [Rule(rule.code, rule.outcome, tuple(map(_bound, rule.when)), book, is_fallback=is_fallback) for rule in rules]
    )


def _bound(condition: Condition) -> Bound:
    none, unknown = condition.holds_when_none, condition.holds_when_unknown
    return Bound(condition.feature, condition.low, condition.high, none, unknown)
