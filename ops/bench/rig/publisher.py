"""Publishing to the topics of a bench. Every record is acknowledged, in order for each key, or the bench fails."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ops.bench.rig.topics_io import Outbound
from pipeline.io.kafka.client import BrokerFailed, Options
from pipeline.io.kafka.known_brokers import KnownBrokers

DELIVERY_TIMEOUT_MS: Final = 300_000
"""Longer than any outage of a bench; records that were handed over are delivered, in order, or the bench fails."""
LINGER_MS: Final = 2
IN_FLIGHT: Final = 5  # librdkafka's default where it is idempotent
QUEUE_RECORDS: Final = 200_000
FULL_POLL_S: Final = 0.1
FLUSH_POLL_S: Final = 1.0
ANY_PARTITION: Final = -1  # librdkafka's number for a partition that it chooses by the key
RENEWALS_MAX: Final = 5
"""Clients of one publisher that may forget every broker, where a bench breaks its broker again and again. It was seen
once in all runs of `loss`; a run that needs more than this has another fault."""


class _Handed(NamedTuple):
    """A record that the client has and that isn't acknowledged yet."""

    topic: str
    record: Outbound
    partition: int


class Publisher:
    """A producer of records, for one thread. Any call raises KafkaException once a record could not be delivered.

    Where it may renew its client, one that has forgotten every broker (librdkafka's issue 5301, see `KnownBrokers`)
    gives way to another, which publishes what isn't acknowledged yet in the same order. It is another producer to the
    broker, so a record whose acknowledgement was lost then stands twice on the topic.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        linger_ms: int = LINGER_MS,
        compression: str = "none",
        in_flight: int = IN_FLIGHT,
        transactional_id: str | None = None,
        renewals_max: int = 0,
    ) -> None:
        """Make the producer. in_flight: requests under way at once. transactional_id: of one with transactions.

        renewals_max: how often it may renew its client. For topics only on which a record may stand twice.
        """
        assert not (transactional_id and renewals_max), "nobody knows what became of another client's transaction"
        in_transactions: dict[str, str | int] = {}
        if transactional_id is not None:
            in_transactions = {"transactional.id": transactional_id, "transaction.timeout.ms": DELIVERY_TIMEOUT_MS}
        self._failures: list[KafkaError] = []
        self._renewals_max, self.renewals = renewals_max, 0
        self._numbers, self._waiting = itertools.count(), dict[int, _Handed]()
        self._options: Options = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "max.in.flight.requests.per.connection": in_flight,
            "linger.ms": linger_ms,
            "compression.type": compression,
            "queue.buffering.max.messages": QUEUE_RECORDS,
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
            "on_delivery": self._delivered,
            "delivery.report.only.error": not renewals_max,
            **in_transactions,
        }
        self._make()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is published within, or nothing of it where that fails."""
        self._producer.init_transactions(DELIVERY_TIMEOUT_MS / 1000)
        self._producer.begin_transaction()
        try:
            yield
        except BaseException:
            self._producer.abort_transaction(DELIVERY_TIMEOUT_MS / 1000)
            raise
        self._producer.commit_transaction(DELIVERY_TIMEOUT_MS / 1000)

    def publish(self, topic: str, record: Outbound, partition: int = ANY_PARTITION) -> None:
        """Publish a record; a timestamp of 0 stands for now."""
        self._hand_over(_Handed(topic, record, partition))
        self.serve(0)

    def serve(self, wait_s: float) -> None:
        """Take in reports of deliveries, for up to `wait_s`."""
        self._producer.poll(wait_s)
        if self._failures:
            raise KafkaException(self._failures[0])
        if self._renewals_max:
            self._renew_where_forgetful()

    def flush(self) -> None:
        """Wait until every record is acknowledged."""
        deadline_s = time.monotonic() + DELIVERY_TIMEOUT_MS / 1000
        while left := self._producer.flush(FLUSH_POLL_S):
            self.serve(0)
            if time.monotonic() > deadline_s:
                raise KafkaException(f"{left} records were not acknowledged")
        self.serve(0)
        assert not self._waiting, "what was flushed is acknowledged"

    def _make(self) -> None:
        self._brokers = KnownBrokers()
        self._producer = Producer({**self._options, **(self._brokers.options if self._renewals_max else {})})

    def _hand_over(self, handed: _Handed) -> None:
        (topic, record, partition), number = handed, next(self._numbers)
        report = partial(self._reported, number) if self._renewals_max else None
        while True:
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key,
                    partition,
                    report,
                    timestamp=record.timestamp_ms,
                    headers=record.headers,
                )
                break
            except BufferError:  # DELIVERY_TIMEOUT_MS bounds the loop: by then the queued records have failed
                self.serve(FULL_POLL_S)
        if self._renewals_max:
            self._waiting[number] = handed

    def _renew_where_forgetful(self) -> None:
        try:
            self._brokers.check()
        except BrokerFailed as forgotten:
            self.renewals += 1
            if self.renewals > self._renewals_max:
                raise KafkaException(f"{self.renewals} clients have forgotten every broker") from forgotten
            self._producer.purge()
            waiting, self._waiting = self._waiting, {}  # what the old client reports from here on is of nothing known
            self._make()
            for handed in waiting.values():
                self._hand_over(handed)

    def _reported(self, number: int, error: KafkaError | None, message: Message) -> None:
        if self._waiting.pop(number, None) is not None:
            self._delivered(error, message)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)


def publish(bootstrap_servers: str, topic: str, records: Iterable[Outbound]) -> int:
    """Publish in order, as fast as it goes, and return how many records were acknowledged."""
    return _publish(Publisher(bootstrap_servers, linger_ms=20, compression="lz4"), topic, records)


@contextmanager
def appearing_at_once(bootstrap_servers: str, topic: str, records: Iterable[Outbound]) -> Iterator[int]:
    """Publish as `publish` does, but let all records appear together, to readers of what is committed, on leaving.

    Behind them, each partition that they touch has one offset without a record.
    """
    publisher = Publisher(bootstrap_servers, linger_ms=20, compression="lz4", transactional_id=f"{topic}-publisher")
    with publisher.transaction():
        yield _publish(publisher, topic, records)


def _publish(publisher: Publisher, topic: str, records: Iterable[Outbound]) -> int:
    count = 0
    for record in records:
        publisher.publish(topic, record)
        count += 1
    publisher.flush()
    return count
