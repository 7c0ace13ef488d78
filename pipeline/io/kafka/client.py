"""The rules for every Kafka client of the pipeline: its options, how long it waits, and what its failures mean.

The readers and writers of this package are made with them; nothing else in the pipeline makes a client.

- Isolation: every reader reads `read_committed`, Faust's included (`context_transport`).
- Failures: there is one family. `BrokerAway` may pass, so a service holds and tries again. Any other `BrokerFailed`
  does not pass, so the process ends and says why.
- Time: `timestamp_ms` defines a record's timestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import methodcaller
from types import MappingProxyType
from typing import Any, Final

import structlog
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from pipeline.domain.log import SCHEMA_HEADER, SEAL_HEADER, TRACE_HEADER, Presented, Record, Source
from pipeline.io.avro.writers import HEADER_BYTES, SINGLE_OBJECT
from pipeline.io.partitioner import Partitioner

log = structlog.get_logger("kafka")

Options = dict[str, Any]

LEAVING_POLL_S: Final = 0.05
LEAVING_POLLS: Final = 3
LEAVING_POLLS_MAX: Final = 40
_READ_HEADERS: Final = frozenset({SEAL_HEADER, TRACE_HEADER, SCHEMA_HEADER})
ANSWER_S: Final = 10.0
"""Time limit of one question to a broker. An idle one takes milliseconds, one that has just started seconds."""
COMPRESSION: Final = "lz4"
COMPRESSION_FOR_FAUST: Final = "none"
"""Compression of the context topics. Faust's agents read them, and can't read lz4 without a further library."""

PASSING: Final = frozenset(
    {KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT}
)
"""Errors after which a reader goes on by itself: the broker comes back, or the session ends."""
STARTING: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)
"""Errors of a broker that has just started, or just made a topic, and may not know yet of the groups and partitions
that it leads."""
TRANSIENT: Final = (
    PASSING
    | STARTING
    | {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
"""Errors after which the same question, or the same record, may succeed later. An error that is neither here nor
retriable according to librdkafka will recur: a missing right, a fenced client, an offset that is no longer there."""


_NOT_THE_DEPLOYMENT_S: Final = (
    "auto.offset.reset",
    "enable.partition.eof",
    "group.instance.id",
    "max.in.flight.requests.per.connection",
    "partition.assignment.strategy",
    "transactional.id",
)
"""Tuning that a client can't do without. Options that people copy from another consumer's configuration would have it
skip a gap in the log (`auto.offset.reset` above all), or have two workers shut each other out."""


class BrokerFailed(Exception):
    """Kafka refused for good (fenced, forbidden, fatal, or out of attempts), so the caller can't go on."""


class BrokerAway(BrokerFailed):
    """Kafka can't be reached at the moment; another attempt may succeed."""


