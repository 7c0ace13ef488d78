"""Notices of the executor: where payments stand, on `executions.v1`, and what a person must look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.identities import posting_id
from pipeline.domain.log import Outgoing
from pipeline.execute.ledger_store import RuledKey
from pipeline.execute.orders import Said
from pipeline.execute.postings import Subject
from pipeline.execute.restoring.lives import FIRST_LIFE, told_sequence
from pipeline.execute.saga import REVIEWS, Ignored, Reason, State
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender

_ALERTED: Final = {
    Reason.OUT_OF_ORDER: AlertCode.OUT_OF_ORDER,
    Reason.BENEFICIARY_FUNDS_GONE: AlertCode.BENEFICIARY_FUNDS_GONE,
    Reason.RECALL_REFUSED: AlertCode.RECALL_REFUSED,
    Reason.PART_RECALL_REFUSED: AlertCode.RECALL_REFUSED,
    Reason.PARTLY_RECALLED: AlertCode.PARTLY_RECALLED,
}


class Notice(NamedTuple):
    """Where a saga has come to rest, or is in doubt, and why."""

    subject: Subject
    state: State
    sequence: int
    why: str
    event_time_ms: int
    returned_minor: int  # of what is settled, the part that was recalled


class Unheeded(NamedTuple):
    """A reversal or a review that no money follows, and why."""

    record: Said
    why: Ignored


class Notices:
    def __init__(
        self,
        appender: Appender,
        wire: WireFormat,
        executions_topic: str,
        alerts_topic: str,
        seal: Callable[[Sequence[Outgoing]], Sequence[Outgoing]] | None = None,
    ) -> None:
        """seal: gives the records of the executions' topic their seals; None where nobody seals them."""
        self._appender, self._wire, self._seal = appender, wire, seal
        self._executions = executions_topic
        self.life = FIRST_LIFE
        """Of the ledger: raised each time that it was put back from a backup and has caught up."""
        self._alerts = AlertPublisher(appender.append, wire, alerts_topic)

    def tell(self, notices: Sequence[Notice]) -> None:
        """Returns once acknowledged; raises BrokerFailed."""
        outgoing = [self._execution(notice) for notice in notices]
        outgoing += self._alerts.records(_turned(notice) for notice in notices if notice.why in _ALERTED)
        if outgoing:
            self._appender.append(outgoing if self._seal is None else self._seal(outgoing))

    def raise_doubt(self, notices: Sequence[Notice]) -> None:
        """Each time that the rail was asked in vain; the alert's id stays the same while the doubt does."""
        if notices:
            self._alerts.publish(map(_doubt, notices))

    def raise_audit_behind(self, partition: int, offset: int) -> None:
        """The same alert for as long as the audit log stands before this record."""
        self._alerts.publish([_audit_behind(partition, offset)])

    def raise_orphans(self, orphans: Sequence[Said]) -> None:
        if orphans:
            self._alerts.publish(map(_orphan, orphans))

    def raise_decided_again(self, records: Sequence[Said]) -> None:
        if records:
            self._alerts.publish(map(_decided_again, records))

    def raise_forgotten(self, notices: Sequence[Notice]) -> None:
        """Tell of payments that the rail can no longer say anything about, so that a person must find out."""
        if notices:
            self._alerts.publish(map(_forgotten, notices))

    def raise_paid_otherwise(self, notices: Sequence[Notice]) -> None:
        """Tell of payments that the rail has made and the ledger does not lead to."""
        if notices:
            self._alerts.publish(map(_paid_otherwise, notices))

    def raise_contradicted(self, rulings: Sequence[RuledKey]) -> None:
        """Tell of rulings that the rail contradicts after all."""
        if rulings:
            self._alerts.publish(map(_contradicted, rulings))

    def raise_put_back(self, why: str) -> None:
        """Tell that nothing is paid, because the ledger is older than what was paid."""
        self._alerts.publish([alert(AlertCode.LEDGER_PUT_BACK, CATALOGUE[AlertCode.LEDGER_PUT_BACK].meaning,
                                    "execution", {"why": why}, _now_ms())])  # fmt: skip

    def raise_told_implausible(self, implausible: Sequence[str]) -> None:
        """Tell of records on executions.v1 that no executor of this ledger can have written."""
        code = AlertCode.TOLD_IMPLAUSIBLE
        evidence = {"records": str(len(implausible)), "first": implausible[0]}
        self._alerts.publish([alert(code, CATALOGUE[code].meaning, "execution", evidence, _now_ms())])

    def raise_unheeded(self, unheeded: Sequence[Unheeded]) -> None:
        """Tell what was decided or planned in vain, so that nobody believes it to have been done."""
        if unheeded:
            self._alerts.publish(map(_unheeded, unheeded))

    def _execution(self, notice: Notice) -> Outgoing:
        payment, decision_id, transaction_id = notice.subject[:3]
        sequence = told_sequence(self.life, notice.sequence)
        execution = Execution(
            event_id=posting_id(payment.execution_id, "TOLD", sequence),
            execution_id=payment.execution_id,
            sequence=sequence,
            decision_id=decision_id,
            transaction_id=transaction_id,
            account_id=payment.account_id,
            beneficiary_account_id=payment.beneficiary_account_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            state=ExecutionState(notice.state.value),
            why=str(notice.why),
            event_time_ms=notice.event_time_ms,
            payment_time_ms=notice.subject.payment_time_ms,
            amount_gbp_minor=notice.subject.amount_gbp_minor,
            payment_logged_at_ms=notice.subject.payment_logged_at_ms,
            returned_minor=notice.returned_minor,
        )
        return Outgoing(self._executions, payment.account_id.encode(), self._wire.encode(execution))


