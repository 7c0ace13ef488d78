"""Faults of the log itself: the group's committed offsets gone or moved, and aborted records on every input topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from confluent_kafka import Producer

from ops.bench.loss.groups import delete_offsets, is_empty, move_offsets
from ops.bench.loss.rig import RECOVERY_S, START_S, Rig, now_ms
from ops.bench.rig.feeder import Recovery
from ops.bench.rig.stored import record_count
from ops.bench.rig.topics_io import Outbound
from ops.bench.rig.waiting import GROUP, wait_until
from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import Decision
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.features import COLUMN
from pipeline.domain.identities import DecisionId, ExecutionId
from pipeline.domain.log import Record
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader

DELIVERY_S: Final = 120.0
MARK: Final = 7_777
"""Fraud reports that nobody committed; no traffic of the bench has as many."""
MARK_MONTH_MINOR: Final = 77_777_777_777
LATEST: Final = 400
"""Latest decisions, whose parties the aborted records are about: they come again while the traffic flows on."""
COMING_AGAIN: Final = 20
LOOKED_AT: Final = 2_000
"""Later decisions that are looked at: some seconds of traffic, with at least COMING_AGAIN about the same accounts."""
TRANSACTIONS: Final = "transactions.v1"
DECISIONS: Final = "decisions.v1"


def offsets_gone(rig: Rig) -> Recovery:
    """Delete the group, as its coordinator does with one that nobody has joined for a week."""
    return _while_stopped(rig, lambda: delete_offsets(rig.stack.bootstrap_servers, GROUP))


def offsets_at_the_beginning(rig: Rig) -> Recovery:
    return _while_stopped(rig, lambda: _move(rig, 0))


def offsets_at_the_end(rig: Rig) -> Recovery:
    """Skip what was published while nobody decided."""
    return _while_stopped(rig, lambda: _move(rig, None))


def aborted_on_every_input(rig: Rig) -> Recovery:
    """Abort records about the parties of the latest payments; no later decision may know of them."""
    rig.feeder.pause()
    with LogReader(rig.stack.bootstrap_servers, "checker", {}) as reader:
        before = {partition: extent.high for partition, extent in reader.extents(DECISIONS).items()}
        starts = {partition: max(0, end - LATEST) for partition, end in before.items()}
        payments = [decision.snapshot.transaction for decision in _decisions(reader.read(DECISIONS, starts))]
        in_log = record_count(rig.stack.bootstrap_servers, TRANSACTIONS)
        _abort(rig.stack.bootstrap_servers, payments)
        rig.unseen += record_count(rig.stack.bootstrap_servers, TRANSACTIONS) - in_log
        aborted_ms = now_ms()
        rig.feeder.resume()
        recovery = rig.recovery(aborted_ms)
        accounts = {payment.account_id for payment in payments}
        later = islice(_decisions(reader.read(DECISIONS, before, is_followed=True)), LOOKED_AT)
        met = [decision for decision in later if decision.account_id in accounts]
        assert len(met) >= COMING_AGAIN, f"only {len(met)} decisions were about accounts that the aborted records name"
        for decision in met:
            _require_ignorance(decision)
        letters = [WireFormat().decode_dead_letter(record.value) for record in reader.read_all("transactions.dead.v1")]
        topics = {letter.source_topic for letter in letters if isinstance(letter, DeadLetter)}
        assert "labels.v1" not in topics, "an aborted label was looked for its payment"
    return recovery


def _require_ignorance(decision: Decision) -> None:
    features = decision.snapshot.features
    about = f"the decision on {decision.transaction_id}"
    assert features[COLUMN["ip_fraud_reports"]] != MARK, f"{about} knows of an aborted report"
    assert features[COLUMN["account_normal_month_minor"]] != MARK_MONTH_MINOR, f"{about} knows of an aborted account"


def _while_stopped(rig: Rig, change: Callable[[], None]) -> Recovery:
    for worker in rig.workers.values():
        worker.stop()
    servers = rig.stack.bootstrap_servers
    wait_until(lambda: is_empty(servers, GROUP), RECOVERY_S, "the end of the members' sessions")
    change()
    fault_ms = now_ms()
    for worker in rig.workers.values():
        worker.start(deadline_s=START_S)
    return rig.recovery(fault_ms)


def _move(rig: Rig, to: int | None) -> None:
    """Move every partition's offset to `to`, or to its end."""
    servers = rig.stack.bootstrap_servers
    with LogReader(servers, GROUP, {}) as reader:
        ends = {partition: extent.high for partition, extent in reader.extents(TRANSACTIONS).items()}
    move_offsets(servers, GROUP, TRANSACTIONS, ends if to is None else dict.fromkeys(ends, to))


def _decisions(records: Iterable[Record]) -> Iterator[Decision]:
    wire = WireFormat()
    for record in records:
        decision = wire.decode_decision_record(record.value)
        if isinstance(decision, Decision):
            yield decision


def _abort(bootstrap_servers: str, payments: Sequence[Transaction]) -> None:
    """Write records that a reader of uncommitted records would take in, abort them, and wait for the ends of that."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": "aborter", "log_level": 2})
    producer.init_transactions(DELIVERY_S)
    producer.begin_transaction()
    for topic, record in _to_abort(payments):
        producer.produce(topic, record.value, record.key)
    assert producer.flush(DELIVERY_S) == 0, "the records to be aborted were not written"
    producer.abort_transaction(DELIVERY_S)
    # The coordinator answers before it has marked all partitions, whose records count from then on.
    wait_until(lambda: _is_ended(bootstrap_servers), DELIVERY_S, "marking what was aborted")


def _is_ended(bootstrap_servers: str) -> bool:
    counts = (record_count(bootstrap_servers, TRANSACTIONS, each) for each in ("read_committed", "read_uncommitted"))
    return len(set(counts)) == 1


def _to_abort(payments: Sequence[Transaction]) -> Iterator[tuple[str, Outbound]]:
    wire, at_ms = WireFormat(), int(now_ms())
    for number, payment in enumerate(payments):
        account, payee = payment.account_id.encode(), payment.beneficiary_account_id.encode()
        stray = payment._replace(transaction_id=f"aborted-{number}")
        yield TRANSACTIONS, Outbound(account, wire.encode_transaction(stray), 0)
        month = Account(payment.account_id, at_ms, MARK_MONTH_MINOR)
        yield "accounts.v1", Outbound(account, wire.encode(month), 0)
        if payment.ip_address is not None:
            signal = RiskSignal(RiskSignalKind.IP_ADDRESS, payment.ip_address, MARK, at_ms)
            yield "risk_signals.v1", Outbound(signal.key.encode(), wire.encode(signal), 0)
        label = Label(
            stray.transaction_id, payment.account_id, payment.beneficiary_account_id, payment.event_time_ms,
            fraud=True, labelled_at_ms=at_ms, labelled_by="aborter",
        )  # fmt: skip
        yield "labels.v1", Outbound(payee, wire.encode(label), 0)
        execution = Execution(
            f"aborted-{number}", ExecutionId(f"aborted-{number}"), 1, DecisionId(f"aborted-{number}"),
            payment.transaction_id, payment.account_id, payment.beneficiary_account_id, payment.amount_minor,
            payment.currency, ExecutionState.SETTLED, "aborted", at_ms,
        )  # fmt: skip
        yield "executions.v1", Outbound(account, wire.encode(execution), 0)
