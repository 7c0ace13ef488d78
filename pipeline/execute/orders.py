"""A record of `decisions.v1` as an order: the value that says what the executor is to do."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import DecisionId, ExecutionId, execution_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord, RecordUndecodable
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.execute.postings import Payment, Subject
from pipeline.execute.saga import Cause
from pipeline.state.outcome_records import counted_amount_gbp_minor

_IDS: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}\n[A-Za-z0-9._:\-]{1,64}\n[A-Za-z0-9._:\-]{1,64}\n[A-Z]{3}", re.ASCII)
_DECIDED: Final = {
    Outcome.ALLOW: Cause.DECIDED_ALLOW,
    Outcome.ESCALATE: Cause.DECIDED_ESCALATE,
    Outcome.BLOCK: Cause.DECIDED_BLOCK,
}
_REVIEWED: Final[dict[Outcome, Cause]] = {Outcome.ALLOW: Cause.REVIEWED_ALLOW, Outcome.BLOCK: Cause.REVIEWED_BLOCK}
_REVERSED: Final[dict[Outcome | None, Cause]] = {
    Outcome.ALLOW: Cause.REVERSED_TO_ALLOW,
    Outcome.ESCALATE: Cause.REVERSED_TO_ESCALATE,
    Outcome.BLOCK: Cause.REVERSED_TO_BLOCK,
    None: Cause.REVERSED_TO_NOTHING,
}
_OUTCOMES: Final = {cause: outcome for causes in (_DECIDED, _REVIEWED, _REVERSED) for outcome, cause in causes.items()}


class Said(NamedTuple):
    """One record. `subject` is None where it is no decision: then the payment must be known from one, and `later` is
    the record itself.

    `execution_id` of what is no decision is the decision's own id, until it is known which payment that is about.
    """

    execution_id: ExecutionId
    cause_id: str  # the decision's, the review's or the reversal's own
    cause: Cause
    decision_id: DecisionId
    transaction_id: str
    account_id: str
    event_time_ms: int
    subject: Subject | None
    later: Reversal | ReviewOutcome | None
    partition: int
    offset: int
    timestamp_ms: int


def outcome_of(cause: Cause) -> Outcome | None:
    """The outcome that a record of this cause gives its decision; None where it goes back to be decided anew."""
    return _OUTCOMES[cause]


def said(record: LogRecord[DecisionRecord]) -> Said:
    """Raises RecordUndecodable where no writer of ours can have meant it."""
    match record.content:
        case Decision() as decision:
            return _decision(record, decision)
        case ReviewOutcome() as review:
            cause = _REVIEWED.get(review.outcome)
            if cause is None:
                raise RecordUndecodable(f"{_place(record)}: a review that says {review.outcome}")
            return _later(record, review, cause, review.review_id, review.reviewed_at_ms)
        case Reversal() as reversal:
            cause = _REVERSED[reversal.corrected_outcome]
            return _later(record, reversal, cause, reversal.reversal_id, reversal.reversed_at_ms)


def _decision(record: LogRecord[DecisionRecord], decision: Decision) -> Said:
    paid = decision.snapshot.transaction
    execution = execution_id(paid)
    payment = Payment(execution, paid.account_id, paid.beneficiary_account_id, paid.currency, paid.amount_minor)
    ids = f"{decision.transaction_id}\n{payment.account_id}\n{payment.beneficiary_account_id}\n{payment.currency}"
    if not _IDS.fullmatch(ids) or not 0 <= payment.amount_minor <= AMOUNT_MINOR_MAX:
        raise RecordUndecodable(f"{_place(record)}: a decision on what is no payment")
    subject = Subject(
        payment,
        decision.decision_id,
        decision.transaction_id,
        record.timestamp_ms,
        record.partition,
        paid.event_time_ms,
        counted_amount_gbp_minor(decision),
        decision.source_timestamp_ms,
    )
    return Said(
        execution,
        decision.decision_id,
        _DECIDED[decision.outcome],
        decision.decision_id,
        decision.transaction_id,
        payment.account_id,
        paid.event_time_ms,
        subject,
        None,
        record.partition,
        record.offset,
        record.timestamp_ms,
    )


def _later(
    record: LogRecord[DecisionRecord], about: Reversal | ReviewOutcome, cause: Cause, cause_id: str, event_time_ms: int
) -> Said:
    if not _IDS.fullmatch(f"{about.transaction_id}\n{about.account_id}\n-\nXXX"):
        raise RecordUndecodable(f"{_place(record)}: ids that are none")
    return Said(
        ExecutionId(about.decision_id),
        cause_id,
        cause,
        about.decision_id,
        about.transaction_id,
        about.account_id,
        event_time_ms,
        None,
        about,
        record.partition,
        record.offset,
        record.timestamp_ms,
    )


def _place(record: LogRecord[DecisionRecord]) -> str:
    return f"decisions[{record.partition}] at {record.offset}"
