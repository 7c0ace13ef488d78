"""The outcomes of many rows at once, without their words: as `pipeline.decide.verdict` decides, and held to it.

A search asks about a hundred thousand rows. What it finds is decided again by the verdict itself before it is shown.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Column, score
from pipeline.decide.policy import PPM_A_BP
from pipeline.decide.rules import RuleTable, met_by
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE, UNKNOWN, Matrix

Levels = NDArray[np.int8]


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
        return np.asarray(~(rows == UNKNOWN).any(axis=1))

    def hard(self, rows: Matrix) -> NDArray[np.bool_]:
        return _met(self.in_force.rules.hard, rows)

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
