"""What a challenger would have answered, as a value. It is no decision, and nothing that decides reads it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId


class ShadowStanding(StrEnum):
    """Whether the two models were compared on a payment, and else why not; in the schema's order.

    Only COMPARED counts as agreement or disagreement. OTHER: what a reader of this release doesn't know.
    """

    OTHER = "OTHER"
    COMPARED = "COMPARED"
    SAME_MODEL = "SAME_MODEL"  # the challenger itself decided it: it would agree with itself
    GUARDRAIL = "GUARDRAIL"  # a hard guardrail decided it, whatever a model says
    FALLBACK = "FALLBACK"  # the champion was out of the loop, or failed
    VALUE_UNKNOWN = "VALUE_UNKNOWN"  # a value is UNKNOWN, so no model is asked
    REGIME_MISSING = "REGIME_MISSING"  # the decision's policy or a feed is not in the archive
    FAILED = "FAILED"  # the challenger raised, or answered nonsense


class ShadowAnswer(NamedTuple):
    """A value of `shadow.v1`; fields in the order of `schemas/shadow.v1.avsc`."""

    decision_id: DecisionId
    transaction_id: str
    account_id: str
    decision_partition: int
    decision_offset: int
    decided_at_ms: int  # the broker's time of the decision's record
    segments: str  # a line for each that the payment is in
    amount_gbp_minor: int  # -1 where it isn't known
    challenger_version: str
    challenger_hash: bytes
    champion_version: str
    standing: ShadowStanding
    champion_outcome: Outcome
    challenger_outcome: Outcome | None  # None but where the two were compared
    champion_probability_ppm: int  # -1 where no model answered
    challenger_probability_ppm: int  # -1 but where the two were compared
    champion_says: str | None  # None but where the two disagree
    challenger_says: str | None

    @property
    def is_disagreement(self) -> bool:
        return self.standing is ShadowStanding.COMPARED and self.challenger_outcome is not self.champion_outcome


class Band(NamedTuple):
    """Payments whose probability the challenger put from one bound to the next, and how many of them were fraud.

    probability_sum_ppm: of all of them.
    """

    from_ppm: int
    payments: int
    probability_sum_ppm: int
    frauds: int
