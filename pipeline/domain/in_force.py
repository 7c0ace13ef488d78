"""The record in force about a decision: the last one on `decisions.v1` that replaces the one before it.

Invariants
1. What is in force follows from the records about one decision, in the order of their topic, and from nothing else. So
   executor, reviews, plans and checks agree on it, each by itself.
2. A reversal counts only where it names the record in force: of two that were planned on the same one, the second
   changes nothing, and one that names none never counts.
3. A review counts only for the round that is open, which is the last one and has no outcome yet.
4. What was heard before changes nothing when it comes again.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import DecisionId, ReviewId, review_id
from pipeline.domain.reversal import RecordKind, RecordName, Reversal
from pipeline.domain.review_outcome import ReviewOutcome

DecisionRecord = Decision | Reversal | ReviewOutcome
"""A record of `decisions.v1`: a decision, or what people make of one later."""


class InForce(NamedTuple):
    """`outcome` None: it was given back. `rounds`: how often the decision was sent to review; that of ESCALATE is open.

    A round that is open has the number `rounds`.
    """

    record: RecordName
    outcome: Outcome | None
    rounds: int

    @property
    def is_under_review(self) -> bool:
        return self.outcome is Outcome.ESCALATE


def decided(decision_id: DecisionId, outcome: Outcome) -> InForce:
    """The decision itself is in force before anything else is heard about it."""
    return InForce(RecordName(RecordKind.DECISION, decision_id), outcome, int(outcome is Outcome.ESCALATE))


def is_open_review(in_force: InForce, decision_id: DecisionId, name: ReviewId) -> bool:
    """Whether a review with this id is of the round that is open."""
    return in_force.is_under_review and name == review_id(decision_id, in_force.rounds)


def replaces(in_force: InForce, record: Reversal | ReviewOutcome) -> bool:
    """Whether the record takes the place of the one in force."""
    if isinstance(record, Reversal):
        return record.replaces == in_force.record
    return is_open_review(in_force, record.decision_id, record.review_id)


def replaced(in_force: InForce, record: Reversal | ReviewOutcome) -> InForce:
    """What is in force after a record that `replaces` it."""
    if isinstance(record, ReviewOutcome):
        return in_force._replace(record=RecordName(RecordKind.REVIEW, record.review_id), outcome=record.outcome)
    rounds = in_force.rounds + (record.corrected_outcome is Outcome.ESCALATE)
    return InForce(record.name, record.corrected_outcome, rounds)
