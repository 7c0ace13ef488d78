"""What holds for every Kafka client of the pipeline: its options, how long it waits, and what its failures mean.

Readers and writers of this package are made of these; nothing else in the pipeline makes a client.

- Isolation: every reader reads `read_committed`, Faust's included (`context_transport`).
- Failures: one family. `BrokerAway` may pass, so that a service holds and tries again; every other `BrokerFailed` does
  not, so that its process ends and says why.
- Time: a record's timestamp is what `timestamp_ms` says it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from pipeline.domain.log import Record, Source

Options = dict[str, Any]

ANSWER_S: Final = 10.0
"""For one question that a broker is asked: an idle one takes milliseconds, one that has just started seconds."""
COMPRESSION: Final = "lz4"
COMPRESSION_FOR_FAUST: Final = "none"
"""Of what Faust's agents read, the context topics: without a further library they can't read lz4."""

PASSING: Final = frozenset(
    {KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT}
)
"""A reader goes on by itself: the broker comes back, or the session ends."""
NO_COORDINATOR_YET: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""A broker that has just started may not know of its groups yet."""
TRANSIENT: Final = (
    PASSING
    | NO_COORDINATOR_YET
    | {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
"""The same question, or the same record, may succeed later. What is neither here nor retriable by librdkafka's own
word will fail again: a missing right, a fenced client, an offset that is no longer there."""


_NOT_THE_DEPLOYMENT_S: Final = (
    "auto.offset.reset",
    "enable.partition.eof",
    "group.instance.id",
    "partition.assignment.strategy",
    "transactional.id",
)
"""Tuning that a client can't do without. Options that people copy from another consumer's configuration would have it
skip a gap in the log (`auto.offset.reset` above all), or have two workers shut each other out."""


class BrokerFailed(Exception):
    """Kafka refused for good (fenced, forbidden, fatal, or out of attempts): whoever asked can't go on."""


class BrokerAway(BrokerFailed):
    """Kafka can't be reached, or not yet; another attempt may succeed."""


class TopicMissing(BrokerFailed):
    """The broker has no such topic."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic {topic}")
        self.topic = topic


def broker_failure(what: str, exception: KafkaException) -> BrokerFailed:
    """`exception` as one of ours; `what` failed."""
    error = exception.args[0]
    if not isinstance(error, KafkaError):
        return BrokerFailed(f"{what}: {error}")
    kind = BrokerAway if is_transient(error) else BrokerFailed
    return kind(f"{what}: {error.str()}")


def is_transient(error: KafkaError) -> bool:
    return not error.fatal() and (error.retriable() or error.code() in TRANSIENT)


def raise_unless_passing(error: KafkaError | None, what: str = "reading failed") -> None:
    """BrokerFailed for an error among a reader's messages that never heals by itself: an offset out of range, say."""
    if error is None:
        return
    if error.fatal() or not (error.retriable() or error.code() in PASSING):
        raise BrokerFailed(f"{what}: {error.str()}")


def client_options(
    bootstrap_servers: str, options: Mapping[str, str], tuning: Mapping[str, object] = MappingProxyType({})
) -> Options:
    """What every client is given. tuning: of one kind of client. options: the deployment's own, SASL and TLS for
    instance; they win over both."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "socket.nagle.disable": True,
        "retry.backoff.ms": 2,  # the default of 100 ms is what back-to-back transactions would wait for each other
        "retry.backoff.max.ms": 100,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 500,
        # By default librdkafka forgets its brokers when none answers. A producer then waits for ever for the group's
        # coordinator under its forgotten name (its issue 5511): most outages of over 10 s left a worker standing so.
        "metadata.recovery.strategy": "none",
        "log.connection.close": False,
        "log_level": 2,  # while a broker is away librdkafka says so every 13 ms; what matters is raised to us anyway
        **tuning,
        **options,
    }


def reader_options(
    bootstrap_servers: str,
    group: str,
    options: Mapping[str, str],
    tuning: Mapping[str, object] = MappingProxyType({}),
) -> Options:
    """Of every consumer. What correctness rests on stands last: committed records only, no position kept by the
    library, and no gap skipped."""
    return {
        **client_options(bootstrap_servers, options, tuning),
        "auto.offset.reset": "error",  # a gap between a position and the log is never skipped
        **_held(tuning),
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }


def writer_options(bootstrap_servers: str, options: Mapping[str, str], tuning: Mapping[str, object]) -> Options:
    """Of every producer. A retry inside the client writes nothing twice, and an acknowledgement is every replica's."""
    return {
        "compression.type": COMPRESSION,
        **client_options(bootstrap_servers, options, tuning),
        **_held(tuning),
        "enable.idempotence": True,
    }


def _held(tuning: Mapping[str, object]) -> Options:
    return {name: tuning[name] for name in _NOT_THE_DEPLOYMENT_S if name in tuning}


def admin_client(bootstrap_servers: str, options: Mapping[str, str]) -> AdminClient:
    return AdminClient(client_options(bootstrap_servers, options))


def partitions_of(client: Consumer | Producer | AdminClient, topic: str, timeout_s: float | None = None) -> list[int]:
    """The partitions of a topic, ascending. Raises TopicMissing, BrokerAway, BrokerFailed."""
    try:
        found = client.list_topics(topic, timeout=timeout_s or ANSWER_S).topics[topic]
        if found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(found.error)
    except KafkaException as exception:
        raise broker_failure(f"{topic} can't be read", exception) from exception
    if found.error is not None or not found.partitions:
        raise TopicMissing(topic)
    return sorted(found.partitions)


def require_broker(bootstrap_servers: str, options: Mapping[str, str]) -> None:
    """BrokerAway where none answers, BrokerFailed where it refuses."""
    try:
        admin_client(bootstrap_servers, options).list_topics(timeout=ANSWER_S)
    except KafkaException as exception:
        raise broker_failure("the broker was asked in vain", exception) from exception


def require_topics(client: Consumer | Producer | AdminClient, topics: Iterable[str]) -> None:
    """Raises what `partitions_of` raises for the first that can't be had."""
    for topic in topics:
        partitions_of(client, topic)


def timestamp_ms(message: Message) -> int:
    """Milliseconds since 1970 by whichever clock the topic is set to: its producer's (CreateTime, Kafka's default) or
    the broker's (LogAppendTime). A record without a timestamp, as by clients of before 2016, has -1."""
    return message.timestamp()[1]


def record_of(message: Message) -> Record:
    """A consumer's message that is no error. A tombstone has no value; a record may have no key."""
    partition, offset, key, value = message.partition(), message.offset(), message.key(), message.value()
    assert partition is not None, "a record has a place"
    assert offset is not None, "a record has a place"
    assert not isinstance(key, str), "raw bytes were asked for"
    assert not isinstance(value, str), "raw bytes were asked for"
    return Record(key, value, Source(partition, offset, timestamp_ms(message)))
