"""`fraud traffic generate`: the seeded traffic, published as payment systems would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, traffic_events
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.money import count_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.bulk_publisher import BulkPublisher, Pace
from pipeline.io.settings import Settings
from pipeline.terminal.output import Advance, Output

HOUR_MS: Final = 3_600_000
DAYS_MAX: Final = 6
"""Of event time: a partition refuses what is 7 days behind its latest payment, so a second run must not begin there."""
RATE_DEFAULT: Final = 300.0
"""Payments a second where neither a rate nor a count is asked for."""
PAYMENTS_A_DAY: Final = 1.5
PAYMENTS_A_DAY_MAX: Final = 100
SURPLUS: Final = 1.25
"""The generator's counts are random: a quarter more is made ready than is wanted, and the rest is not used."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to publish. `rate` in payments a second, None for flat out; `is_now`: records are stamped with the clock."""

    count: int
    rate: float | None
    seed: int
    accounts: int
    guardrail_share: float
    has_context: bool
    has_labels: bool
    is_now: bool


class Published(NamedTuple):
    transactions: int
    accounts: int
    risk_signals: int
    labels: int
    seconds: float


def traffic_settings(wanted: Wanted, now_ms: int) -> TrafficSettings:
    """Event time runs faster than the clock and ends at about now: a day of payments in seconds."""
    per_day = wanted.count * SURPLUS / wanted.accounts
    days = min(max(round(per_day / PAYMENTS_A_DAY), 1), DAYS_MAX)
    start_ms = (now_ms - days * 24 * HOUR_MS) // HOUR_MS * HOUR_MS
    share = min(per_day / days, PAYMENTS_A_DAY_MAX)
    return TrafficSettings(wanted.seed, wanted.accounts, start_ms, days, share, guardrail_share=wanted.guardrail_share)


def generate(settings: Settings, wire: WireFormat, wanted: Wanted, advance: Advance) -> Published:
    """Publishes until `count` payments are out, or the traffic's days are over; Failure when it can't."""
    publisher, pace = BulkPublisher(settings), Pace(wanted.rate)
    publisher.require_topics("transactions.v1", "accounts.v1", "risk_signals.v1", "labels.v1")
    run = f"{wanted.seed:x}-{now_s():x}"
    counts = {LabelledTransaction: 0, Account: 0, RiskSignal: 0, Label: 0}
    started = time.monotonic()
    for event in _chosen(wanted, traffic_events(traffic_settings(wanted, now_s() * 1000))):
        if isinstance(event, LabelledTransaction):
            pace.wait()
            if counts[LabelledTransaction] % 1000 == 0:
                advance(counts[LabelledTransaction])
        publish_event(settings, publisher, wire, event, run, is_now=wanted.is_now)
        counts[type(event)] += 1
    publisher.flush()
    paid, profiles, signals, labels = counts.values()
    return Published(paid, profiles, signals, labels, time.monotonic() - started)


def show_published(output: Output, published: Published) -> None:
    speed = published.transactions / max(published.seconds, 0.001)
    payments, accounts = count_text(published.transactions, "payment"), count_text(published.accounts, "account")
    signals, labels = count_text(published.risk_signals, "risk signal"), count_text(published.labels, "label")
    line = f"{payments} published in {published.seconds:.1f} s ({speed:,.0f} a second), with "
    line += f"{accounts}, {signals}, {labels}."
    output.record(published._asdict(), line)


def publish_event(
    settings: Settings, publisher: BulkPublisher, wire: WireFormat, event: TrafficEvent, run: str, *, is_now: bool
) -> None:
    """One event to its topic. `run` sets its transaction ids apart from those of other runs."""
    match event:
        case LabelledTransaction(transaction=payment):
            named = payment._replace(transaction_id=f"{run}-{payment.transaction_id}")
            at_ms = 0 if is_now else payment.event_time_ms
            value = wire.encode_transaction(named)
            publisher.publish(settings.topic("transactions.v1"), payment.account_id.encode(), value, at_ms)
        case Account():
            value = wire.encode(event)
            publisher.publish(settings.topic("accounts.v1"), event.account_id.encode(), value, 0)
        case RiskSignal():
            value = wire.encode(event)
            publisher.publish(settings.topic("risk_signals.v1"), event.key.encode(), value, 0)
        case Label():
            named_label = event._replace(transaction_id=f"{run}-{event.transaction_id}")
            value = wire.encode(named_label)
            publisher.publish(settings.topic("labels.v1"), event.beneficiary_account_id.encode(), value, 0)


def now_s() -> int:
    return int(time.time())


def _chosen(wanted: Wanted, stream: Iterator[TrafficEvent]) -> Iterator[TrafficEvent]:
    count = 0
    for event in stream:
        if isinstance(event, LabelledTransaction):
            if count == wanted.count:
                return
            count += 1
            yield event
        elif wanted.has_labels if isinstance(event, Label) else wanted.has_context:
            yield event
