"""The records of `decisions.v1`: decisions, and what people make of them later."""

from __future__ import annotations

from pipeline.domain.decision import Decision
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome

DecisionRecord = Decision | Reversal | ReviewOutcome
