"""What a record of `decisions.v1` asks the executor to do, as a value."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pipeline.domain.identities import execution_id
from pipeline.domain.log import LogRecord, RecordUndecodable
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.execute.postings import Payment, Subject
from pipeline.execute.saga import Cause
from pipeline.io.avro.wire import Datum

_IDS: Final = re.compile(r"[A-Za-z0-9._:\-]{1,64}\n[A-Za-z0-9._:\-]{1,64}\n[A-Za-z0-9._:\-]{1,64}\n[A-Z]{3}", re.ASCII)
_DECIDED: Final = {
    "ALLOW": Cause.DECIDED_ALLOW,
    "ESCALATE": Cause.DECIDED_ESCALATE,
    "BLOCK": Cause.DECIDED_BLOCK,
}
_REVIEWED: Final = {"ALLOW": Cause.REVIEWED_ALLOW, "BLOCK": Cause.REVIEWED_BLOCK}
_REVERSED: Final = {
    "ALLOW": Cause.REVERSED_TO_ALLOW,
    "ESCALATE": Cause.REVERSED_TO_ESCALATE,
    "BLOCK": Cause.REVERSED_TO_BLOCK,
    None: Cause.REVERSED_TO_NOTHING,
}


class Said(NamedTuple):
    """One record. `subject` is None where it is no decision: then the payment must be known from one."""

    execution_id: str
    cause_id: str  # the decision's, the review's or the reversal's own
    cause: Cause
    decision_id: str
    transaction_id: str
    account_id: str
    event_time_ms: int
    subject: Subject | None
    partition: int
    offset: int
    timestamp_ms: int


def said(record: LogRecord) -> Said:
    """Raises RecordUndecodable where no writer of ours can have meant it."""
    fields = record.fields
    match fields["record"]:
        case "Decision":
            return _decision(record, fields)
        case "ReviewOutcome":
            cause = _REVIEWED.get(fields["outcome"])
            if cause is None:
                raise RecordUndecodable(f"{_place(record)}: a review that says {fields['outcome']}")
            return _later(record, fields, cause, fields["review_id"], fields["reviewed_at_ms"])
        case "Reversal":
            cause = _REVERSED[fields["corrected_outcome"]]
            return _later(record, fields, cause, fields["reversal_id"], fields["reversed_at_ms"])
        case other:
            raise RecordUndecodable(f"{_place(record)}: {other} is not for the executor")


def _decision(record: LogRecord, fields: Datum) -> Said:
    paid = fields["snapshot"]["transaction"]
    execution = execution_id(fields["decision_id"])
    payment = Payment(
        execution, paid["account_id"], paid["beneficiary_account_id"], paid["currency"], paid["amount_minor"]
    )
    ids = f"{fields['transaction_id']}\n{payment.account_id}\n{payment.beneficiary_account_id}\n{payment.currency}"
    if not _IDS.fullmatch(ids) or not 0 <= payment.amount_minor <= AMOUNT_MINOR_MAX:
        raise RecordUndecodable(f"{_place(record)}: a decision on what is no payment")
    subject = Subject(payment, fields["decision_id"], fields["transaction_id"], record.timestamp_ms, record.partition)
    return Said(
        execution,
        fields["decision_id"],
        _DECIDED[fields["outcome"]],
        fields["decision_id"],
        fields["transaction_id"],
        payment.account_id,
        paid["event_time_ms"],
        subject,
        record.partition,
        record.offset,
        record.timestamp_ms,
    )


def _later(record: LogRecord, fields: Datum, cause: Cause, cause_id: str, event_time_ms: int) -> Said:
    ids = f"{fields['transaction_id']}\n{fields['account_id']}\n-\nXXX"
    if not _IDS.fullmatch(ids):
        raise RecordUndecodable(f"{_place(record)}: ids that are none")
    return Said(
        execution_id(fields["decision_id"]),
        cause_id,
        cause,
        fields["decision_id"],
        fields["transaction_id"],
        fields["account_id"],
        event_time_ms,
        None,
        record.partition,
        record.offset,
        record.timestamp_ms,
    )


def _place(record: LogRecord) -> str:
    return f"decisions[{record.partition}] at {record.offset}"
