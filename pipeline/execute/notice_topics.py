"""What the executor tells others: where payments stand on `executions.v1`, and what a person must look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import alert
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.identities import posting_id
from pipeline.domain.log import Outgoing
from pipeline.execute.orders import Said
from pipeline.execute.postings import Subject
from pipeline.execute.saga import Reason, State
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender

_ALERTED: Final = {
    Reason.OUT_OF_ORDER: "A decision came after the record that takes it back; the payment was refused.",
    Reason.BENEFICIARY_FUNDS_GONE: "A payment was to be reversed, but its beneficiary has spent the money.",
    Reason.RECALL_REFUSED: "A payment was to be reversed, but the rail refused to take it back.",
}


class Told(NamedTuple):
    subject: Subject
    state: State
    sequence: int
    why: str
    event_time_ms: int


class Notices:
    def __init__(self, appender: Appender, wire: WireFormat, executions_topic: str, alerts_topic: str) -> None:
        self._appender, self._wire = appender, wire
        self._executions, self._alerts = executions_topic, alerts_topic

    def tell(self, all_told: Sequence[Told]) -> None:
        """Returns once acknowledged; raises BrokerFailed."""
        outgoing = [self._execution(told) for told in all_told]
        outgoing += [self._alert(_turned(told)) for told in all_told if told.why in _ALERTED]
        self._append(outgoing)

    def raise_doubt(self, all_told: Sequence[Told]) -> None:
        """Each time that the rail was asked in vain; the alert's id stays the same while the doubt does."""
        self._append([self._alert(_doubt(told)) for told in all_told])

    def raise_orphans(self, orphans: Sequence[Said]) -> None:
        self._append([self._alert(_orphan(record)) for record in orphans])

    def _append(self, outgoing: Sequence[Outgoing]) -> None:
        if outgoing:
            self._appender.append(outgoing)

    def _execution(self, told: Told) -> Outgoing:
        payment, decision_id, transaction_id, _, _ = told.subject
        execution = Execution(
            event_id=posting_id(payment.execution_id, "TOLD", told.sequence),
            execution_id=payment.execution_id,
            sequence=told.sequence,
            decision_id=decision_id,
            transaction_id=transaction_id,
            account_id=payment.account_id,
            beneficiary_account_id=payment.beneficiary_account_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            state=ExecutionState(told.state.value),
            why=str(told.why),
            event_time_ms=told.event_time_ms,
        )
        return Outgoing(self._executions, payment.account_id.encode(), self._wire.encode(execution))

    def _alert(self, raised: Alert) -> Outgoing:
        value = self._wire.encode(raised)
        return Outgoing(self._alerts, raised.alert_id.encode(), value)


def _turned(told: Told) -> Alert:
    text = _ALERTED[Reason(told.why)]
    return alert(Severity.CRITICAL, told.why, text, "execution", _evidence(told), told.event_time_ms)


def _doubt(told: Told) -> Alert:
    text = "The rail does not say what became of a payment; it is asked again until it does."
    return alert(Severity.CRITICAL, f"EXECUTION_{told.state}", text, "execution", _evidence(told), _now_ms())


def _orphan(record: Said) -> Alert:
    text = "A review or a reversal is about a decision that the executor has not heard; nothing was done."
    evidence = {"decision_id": record.decision_id, "cause": record.cause.value, "cause_id": record.cause_id}
    return alert(Severity.CRITICAL, "EXECUTION_WITHOUT_DECISION", text, "execution", evidence, record.event_time_ms)


def _evidence(told: Told) -> dict[str, str]:
    return {
        "decision_id": told.subject.decision_id,
        "execution_id": told.subject.payment.execution_id,
        "sequence": str(told.sequence),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
