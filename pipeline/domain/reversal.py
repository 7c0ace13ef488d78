"""Reversals as values: the records of `decisions.v1` that take decisions back."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, ReversalId


class Reversal(NamedTuple):
    """Takes a decision back, which itself stays (I5); fields in the order of `schemas/decision.v1.avsc`."""

    reversal_id: ReversalId
    decision_id: DecisionId
    transaction_id: str
    account_id: str
    plan_id: str
    reversed_at_ms: int
    reversed_outcome: Outcome
    corrected_outcome: Outcome | None  # None: the payment was given back, to be decided anew
    reason: str
    requested_by: str
    approved_by: str
