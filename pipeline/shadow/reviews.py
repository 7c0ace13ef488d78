"""What people say of a disagreement between champion and challenger, as they sign it, and how disagreements are sorted.

Invariants
1. A review names the challenger by its digest, the decision, both outcomes as the person saw them, and the verdict: it
   says nothing about another challenger, nor about other outcomes.
2. A payment whose value isn't known counts as of the highest value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import REVIEWERS

BANDS_GBP_MINOR: Final = (10_000, 100_000, 1_000_000)
"""Between the bands of value: 100, 1,000 and 10,000 pounds."""
BAND_NAMES: Final = ("below 100 GBP", "100 to 1,000 GBP", "1,000 to 10,000 GBP", "10,000 GBP and more, or unknown")
REASON_CHARACTERS: Final = (10, 500)


class DisagreementVerdict(StrEnum):
    CHAMPION_RIGHT = "CHAMPION_RIGHT"
    CHALLENGER_RIGHT = "CHALLENGER_RIGHT"
    UNCLEAR = "UNCLEAR"


class Disagreement(NamedTuple):
    """A payment on which both models answered, and differ. amount_gbp_minor: -1 where it isn't known."""

    decision_id: str
    transaction_id: str
    segments: str
    amount_gbp_minor: int
    champion_outcome: Outcome
    challenger_outcome: Outcome
    champion_ppm: int
    challenger_ppm: int
    champion_says: str | None
    challenger_says: str | None
    decided_at_ms: int

    @property
    def outcomes(self) -> str:
        return f"{self.champion_outcome} {self.challenger_outcome}"


class Review(NamedTuple):
    """What a person said of a disagreement. act: the digest of what they signed."""

    act: str
    decision_id: str
    outcomes: str
    verdict: str
    reason: str
    reviewed_by: str
    reviewed_at_ms: int
    amount_gbp_minor: int


def reviewed(digest: bytes, said: Review) -> Expected:
    """The act that must stand behind a review."""
    return Expected(ActKind.DISAGREEMENT_REVIEWED, said.reviewed_by, signed_subject(digest, said), REVIEWERS)


def signed_subject(digest: bytes, said: Review) -> Subject:
    """The same as the database's control.disagreement_act."""
    return {
        "challenger": digest.hex(),
        "decision_id": said.decision_id,
        "outcomes": said.outcomes,
        "verdict": said.verdict,
        "reason": said.reason,
    }


def stratum_of(outcomes: str, amount_gbp_minor: int) -> str:
    """The name of the stratum that a disagreement is drawn from: both outcomes, and its band of value."""
    return f"{outcomes.replace(' ', ' -> ')}, {BAND_NAMES[band_of(amount_gbp_minor)]}"


def band_of(amount_gbp_minor: int) -> int:
    if amount_gbp_minor < 0:
        return len(BANDS_GBP_MINOR)
    return sum(amount_gbp_minor >= edge for edge in BANDS_GBP_MINOR)


def is_above(amount_gbp_minor: int, value_gbp_minor: int) -> bool:
    return amount_gbp_minor < 0 or amount_gbp_minor >= value_gbp_minor
