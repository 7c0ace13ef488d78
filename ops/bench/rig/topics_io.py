"""The topics of a bench, and a group's progress on them, asked for outside the system under measurement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops.stack.topics import create_topics
from pipeline.domain.log import Header

REQUEST_TIMEOUT_S: Final = 30.0
LED_S: Final = 120.0
"""Time until each partition has a leader again. A broker that stood still on a busy machine is fenced by its
controller, and answers meanwhile that there is none."""
LED_POLL_S: Final = 0.1
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


def partitions_of(client: Consumer, topic: str) -> list[int]:
    """Return the topic's partitions once each has a leader: an answer without some of them isn't one about them all.

    Raises TimeoutError where that takes too long, and KafkaException where no broker answers.
    """
    deadline_s = time.monotonic() + LED_S
    while (found := _led(client, topic)) is None:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"some partitions of {topic} had no leader for {LED_S:.0f} s")
        time.sleep(LED_POLL_S)
    return found


def _led(client: Consumer, topic: str) -> list[int] | None:
    """Return the topic's partitions, or None while one has no leader, or nobody knows of any."""
    found = client.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
    is_led = found.error is None and found.partitions and all(each.leader >= 0 for each in found.partitions.values())
    return sorted(found.partitions) if is_led else None


def committed_counts(bootstrap_servers: str, group: str, topic: str) -> int:
    """Count the records of the topic that the group has committed.

    It is 0 while its coordinator is sought, or is silent, or a partition has no leader.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    try:
        where = [TopicPartition(topic, partition) for partition in _led(consumer, topic) or ()]
        stored = consumer.committed(where, timeout=REQUEST_TIMEOUT_S) if where else ()
        return sum(max(place.offset, 0) for place in stored)
    except KafkaException as exception:
        if exception.args[0].code() in NO_COORDINATOR_YET:
            return 0
        raise
    finally:
        consumer.close()