def _turned(notice: Notice) -> Alert:
    code = _ALERTED[Reason(notice.why)]
    return alert(code, CATALOGUE[code].meaning, "execution", _evidence(notice), notice.event_time_ms)


def _doubt(notice: Notice) -> Alert:
    text = "The rail does not say what became of a payment; it is asked again until it does."
    return alert(AlertCode(f"EXECUTION_{notice.state}"), text, "execution", _evidence(notice), _now_ms())


def _audit_behind(partition: int, offset: int) -> Alert:
    code = AlertCode.EXECUTION_UNAUDITED
    evidence = {"partition": str(partition), "offset": str(offset)}
    return alert(code, CATALOGUE[code].meaning, "execution", evidence, _now_ms())


def _forgotten(notice: Notice) -> Alert:
    code = AlertCode.RAIL_KEY_FORGOTTEN
    return alert(code, CATALOGUE[code].meaning, "execution", _evidence(notice), _now_ms())


def _paid_otherwise(notice: Notice) -> Alert:
    code = AlertCode.RAIL_PAID_OTHERWISE
    return alert(code, CATALOGUE[code].meaning, "execution", _evidence(notice), _now_ms())


def _contradicted(ruled: RuledKey) -> Alert:
    code = AlertCode.RULING_CONTRADICTED
    evidence = {"decision_id": ruled.decision_id, "execution_id": ruled.execution_id, "key": ruled.key}
    return alert(code, CATALOGUE[code].meaning, "execution", evidence, _now_ms())


def _orphan(record: Said) -> Alert:
    text = "A review or a reversal is about a decision that the executor has not heard; nothing was done."
    evidence = {"decision_id": record.decision_id, "cause": record.cause.value, "cause_id": record.cause_id}
    return alert(AlertCode.EXECUTION_WITHOUT_DECISION, text, "execution", evidence, record.event_time_ms)


def _decided_again(record: Said) -> Alert:
    if record.subject is not None:
        text = "A payment was decided once more; it is executed as its first decision says, and nothing else was done."
    else:
        text = (
            "A review or a reversal is about a second decision on a payment, which is not executed; nothing was done."
        )
    evidence = {
        "decision_id": record.decision_id,
        "execution_id": record.execution_id,
        "cause": record.cause.value,
        "cause_id": record.cause_id,
    }
    return alert(AlertCode.DECIDED_AGAIN, text, "execution", evidence, record.timestamp_ms)


def _unheeded(unheeded: Unheeded) -> Alert:
    record, why = unheeded
    code = AlertCode.REVIEW_UNHEEDED if record.cause in REVIEWS else AlertCode.REVERSAL_OVERTAKEN
    evidence = {
        "decision_id": record.decision_id,
        "execution_id": record.execution_id,
        "cause": record.cause.value,
        "cause_id": record.cause_id,
        "why": why.value,
    }
    return alert(code, CATALOGUE[code].meaning, "execution", evidence, record.timestamp_ms)


def _evidence(notice: Notice) -> dict[str, str]:
    return {
        "decision_id": notice.subject.decision_id,
        "execution_id": notice.subject.payment.execution_id,
        "sequence": str(notice.sequence),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
