"""Reversals as values: the records of `decisions.v1` that take decisions back."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.enums import FastStrEnum
from pipeline.domain.identities import DecisionId, ReversalId


class RecordKind(FastStrEnum):
    """Kinds of records of `decisions.v1`, in the schema's order. OTHER: of a later schema, or not said."""

    OTHER = "OTHER"
    DECISION = "DECISION"
    REVIEW = "REVIEW"
    REVERSAL = "REVERSAL"


class RecordName(NamedTuple):
    """The record of `decisions.v1` with this id of its kind."""

    kind: RecordKind
    record_id: str


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
    replaces_kind: RecordKind
    replaces_id: str
    plan_digest: str  # SHA-256 of the plan's canonical bytes, in hexadecimal

    @property
    def replaces(self) -> RecordName:
        """The record that was in force when this was planned: where another is, this changes nothing."""
        return RecordName(self.replaces_kind, self.replaces_id)

    @property
    def name(self) -> RecordName:
        return RecordName(RecordKind.REVERSAL, self.reversal_id)
