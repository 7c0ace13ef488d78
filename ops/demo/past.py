"""The past before the demonstration: a month of payments on the log, which the worker counts but does not decide."""

from __future__ import annotations

from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from models.simulator import LabelledTransaction, TrafficSettings
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import Policy
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.features import EVENT
from pipeline.domain.identities import DecisionId, execution_id, posting_id
from pipeline.io.kafka import client
from pipeline.io.settings import Settings

DAYS_MAX: Final = 30
"""Most days of the past, as far as windows reach back."""
PAYMENTS_MAX: Final = 20_000
"""Most payments of the past. All are counted before the first decision, some thousands a second, so more accounts have
fewer days."""
SHARE: Final = 0.1
"""Rate at which accounts shop in the past, against the time that is shown; they spend ten times as much each time.
Bills come on top."""
BILLS_A_DAY: Final = 0.1
"""Bills of each account: three a month."""


class PastOutcomes:
    """What became of the past's payments, as an executor would have told it: without it no payee would be known."""

    def __init__(self, policy: Policy) -> None:
        self._rows = EventRows(policy, shipped_feeds())

    def of(self, event: LabelledTransaction, transaction_id: str) -> Execution | None:
        """Return the payment as settled; None for fraud, which may have been stopped, and for what never counted."""
        payment = event.transaction._replace(transaction_id=transaction_id)
        time_ms = payment.event_time_ms
        amount_gbp_minor = self._rows.row(payment, time_ms)[_AMOUNT]
        if event.fraud or amount_gbp_minor < 0:
            return None
        execution = execution_id(payment)
        return Execution(
            event_id=posting_id(execution, "TOLD", 1),
            execution_id=execution,
            sequence=0,  # no ledger of ours
            decision_id=DecisionId(execution),  # nobody here decided it
            transaction_id=transaction_id,
            account_id=payment.account_id,
            beneficiary_account_id=payment.beneficiary_account_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            state=ExecutionState.SETTLED,
            why="DECIDED_ALLOW",
            event_time_ms=time_ms,
            payment_time_ms=time_ms,
            amount_gbp_minor=amount_gbp_minor,
            payment_logged_at_ms=time_ms,
        )


_AMOUNT: Final = EVENT.index("amount_gbp_minor")


class Past(NamedTuple):
    days: int
    payments: int


NO_PAST: Final = Past(0, 0)


def past_days(accounts: int, payments_a_day: float) -> int:
    """Return how many days there can be before the time that is shown; at least one."""
    a_day = accounts * (payments_a_day * SHARE + BILLS_A_DAY)
    return max(min(int(PAYMENTS_MAX / a_day), DAYS_MAX), 1)


def begin_behind(settings: Settings, plan: TrafficSettings) -> Past:
    """Commit the end of transactions.v1 as the worker's position.

    A worker that finds no state up to its position counts what the log holds before it, as after a loss of Redis, and
    decides what comes after it.
    """
    topic = settings.topic("transactions.v1")
    options = client.reader_options(settings.bootstrap_servers, settings.consumer_group, settings.kafka_options)
    consumer = Consumer(options)
    try:
        partitions = client.partitions_of(consumer, topic)
        ends = [TopicPartition(topic, partition, _end(consumer, topic, partition)) for partition in partitions]
        consumer.commit(offsets=ends, asynchronous=False)
    finally:
        consumer.close()
    return Past(plan.quiet_days, sum(end.offset for end in ends))


def _end(consumer: Consumer, topic: str, partition: int) -> int:
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=client.ANSWER_S)
    return int(high)
