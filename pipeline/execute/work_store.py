"""A saga under way, and the rows that a transaction appends for the sagas of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.domain.in_force import InForce
from pipeline.execute.ledger_store import NewCause, NewExecution, NewPosting, NewRecovery, NewTransition, Stored
from pipeline.execute.postings import NOTHING_RECALLED, PART_STEPS, Advance, Recalled, Subject
from pipeline.execute.saga import ASKS_RAIL, RECOVERED_BY_PEOPLE, RULING, Saga, Transition

ORIGINS: Final = {"DECIDED": "DECISION", "REVIEWED": "REVIEW", "REVERSED": "REVERSAL"}
"""The kind of record that a cause's first word names."""


@dataclass(slots=True)
class Work:
    """A saga under way in this process."""

    subject: Subject
    saga: Saga
    event_time_ms: int
    why: str
    cause_ids: set[str]
    in_force: InForce
    is_out_of_order: bool  # something was heard about it before its decision was: the review service counts otherwise
    origin: str  # of its next steps: DECISION, REVIEW, REVERSAL or RAIL
    decided_at_offset: int  # of the decision's record, in the partition of its subject
    recalled: Recalled = NOTHING_RECALLED
    is_asked: bool = False
    """Whether the rail may have met the key that it waits with. It may have met any that was read from storage, since
    another process may have asked and died; it has not met one of a step that this process is about to store."""


class Retried(NamedTuple):
    """How many executions were looked at that had been in doubt, and how many still are.

    is_last: nobody is left in this round, and the next call begins another.
    """

    looked_at: int
    in_doubt: int
    is_last: bool


@dataclass(slots=True)
class Rows:
    """The rows that one transaction appends."""

    executions: list[NewExecution] = field(default_factory=list)
    causes: list[NewCause] = field(default_factory=list)
    transitions: list[NewTransition] = field(default_factory=list)
    postings: list[NewPosting] = field(default_factory=list)
    recoveries: list[NewRecovery] = field(default_factory=list)

    def add(self, work: Work, moved: Advance, ruling: str | None = None) -> None:
        """Takes the work to where `moved` is. ruling: the act by which people have it there."""
        name, caused_at_ms = work.subject.payment.execution_id, work.subject.caused_at_ms
        origin = work.origin if ruling is None else RULING
        left_out: list[Transition] = []
        for transition in moved.transitions:
            self.transitions.append(NewTransition(name, caused_at_ms, transition, origin, ruling))
            if transition.step in ASKS_RAIL:
                work.is_asked = False
            if transition.reason is not None:
                work.why = transition.reason
                if transition.reason in RECOVERED_BY_PEOPLE:
                    left_out.append(transition)
        # Parts first: what is missing is what is out after them.
        for posting in moved.postings:
            if posting.step in PART_STEPS:
                work.recalled = work.recalled.after(posting.step, posting.amount_minor)
            self.postings.append(NewPosting(posting, work.event_time_ms, caused_at_ms))
        work.saga = moved.saga
        self.recoveries += [_recovery(work, each) for each in left_out]


def _recovery(work: Work, transition: Transition) -> NewRecovery:
    payment, reason = work.subject.payment, transition.reason
    assert reason is not None, "the saga was turned"
    missing_minor = payment.amount_minor - work.recalled.returned_minor
    return NewRecovery(payment.execution_id, transition.sequence, reason, missing_minor, payment.currency)


def work_of(stored: Stored) -> Work:
    origin = ORIGINS.get(stored.why.partition("_")[0], "RAIL")
    known = stored.subject, stored.saga, stored.event_time_ms, stored.why, set(stored.cause_ids)
    rest = stored.in_force, stored.is_out_of_order, origin, stored.topic_offset, stored.recalled
    return Work(*known, *rest, is_asked=True)