class TopicMissing(BrokerFailed):
    """The broker has no such topic."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic {topic}")
        self.topic = topic


RebalanceCallback = Callable[[Consumer, list[TopicPartition]], None]


def raising_whole(callback: RebalanceCallback) -> RebalanceCallback:
    """Make a rebalance callback raise what it raises as an exception.

    The error of a client's own call, say a question that timed out, would leave `consume` or `close` as a bare
    KafkaError, which is no exception: no `except` meets it, so its thread dies and whoever waits for that waits for
    ever. Caught and raised anew, it is one.
    """

    def call(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            callback(consumer, partitions)
        except KafkaException as error:
            raise KafkaException(*error.args) from error

    return call


def leave_group(consumer: Consumer) -> None:
    """Close a consumer that belongs to a group, within seconds.

    What the group hands over or takes back meanwhile is answered first. A rebalance callback that runs within `close`
    asks a thread that may have let go of the group already, and waits for ever. A consumer that was fenced belongs to
    no group any more.
    """
    try:
        consumer.unsubscribe()
    except KafkaException as failure:
        log.warning("group_left_already", why=str(failure))
        consumer.close()
        return
    for number in range(LEAVING_POLLS_MAX):
        consumer.poll(LEAVING_POLL_S)
        if number + 1 >= LEAVING_POLLS and not consumer.assignment():
            break
    consumer.close()


def broker_failure(what: str, exception: KafkaException) -> BrokerFailed:
    """Turn `exception` into one of ours; `what` says what failed."""
    error = exception.args[0]
    if not isinstance(error, KafkaError):
        return BrokerFailed(f"{what}: {error}")
    kind = BrokerAway if is_transient(error) else BrokerFailed
    return kind(f"{what}: {error.str()}")


def is_transient(error: KafkaError) -> bool:
    return not error.fatal() and (error.retriable() or error.code() in TRANSIENT)


def raise_unless_passing(error: KafkaError | None, what: str = "reading failed") -> None:
    """Raise BrokerFailed for an error among a reader's messages that never heals by itself.

    An offset out of range is such an error.
    """
    if error is None:
        return
    if error.fatal() or not (error.retriable() or error.code() in PASSING):
        raise BrokerFailed(f"{what}: {error.str()}")


def client_options(
    bootstrap_servers: str, options: Mapping[str, str], tuning: Mapping[str, object] = MappingProxyType({})
) -> Options:
    """Return the options of every client.

    tuning: options of one kind of client. options: those of the deployment, such as SASL and TLS, which win over both.
    """
    return {
        "bootstrap.servers": bootstrap_servers,
        "socket.nagle.disable": True,
        "retry.backoff.ms": 2,  # back-to-back transactions would wait for each other for the default of 100 ms
        "retry.backoff.max.ms": 100,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 500,
        "log.connection.close": False,
        "log_level": 2,  # while a broker is away librdkafka says so every 13 ms; it raises what matters anyway
        **tuning,
        **options,
    }


def reader_options(
    bootstrap_servers: str,
    group: str,
    options: Mapping[str, str],
    tuning: Mapping[str, object] = MappingProxyType({}),
) -> Options:
    """Return the options of every consumer.

    The options that correctness rests on stand last: the library reads committed records only, keeps no position, and
    skips no gap.
    """
    return {
        **client_options(bootstrap_servers, options, tuning),
        "auto.offset.reset": "error",  # a gap between a position and the log is never skipped
        **_held(tuning),
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }


def writer_options(
    bootstrap_servers: str, options: Mapping[str, str], partitioner: Partitioner, tuning: Mapping[str, object]
) -> Options:
    """Return the options of every producer.

    A retry inside the client writes nothing twice, every replica acknowledges, and every producer puts a key on the
    same partition.
    """
    return {
        "compression.type": COMPRESSION,
        **client_options(bootstrap_servers, options, tuning),
        **_held(tuning),
        "enable.idempotence": True,
        "partitioner": partitioner.librdkafka_name,
    }


def _held(tuning: Mapping[str, object]) -> Options:
    return {name: tuning[name] for name in _NOT_THE_DEPLOYMENT_S if name in tuning}


def admin_client(bootstrap_servers: str, options: Mapping[str, str]) -> AdminClient:
    return AdminClient(client_options(bootstrap_servers, options))


def members_of(bootstrap_servers: str, group: str, options: Mapping[str, str]) -> int:
    """Return how many members a consumer group has; 0 where no broker says."""
    admin = admin_client(bootstrap_servers, options)
    try:
        described = admin.describe_consumer_groups([group], request_timeout=ANSWER_S)[group].result()
    except KafkaException:
        return 0
    return len(described.members)


def partitions_of(client: Consumer | Producer | AdminClient, topic: str, timeout_s: float | None = None) -> list[int]:
    """Return the partitions of a topic, ascending. Raises TopicMissing, BrokerAway, BrokerFailed."""
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
    """Raise BrokerAway where no broker answers, BrokerFailed where one refuses."""
    try:
        admin_client(bootstrap_servers, options).list_topics(timeout=ANSWER_S)
    except KafkaException as exception:
        raise broker_failure("the broker was asked in vain", exception) from exception


def require_topics(client: Consumer | Producer | AdminClient, topics: Iterable[str]) -> None:
    """Raise what `partitions_of` raises, for the first topic that can't be had."""
    for topic in topics:
        partitions_of(client, topic)


