"""`fraud payments publish`: a file of payments, looked at whole, then published in its order, flat out or at a rate.

A file in which anything is wrong is not published in part: its faults are found before its first record is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, NamedTuple

from pipeline.domain.context import Label
from pipeline.domain.log import TRACE_HEADER, Outgoing
from pipeline.domain.money import count_text
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.bulk_publisher import BulkPublisher, Pace
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.publish.payment_source import (
    LABELLED_AFTER_MS,
    Fault,
    FilePayment,
    PaymentSource,
    Unreadable,
    sentence_of,
)
from pipeline.publish.whole_check import Checked, check
from pipeline.seals.label_files import label_sealer
from pipeline.seals.seal import Sealer
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Advance, Output, unseen
from pipeline.traces.span import EndedSpan, Kind, Operation, messaging
from pipeline.traces.tracer_service import Tracer, new_trace, tracer_of

DAY_MS: Final = 86_400_000
KEPT_DAYS: Final = 45
ADVANCE_EVERY: Final = 2000


class Published(NamedTuple):
    transactions: int
    labels: int
    first_event_time_ms: int  # 0 for an empty file
    seconds: float


def check_file(source: PaymentSource, limit: int | None = None, advance: Advance = unseen) -> Checked:
    """Look at all payments that are to be published. Raises Failure where the file can't be read."""
    with failures_named():
        return check(source, time.time_ns() // 1_000_000, is_order_needed=True, limit=limit, advance=advance)


def require_sound(source: PaymentSource, checked: Checked) -> None:
    """Raises Failure where the check found a fault."""
    if checked.faults:
        count = f"{len(checked.faults)}{' and more' if checked.has_more else ''}"
        faults = "1 fault" if count == "1" else f"{count} faults"
        first = sentence_of(checked.faults[0], source.unit, source.part)
        raise Failure(f"{source.name} has {faults}. {first}", "Nothing was published; --check lists them all.")


def publish_payments(
    settings: Settings,
    wire: WireFormat,
    source: PaymentSource,
    *,
    rate: float | None = None,
    with_labels: bool = False,
    is_now: bool = False,
    limit: int | None = None,
    advance: Advance = unseen,
) -> Published:
    """Publishes up to `limit` payments of a source that was checked, keyed by account; returns when all are
    acknowledged. Raises Failure.

    A record's timestamp is the payment's event time, so that a replay gives the same decisions, or with `is_now` the
    clock's. Labels (of frauds only) follow LABELLED_AFTER_MS of event time later, or at the end.
    """
    tracer = tracer_of(settings, "publisher")
    publisher, pace = BulkPublisher(settings), Pace(rate)
    topic, label_topic = settings.topic("transactions.v1"), settings.topic("labels.v1")
    publisher.require_topics("transactions.v1", *(["labels.v1"] if with_labels else []))
    sealer = label_sealer(settings) if with_labels else None
    waiting: deque[Transaction] = deque()
    count, labels, first_ms, started = 0, 0, 0, time.monotonic()
    encode = wire.encode_transaction
    for _, payment, is_fraud in islice(_sound(source), limit):
        at_ms = payment.event_time_ms
        while waiting and waiting[0].event_time_ms + LABELLED_AFTER_MS <= at_ms:
            _publish_label(publisher, wire, label_topic, waiting.popleft(), sealer)
            labels += 1
        pace.wait()
        record = topic, payment.account_id.encode(), encode(payment), 0 if is_now else at_ms
        if tracer.begins():
            _publish_traced(publisher, tracer, *record)
        else:
            publisher.publish(*record)
        if with_labels and is_fraud:
            waiting.append(payment)
        first_ms = first_ms or at_ms
        count += 1
        if count % ADVANCE_EVERY == 0:
            advance(count)
    for payment in waiting:
        _publish_label(publisher, wire, label_topic, payment, sealer)
        labels += 1
    publisher.flush()
    tracer.close()
    _require_same(source)
    return Published(count, labels, first_ms, time.monotonic() - started)


def require_topics(settings: Settings, *, with_labels: bool) -> None:
    """Raises Failure where the topics aren't there, before a long file is looked at."""
    BulkPublisher(settings).require_topics("transactions.v1", *(["labels.v1"] if with_labels else []))


@contextmanager
def failures_named() -> Iterator[None]:
    """Make what a file can't be read for a failure of the command."""
    try:
        yield
    except Unreadable as error:
        raise Failure(error.what, error.fix) from error


def advice(published: Published) -> str | None:
    """Advice for payments that are older, by their own timestamps, than the broker keeps records."""
    if not published.transactions or time.time() * 1000 - published.first_event_time_ms < KEPT_DAYS * DAY_MS:
        return None
    return (
        f"Its payments are older than the {KEPT_DAYS} days that transactions.v1 is kept for, and their records are "
        "stamped with that time: publish them to topics that `fraud topics create --history` made. On others the "
        "broker stamps them by its own clock, and they are decided as payments that come very late."
    )


def show_checked(output: Output, source: PaymentSource, checked: Checked) -> int:
    """Show each fault, and how many payments were looked at. Returns the exit code."""
    for fault in checked.faults:
        fields = {"file": source.name, source.unit: fault.line, source.part: fault.column, "fault": fault.what}
        output.record(fields, sentence_of(fault, source.unit, source.part))
    total = {"file": source.name, "payments": checked.payments, "faults": len(checked.faults)}
    more = ", and more behind them" if checked.has_more else ""
    sound = f"nothing is wrong with {'it' if checked.payments == 1 else 'them'}"
    found = f"{count_text(len(checked.faults), 'fault')}{more}" if checked.faults else sound
    line = f"{count_text(checked.payments, 'payment')} of {source.name}: {found}."
    output.record({**total, "has_more": checked.has_more}, line)
    return FAILED_CHECK if checked.faults else 0


def show_left_out(output: Output, source: PaymentSource) -> None:
    """Show what the last reading met that no payment has a place for."""
    for part, count in sorted(source.left_out.items()):
        fields = {"file": source.name, source.part: part, "left_out": count}
        times = "once" if count == 1 else f"{count:,} times"
        output.record(fields, f"No payment has a place for the {source.part} {part}, which stands there {times}.")


def show_published(output: Output, name: str, published: Published) -> None:
    speed = published.transactions / max(published.seconds, 0.001)
    payments, labels = count_text(published.transactions, "payment"), count_text(published.labels, "label")
    line = f"{payments} and {labels} of {name} published"
    output.record(published._asdict(), f"{line} in {published.seconds:.1f} s ({speed:,.0f} a second).")


def _sound(source: PaymentSource) -> Iterator[FilePayment]:
    """Yield the payments as the check saw them. Raises Failure where the file is another by now."""
    with failures_named():
        for each in source.read():
            if isinstance(each, Fault):
                raise Failure(f"{source.name} changed while it was published.", "Publish it again when it is whole.")
            yield each


def _require_same(source: PaymentSource) -> None:
    """Raises Failure where the file changed while its first payments were published."""
    try:
        source.require_same()
    except Unreadable as error:
        raise Failure(
            f"{source.name} changed while it was published: what was published may be of neither of its versions.",
            "Look at the topic, and publish a file that nobody writes to any more.",
        ) from error


def _publish_traced(
    publisher: BulkPublisher, tracer: Tracer, topic: str, key: bytes, value: bytes, timestamp_ms: int
) -> None:
    context, started_ns = new_trace(), time.time_ns()
    publisher.publish(topic, key, value, timestamp_ms, [(TRACE_HEADER, context.header)])
    attributes = messaging("send", Operation.SEND, topic)
    tracer.emit([EndedSpan(f"send {topic}", Kind.PRODUCER, context, None, started_ns, time.time_ns(), attributes)])


def _publish_label(
    publisher: BulkPublisher, wire: WireFormat, topic: str, payment: Transaction, sealer: Sealer | None
) -> None:
    label = Label(
        payment.transaction_id,
        payment.account_id,
        payment.beneficiary_account_id,
        payment.event_time_ms,
        fraud=True,
        labelled_at_ms=payment.event_time_ms + LABELLED_AFTER_MS,
        labelled_by="replay",
    )
    record = Outgoing(topic, payment.beneficiary_account_id.encode(), wire.encode(label))
    if sealer is not None:
        try:
            (record,) = sealer.seal([record])
        except KeySetRefused as refusal:
            what = f"Labels can't be sealed any more: {refusal}."
            raise Failure(what, "Give the next key; what was published until then counts.") from refusal
    publisher.publish(topic, record.key or b"", record.value, 0, record.headers)
