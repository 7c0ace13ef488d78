"""The outcomes of many rows at once, without their words: as `pipeline.decide.verdict` decides, and held to it.

A search asks about a hundred thousand rows. What it finds is decided again by the verdict itself before it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Column, Model, score
from pipeline.decide.policy import PPM_A_BP
from pipeline.decide.policy_rules import CONFIDENCE, greatest_of
from pipeline.decide.reasons.asking import read_by, silencing
from pipeline.decide.rules import RULE_COLUMN, Bound, Rule, RuleTable, met_by
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE, Matrix

Levels = NDArray[np.int8]
SCORE_MAX: Final = 2**62
"""Above every score."""


class Level(IntEnum):
    """How strict an outcome is."""

    ALLOW = 0
    ESCALATE = 1
    BLOCK = 2


LEVEL: Final = {outcome: Level[outcome.value] for outcome in Outcome}
OUTCOME: Final = {level: outcome for outcome, level in LEVEL.items()}


class Answers:
    """Outcomes under one regime, where the breaker lets the model answer or keeps it out."""

    def __init__(self, in_force: Regime, *, use_model: bool) -> None:
        """use_model: False too where the model failed on the payment, and is taken to fail on one like it."""
        self.in_force, self.model = in_force, in_force.model if use_model else None
        rules = in_force.rules
        self._without_confidence = np.array([not rule.reads_confidence for rule in rules.soft.rules], dtype=np.bool_)
        self._is_block = np.array([rule.outcome is Outcome.BLOCK for rule in rules.fallback.rules], dtype=np.bool_)

    def levels(self, rows: Matrix) -> Levels:
        """The strictness of each row's outcome."""
        levels = np.full(len(rows), Level.BLOCK, dtype=np.int8)
        free = np.flatnonzero(~self.hard(rows).any(axis=1))
        is_asked = self.are_asked(rows[free])
        asked, fallback = free[is_asked], free[~is_asked]
        if len(asked):
            levels[asked] = self._by_model(rows[asked])
        if len(fallback):
            levels[fallback] = self._by_fallback(rows[fallback])
        return levels

    def are_asked(self, rows: Matrix) -> NDArray[np.bool_]:
        """Whether the model answers about each row, where no hard guardrail does."""
        if self.model is None:
            return np.zeros(len(rows), dtype=np.bool_)
        return np.asarray(~silencing(rows, read_by(self.model)).any(axis=1))

    def hard(self, rows: Matrix) -> NDArray[np.bool_]:
        return _met(self.in_force.rules.hard, rows)

    def bounds(self) -> Iterator[tuple[str, int, int]]:
        """Feature, least and greatest value of each condition of each rule."""
        for table in _tables(self.in_force):
            for rule in table:
                yield from ((bound.feature, bound.low, bound.high) for bound in rule.bounds)

    def static_hard(self, rows: Matrix) -> NDArray[np.bool_]:
        """Whether each row meets each of the rules that need the payment alone."""
        return _met(self.in_force.rules.static_hard, rows)

    def soft(self, rows: Matrix, confidence_bp: Column) -> NDArray[np.bool_]:
        return _met(self.in_force.rules.soft, np.column_stack((rows, confidence_bp)))

    def soft_of_model(self, rows: Matrix) -> NDArray[np.bool_]:
        """Whether each row, which the model is asked about, meets each soft rule."""
        assert self.model is not None, "only rows that it is asked about come here"
        return self.soft(rows, self.confidence_bp(score(self.model, rows).fraud_probability_ppm))

    def fallback(self, rows: Matrix) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each row meets each soft rule that the fallback applies, and each fallback rule."""
        unasked = np.full(len(rows), NONE, dtype=np.int64)
        soft = self.soft(rows, unasked)[:, self._without_confidence]
        return soft, _met(self.in_force.rules.fallback, rows)

    def confidence_bp(self, probability_ppm: Column) -> Column:
        """How sure a model is that would allow; NONE where it would block."""
        is_fraud = probability_ppm >= self.in_force.policy.model.block_probability_ppm
        return np.where(is_fraud, NONE, (PROBABILITY_PPM_MAX - probability_ppm) // PPM_A_BP)

    def _by_model(self, rows: Matrix) -> Levels:
        assert self.model is not None, "only rows that it is asked about come here"
        confidence_bp = self.confidence_bp(score(self.model, rows).fraud_probability_ppm)
        is_soft = self.soft(rows, confidence_bp).any(axis=1)
        allowed = np.where(is_soft, Level.ESCALATE, Level.ALLOW)
        return np.where(confidence_bp == NONE, Level.BLOCK, allowed).astype(np.int8)

    def _by_fallback(self, rows: Matrix) -> Levels:
        soft, fallback = self.fallback(rows)
        is_block = fallback[:, self._is_block].any(axis=1)
        is_escalate = soft.any(axis=1) | fallback.any(axis=1)
        return np.where(is_block, Level.BLOCK, np.where(is_escalate, Level.ESCALATE, Level.ALLOW)).astype(np.int8)


def _met(table: RuleTable, rows: Matrix) -> NDArray[np.bool_]:
    return met_by(table, rows) if table.rules and len(rows) else np.zeros((len(rows), len(table.rules)), dtype=np.bool_)


class Start(NamedTuple):
    """The decision that a search starts from.

    is_turned: whether rows, all of them possible, have another outcome. level: of the decision.
    """

    row: Matrix  # (len(FEATURES),)
    level: Level
    is_turned: Callable[[Matrix], NDArray[np.bool_]]
    obstacles: tuple[Rule, ...]  # each must cease to apply, unless the model comes to answer instead of the rules
    score_max: int  # a score above leaves the outcome as it is; SCORE_MAX where the model isn't asked


def start_of(row: Matrix, level: Level, answers: Answers) -> Start:
    """The start from a decision that had everything looked up."""
    rows = row[np.newaxis]
    is_hard = answers.hard(rows)[0]
    obstacles = [rule for rule, is_met in zip(answers.in_force.rules.hard.rules, is_hard, strict=True) if is_met]
    is_asked = bool(answers.are_asked(rows)[0])
    if not obstacles and not is_asked:
        obstacles = _of_fallback(rows, level, answers)
    elif not obstacles and level is Level.ESCALATE:
        obstacles = _of_model(rows, answers)
    score_max = _score_max(answers, obstacles) if is_asked else SCORE_MAX
    certain = tuple(rule for rule in obstacles if not rule.reads_confidence)

    def is_turned(others: Matrix) -> NDArray[np.bool_]:
        return np.asarray(answers.levels(others) < level)

    return Start(row, level, is_turned, certain, score_max)


def start_of_unseen(row: Matrix, answers: Answers) -> Start:
    """The start from a payment that was blocked before anything was looked up: the block is to be lifted."""
    is_met = answers.static_hard(row[np.newaxis])[0]
    obstacles = tuple(rule for rule, met in zip(answers.in_force.rules.static_hard.rules, is_met, strict=True) if met)

    def is_turned(others: Matrix) -> NDArray[np.bool_]:
        return np.asarray(~answers.static_hard(others).any(axis=1))

    return Start(row, Level.BLOCK, is_turned, obstacles, SCORE_MAX)


def _of_fallback(rows: Matrix, level: Level, answers: Answers) -> list[Rule]:
    soft_met, fallback_met = answers.fallback(rows)
    rules = answers.in_force.rules
    soft = [rule for rule in rules.soft.rules if not rule.reads_confidence]
    met = [rule for rule, is_met in zip(soft, soft_met[0], strict=True) if is_met]
    met += [rule for rule, is_met in zip(rules.fallback.rules, fallback_met[0], strict=True) if is_met]
    return [rule for rule in met if level is Level.ESCALATE or rule.outcome == "BLOCK"]


def _of_model(rows: Matrix, answers: Answers) -> list[Rule]:
    met = answers.soft_of_model(rows)[0]
    return [rule for rule, is_met in zip(answers.in_force.rules.soft.rules, met, strict=True) if is_met]


def _score_max(answers: Answers, obstacles: Sequence[Rule]) -> int:
    """The greatest score with which a decision of the model may be less strict."""
    assert answers.model is not None, "it is asked"
    ppm = answers.in_force.policy.model.block_probability_ppm - 1
    for rule in obstacles:
        [bound, *others] = rule.bounds
        if bound.feature == CONFIDENCE and not others and bound.low == 0:
            ppm = min(ppm, PROBABILITY_PPM_MAX - (bound.high + 1) * PPM_A_BP)
    return _greatest_score(answers.model, ppm)


def _greatest_score(model: Model, ppm: int) -> int:
    """The greatest score of which the probability is at most `ppm`; below all where there is none."""
    edges, probabilities = model.calibration
    steps = int(probabilities.searchsorted(ppm, side="right"))
    if steps == 0:
        return -SCORE_MAX
    return SCORE_MAX if steps > len(edges) else int(edges[steps - 1]) - 1


class Shortfall(NamedTuple):
    """One condition of a rule that applied: the nearest value at which it would not have been met.

    `needed` and `difference`, how far the value is from it, are None where no known value is free of it, or where the
    observed value is itself missing.
    """

    rule: str
    feature: str
    observed: int
    needed: int | None
    difference: int | None


def shortfalls_of(in_force: Regime, codes: Sequence[str], values: Sequence[int]) -> Iterator[Shortfall]:
    """Each condition of the rules; `values` are the features and the confidence behind them."""
    rules = {rule.code: rule for table in _tables(in_force) for rule in table}
    for rule in [rules[code] for code in codes]:
        yield from _shortfalls(rule, values)


def _tables(in_force: Regime) -> tuple[tuple[Rule, ...], ...]:
    rules = in_force.rules
    return rules.hard.rules, rules.soft.rules, rules.fallback.rules


def _shortfalls(rule: Rule, values: Sequence[int]) -> Iterator[Shortfall]:
    for bound in rule.bounds:
        observed = values[RULE_COLUMN[bound.feature]]
        needed = _nearest_outside(bound, observed)
        difference = None if needed is None or observed < 0 else abs(observed - needed)
        yield Shortfall(rule.code, bound.feature, observed, needed, difference)


def _nearest_outside(bound: Bound, observed: int) -> int | None:
    """The known value nearest to the observed one that does not meet the condition; None where all known ones do."""
    greatest = greatest_of(bound.feature)
    outside = [value for value in (bound.low - 1, bound.high + 1) if 0 <= value <= greatest and bound.low <= bound.high]
    return min(outside, key=lambda value: abs(value - max(observed, 0)), default=None)
