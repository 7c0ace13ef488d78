"""Publishing to the topics of a bench. Every record is acknowledged, in order for each key, or the bench fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ops.bench.rig.topics_io import Outbound

DELIVERY_TIMEOUT_MS: Final = 300_000
"""Longer than any outage of a bench; records that were handed over are delivered, in order, or the bench fails."""
LINGER_MS: Final = 2
IN_FLIGHT: Final = 5  # librdkafka's default where it is idempotent
QUEUE_RECORDS: Final = 200_000
FULL_POLL_S: Final = 0.1
ANY_PARTITION: Final = -1  # librdkafka's number for a partition that it chooses by the key


class Publisher:
    """A producer of records. Any call raises KafkaException once a record could not be delivered."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        linger_ms: int = LINGER_MS,
        compression: str = "none",
        in_flight: int = IN_FLIGHT,
        transactional_id: str | None = None,
    ) -> None:
        """Make the producer. in_flight: requests under way at once. transactional_id: of one with transactions."""
        in_transactions: dict[str, str | int] = {}
        if transactional_id is not None:
            in_transactions = {"transactional.id": transactional_id, "transaction.timeout.ms": DELIVERY_TIMEOUT_MS}
        self._failures: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "max.in.flight.requests.per.connection": in_flight,
                "linger.ms": linger_ms,
                "compression.type": compression,
                "queue.buffering.max.messages": QUEUE_RECORDS,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "on_delivery": self._delivered,
                "delivery.report.only.error": True,
                **in_transactions,
            }
        )

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
        while True:
            try:
                self._producer.produce(
                    topic, record.value, record.key, partition, timestamp=record.timestamp_ms, headers=record.headers
                )
                break
            except BufferError:  # DELIVERY_TIMEOUT_MS bounds the loop: by then the queued records have failed
                self.serve(FULL_POLL_S)
        self.serve(0)

    def serve(self, wait_s: float) -> None:
        """Take in reports of deliveries, for up to `wait_s`."""
        self._producer.poll(wait_s)
        if self._failures:
            raise KafkaException(self._failures[0])

    def flush(self) -> None:
        """Wait until every record is acknowledged."""
        left = self._producer.flush(DELIVERY_TIMEOUT_MS / 1000)
        self.serve(0)
        if left:
            raise KafkaException(f"{left} records were not acknowledged")

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
