"""One record through a broker and one key through Redis, which every stack must be able to carry."""

import os
import select
import time
from collections.abc import Iterator

from confluent_kafka import Consumer, Producer, TopicPartition

TIMEOUT_S = 120.0


def publish(servers: str, topic: str, values: list[bytes], *, transactional_id: str = "round") -> None:
    """Commit the values in one Kafka transaction, to the topic's first partition."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": transactional_id, "log_level": 2})
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value=value, partition=0)
    producer.commit_transaction(TIMEOUT_S)


def published(servers: str, topic: str, count: int) -> list[bytes]:
    """The first `count` committed values of the topic's first partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "reader",  # librdkafka asks for one; nothing is committed under it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 2,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values, deadline_s = list[bytes](), time.monotonic() + TIMEOUT_S
    try:
        # What is consumed may also be word of a broker that was away, which the library gets over by itself.
        while len(values) < count and time.monotonic() < deadline_s:
            values += _values(consumer)
        return values
    finally:
        consumer.close()


def _values(consumer: Consumer) -> Iterator[bytes]:
    for record in consumer.consume(1, 1.0):
        value = record.value()
        if record.error() is None and isinstance(value, bytes):
            yield value


def has_ended(pid: int) -> bool:
    """Wait up to TIMEOUT_S for any process, a child or not, to end."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], TIMEOUT_S)[0])
    finally:
        os.close(handle)
