"""Outcomes of reviews as values: what people decided on escalations."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, ReviewId


class ReviewOutcome(NamedTuple):
    """A person's decision on an escalation; fields in the order of `schemas/decision.v1.avsc`."""

    review_id: ReviewId
    decision_id: DecisionId
    transaction_id: str
    account_id: str
    reviewed_at_ms: int
    outcome: Outcome  # ALLOW or BLOCK
    reason: str
    reviewed_by: str
    second_reviewer: str | None  # None where one person was enough
