"""The topics of a bench, and a group's progress on them, asked for outside the system under measurement."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops.stack.topics import create_topics
from pipeline.domain.log import Header

REQUEST_TIMEOUT_S: Final = 30.0
NO_COORDINATOR_YET: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._TIMED_OUT,
)
"""Errors for a moment after a group's first use, and after a broker's start; then it may be silent, too. Whoever asks
again has a limit of its own."""


class Outbound(NamedTuple):
    key: bytes
    value: bytes
    timestamp_ms: int
    headers: list[Header] | None = None


def prepare_topics(
    bootstrap_servers: str,
    prefix: str,
    partitions: int = 4,
    client_settings: Mapping[str, str] = MappingProxyType({}),
    *,
    replication_factor: int = 1,
) -> None:
    """Create the project's topics under a prefix, for history, because a bench may replay records of years ago."""
    create_topics(
        bootstrap_servers,
        partitions=partitions,
        prefix=prefix,
        replication_factor=replication_factor,
        is_history=True,
        client_settings=client_settings,
    )


def committed_counts(bootstrap_servers: str, group: str, topic: str) -> int:
    """Count the records of the topic that the group has committed; 0 while its coordinator is sought, or is silent."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        where = [TopicPartition(topic, partition) for partition in partitions]
        return sum(max(p.offset, 0) for p in consumer.committed(where, timeout=REQUEST_TIMEOUT_S))
    except KafkaException as exception:
        if exception.args[0].code() in NO_COORDINATOR_YET:
            return 0
        raise
    finally:
        consumer.close()
