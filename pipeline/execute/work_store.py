"""A saga under way, and the rows that a transaction appends for the sagas of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.domain.in_force import InForce
from pipeline.execute.ledger_store import NewCause, NewExecution, NewPosting, NewRecovery, NewTransition
from pipeline.execute.postings import NOTHING_RECALLED, Advance, Recalled, Subject
from pipeline.execute.saga import RECOVERED_BY_PEOPLE, RULING, Saga, Transition


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
    recalled: Recalled = NOTHING_RECALLED


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
        caused_at_ms = work.subject.caused_at_ms
        origin = work.origin if ruling is None else RULING
        for transition in moved.transitions:
            self.transitions.append(
                NewTransition(work.subject.payment.execution_id, caused_at_ms, transition, origin, ruling)
            )
            if transition.reason is not None:
                work.why = transition.reason
        # Parts first: what is missing is what is out after them.
        for posting in moved.postings:
            work.recalled = work.recalled.after(posting.step, posting.amount_minor)
            self.postings.append(NewPosting(posting, work.event_time_ms, caused_at_ms))
        work.saga = moved.saga
        self.recoveries += [_recovery(work, each) for each in moved.transitions if each.reason in RECOVERED_BY_PEOPLE]


def _recovery(work: Work, transition: Transition) -> NewRecovery:
    payment, reason = work.subject.payment, transition.reason
    assert reason is not None, "the saga was turned"
    missing_minor = payment.amount_minor - work.recalled.returned_minor
    return NewRecovery(payment.execution_id, transition.sequence, reason, missing_minor, payment.currency)