def timestamp_ms(message: Message) -> int:
    """Return the milliseconds since 1970 by the clock that the topic is set to.

    It is the producer's clock (CreateTime, Kafka's default) or the broker's (LogAppendTime). A record without a
    timestamp, as clients of before 2016 wrote it, has -1.
    """
    return message.timestamp()[1]


def record_of(message: Message) -> Record:
    """Return a message that is no error as a record. A tombstone has no value; a record may have no key.

    A value whose schema a header names gets that name in front (pipeline.io.avro.writers). Nobody looks for the header
    where single-object encoding says it, as nearly everywhere: no body that comes from outside can begin like that.
    """
    partition, offset, key, value = message.partition(), message.offset(), message.key(), message.value()
    assert partition is not None, "a record has a place"
    assert offset is not None, "a record has a place"
    assert not isinstance(key, str), "raw bytes were asked for"
    assert not isinstance(value, str), "raw bytes were asked for"
    if value and value[:2] != SINGLE_OBJECT:  # 50 ns; headers take 300
        value = _with_schema(message, value)
    return Record(key, value, Source(partition, offset, timestamp_ms(message)))


def _with_schema(message: Message, value: bytes) -> bytes:
    """Return the value behind the name of its schema, and let go of the headers that nobody here reads.

    Of a record of 1 MB they may take tens of MB once read, and a reader holds many messages.
    """
    headers = ordered_headers(message)
    if not headers:
        return value
    kept = [(header[0], header[1]) for header in headers if header[0] in _READ_HEADERS]
    if len(kept) < len(headers):
        message.set_headers(kept)
    return named(value, dict(kept).get(SCHEMA_HEADER))


def named(value: bytes, name: str | bytes | None) -> bytes:
    """Return a value behind the name of its schema, which SCHEMA_HEADER holds; None: it has no such header.

    A name that is neither an id nor a GUID gives a value without a framing that is known, which is refused.
    """
    if name is None:
        return value
    if isinstance(name, bytes) and len(name) == HEADER_BYTES.get(name[:1]):
        return name + value
    return b"\xff" + value


def presented(topic: str, message: Message) -> Presented:
    """Return a message that is no error with what says who wrote it. Of several seals the last one counts."""
    key, value, source = record_of(message)
    seal = headers_of(message).get(SEAL_HEADER)
    is_stamped = message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
    sealed = seal if isinstance(seal, bytes) else None
    return Presented(topic, *source, is_stamped, key, value or b"", sealed)


# A call from C looks whether an error was set beside the result.
_read_headers: Final = methodcaller("headers")


def headers_of(message: Message) -> dict[str, str | bytes | None]:
    """Return a message's headers by name, the last of each; none where one has a name that is not UTF-8."""
    return dict(ordered_headers(message))


def ordered_headers(message: Message) -> Sequence[tuple[str, str | bytes | None]]:
    """Return a message's headers in their order; none where one has a name that is not UTF-8.

    For such a name, which anybody who may write can send, the library (confluent-kafka 2.16) sets an error and still
    hands out what it had half made, at which a process that touches it dies. The caller is whom the error reaches, as
    a SystemError, and the interpreter's own fast path for a method that is called often doesn't look for it. So the
    method is never called from here directly; and as the library keeps what it had half made, it is taken away.
    """
    try:
        found = _read_headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        message.set_headers([])
        return ()
    return list(found.items()) if isinstance(found, dict) else found


def traceparent_of(message: Message) -> bytes | None:
    """Return a message's TRACE_HEADER, which anybody may have written; None where it has none, or more than one."""
    found = [header[1] for header in ordered_headers(message) if header[0] == TRACE_HEADER]
    return found[0] if len(found) == 1 and isinstance(found[0], bytes) else None
