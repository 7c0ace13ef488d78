"""Publishing to and reading from whole topics, outside the system under measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from ops.stack.topics import create_topics

REQUEST_TIMEOUT_S: Final = 30.0


_NO_COORDINATOR_YET: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""For a moment after a group's first use, and after a broker's start."""


class Outbound(NamedTuple):
    key: bytes
    value: bytes
    timestamp_ms: int


def prepare_topics(bootstrap_servers: str, prefix: str, partitions: int = 4) -> None:
    """The project's topics under a prefix, kept for ever: what a bench replays may be years old."""
    create_topics(bootstrap_servers, partitions=partitions, prefix=prefix)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    keep = ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, f"{prefix}transactions.v1", incremental_configs=[keep])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(REQUEST_TIMEOUT_S)


def publish(bootstrap_servers: str, topic: str, records: Iterable[Outbound]) -> int:
    """Publishes in order, idempotently, and returns how many were acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
        }
    )
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    count = 0
    for record in records:
        while True:
            try:
                timestamp_ms = record.timestamp_ms
                producer.produce(topic, record.value, record.key, timestamp=timestamp_ms, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    left = producer.flush(REQUEST_TIMEOUT_S)
    if left or failures:
        raise KafkaException(f"{left + len(failures)} records were not acknowledged")
    return count


def read_topic(bootstrap_servers: str, topic: str, *, isolation: str = "read_committed") -> Iterator[Message]:
    """Every record between the oldest and the newest offset at the time of the call, by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # an end is found by a fetch that waits this long; there is one a partition
        }
    )
    try:
        for partition in sorted(consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)
            consumer.assign([TopicPartition(topic, partition, low)])
            if low < high:
                yield from _read_partition(consumer, topic)
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, topic: str) -> Iterator[Message]:
    while True:
        messages = consumer.consume(1, REQUEST_TIMEOUT_S)
        if not messages:
            raise TimeoutError(f"{topic} could not be read to its end")
        messages += consumer.consume(5000, 0)  # consume(n, t) waits out t unless n records come
        for message in messages:
            if message.error() is not None:
                return  # the end of the partition
            yield message


def committed_counts(bootstrap_servers: str, group: str, topic: str) -> int:
    """How many records of the topic the group has committed; 0 while the broker still looks for the group."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        where = [TopicPartition(topic, partition) for partition in partitions]
        return sum(max(p.offset, 0) for p in consumer.committed(where, timeout=REQUEST_TIMEOUT_S))
    except KafkaException as exception:
        if exception.args[0].code() in _NO_COORDINATOR_YET:
            return 0
        raise
    finally:
        consumer.close()


def wait_until(is_done: Callable[[], bool], deadline_s: float, what: str, *, every_s: float = 0.25) -> None:
    deadline = time.monotonic() + deadline_s
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {deadline_s:.0f} s")
        time.sleep(every_s)
