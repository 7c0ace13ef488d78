"""How sure the model is, against what the policy demands: the first reason of its ALLOW, and the last of its BLOCK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from models.artefact.scoring import PROBABILITY_PPM_MAX
from pipeline.decide.phrase_books.books import PhraseBook
from pipeline.decide.policy import PPM_A_BP, Policy
from pipeline.decide.policy_rules import CONFIDENCE, NUMBER_MAX, Condition
from pipeline.domain.decision import Reason
from pipeline.domain.features import COLUMN, NONE, UNKNOWN, Matrix

SURE_HONEST: Final = "MODEL_SURE_HONEST"
SURE_FRAUD: Final = "MODEL_SURE_FRAUD"


class _Demand(NamedTuple):
    """The least confidence that a soft guardrail demands of payments that meet its other conditions."""

    required_bp: int
    others: tuple[Condition, ...]


class Sureness:
    def __init__(self, policy: Policy, book: PhraseBook) -> None:
        self._book = book
        self._block_bp = policy.model.block_probability_ppm // PPM_A_BP
        least_bp = (PROBABILITY_PPM_MAX - (policy.model.block_probability_ppm - 1)) // PPM_A_BP
        demands = list(_demands(policy))
        self._always_bp = max([least_bp, *(each.required_bp for each in demands if not each.others)])
        self._sometimes = [each for each in demands if each.others and each.required_bp > self._always_bp]
        self._honest: dict[int, Reason] = {}
        self._fraud: dict[int, Reason] = {}

    def honest(self, confidence_bp: int, features: Matrix, row: int) -> Reason:
        """Of a payment that the model allows."""
        required_bp = self._always_bp
        for demand in self._sometimes:
            if all([_holds(condition, int(features[row, COLUMN[condition.feature]])) for condition in demand.others]):
                required_bp = max(required_bp, demand.required_bp)
        key = required_bp << 16 | confidence_bp  # a tuple would cost as much again as the look-up
        reason = self._honest.get(key)
        if reason is None:
            text = self._book.sure_honest(confidence_bp, required_bp)
            reason = Reason(SURE_HONEST, text, confidence_bp, required_bp, confidence_bp - required_bp, None)
            self._honest[key] = reason
        return reason

    def fraud(self, confidence_bp: int) -> Reason:
        """Of a payment that the model blocks."""
        reason = self._fraud.get(confidence_bp)
        if reason is None:
            text = self._book.sure_fraud(confidence_bp, self._block_bp)
            reason = Reason(SURE_FRAUD, text, confidence_bp, self._block_bp, confidence_bp - self._block_bp, None)
            self._fraud[confidence_bp] = reason
        return reason


def _demands(policy: Policy) -> Sequence[_Demand]:
    """Rules that hold of low confidence only; one that escalates those who are too sure demands nothing."""
    demands: list[_Demand] = []
    for rule in policy.soft.rules:
        for condition in rule.when:
            if condition.feature == CONFIDENCE and condition.low == 0 and condition.high < NUMBER_MAX:
                others = tuple(other for other in rule.when if other.feature != CONFIDENCE)
                demands.append(_Demand(condition.high + 1, others))
    return demands


def _holds(condition: Condition, observed: int) -> bool:
    if observed == NONE:
        return condition.holds_when_none
    return condition.holds_when_unknown if observed == UNKNOWN else condition.low <= observed <= condition.high
