"""The topics: what each holds, how long and why; and one idempotent call that creates and verifies them."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from ops.stack.versions import MESSAGE_MAX_BYTES
from pipeline.io.kafka.client import admin_client
from pipeline.io.kafka.topic_settings import (
    CREATE_TIME,
    LOG_APPEND_TIME,
    STAMPED_TOPICS,
    TIMESTAMP_TYPE,
    UNCLEAN_ELECTION,
    is_embedded,
)

PARTITIONS_DEFAULT: Final = 4
MOCK_PARTITIONS: Final = 4  # librdkafka's mock cluster gives every topic this many; no setting changes it
REQUEST_TIMEOUT_S: Final = 60.0
VISIBLE_DEADLINE_S: Final = 60.0  # time from a topic's creation until every partition of it has a leader
POLL_INTERVAL_S: Final = 0.05
FOR_EVER: Final = -1
DAY_MS: Final = 24 * 60 * 60 * 1000
AHEAD_MS_MAX: Final = 60 * 60 * 1000
"""How far ahead of the broker's clock a publisher may stamp a record, where it is the publisher that stamps it."""


class Cleanup(StrEnum):
    DELETE = "delete"  # records are deleted once they are past the retention
    COMPACT = "compact"  # the latest record of each key stays for ever


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. is_partitioned: it has as many partitions as transactions.v1, else one. retention_ms: unused where
    it is compacted."""

    name: str
    is_partitioned: bool
    cleanup: Cleanup
    retention_ms: int
    message_max_bytes: int
    why: str


# A dead letter carries the record that it is about, so incoming records must stay well below its own limit.
_TRANSACTION_MAX_BYTES = MESSAGE_MAX_BYTES * 3 // 4
_RECORD_MAX_BYTES = 1024 * 1024

TOPICS: Final[tuple[Topic, ...]] = (
    Topic(
        "transactions.v1",
        True,
        Cleanup.DELETE,
        45 * DAY_MS,
        _TRANSACTION_MAX_BYTES,
        "the state in Redis is rebuilt from it: windows reach back 37 days (30, and 7 of label delay), a week to spare",
    ),
    Topic(
        "decisions.v1",
        True,
        Cleanup.DELETE,
        FOR_EVER,
        MESSAGE_MAX_BYTES,
        "the record of what was decided and why; a decision embeds its transaction, so it may weigh more than that",
    ),
    Topic(
        "transactions.dead.v1",
        False,
        Cleanup.DELETE,
        90 * DAY_MS,
        MESSAGE_MAX_BYTES,
        "a quarter to look into what could not be decided; the payloads are encrypted",
    ),
    Topic("alerts.v1", False, Cleanup.DELETE, 90 * DAY_MS, _RECORD_MAX_BYTES, "a quarter of what on-call was told"),
    Topic(
        "accounts.v1",
        False,
        Cleanup.COMPACT,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "the latest profile of each account, keyed by it: a rebuild reads them all",
    ),
    Topic(
        "risk_signals.v1",
        False,
        Cleanup.COMPACT,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "the latest report on each address or device, keyed by it: a rebuild reads them all",
    ),
    Topic(
        "labels.v1",
        False,
        Cleanup.DELETE,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "what turned out to be fraud: state is rebuilt from it and models are trained on it",
    ),
    Topic(
        "anchors.v1",
        False,
        Cleanup.DELETE,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "signed heads of the audit log, where a superuser of the database can't reach them",
    ),
    Topic(
        "witness.v1",
        False,
        Cleanup.DELETE,
        FOR_EVER,
        MESSAGE_MAX_BYTES,
        "what the witness has seen of those heads, which only it can write: not even the audit log's key rewrites it",
    ),
    Topic(
        "breaker_switches.v1",
        False,
        Cleanup.COMPACT,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "people's latest word on each scope of the breaker, keyed by it: the kill switch, whatever becomes of Redis",
    ),
    Topic(
        "breaker_hours.v1",
        False,
        Cleanup.COMPACT,
        FOR_EVER,
        _RECORD_MAX_BYTES,
        "what the model answered in each of the last 192 hours: the breaker's yardstick, whatever becomes of Redis",
    ),
    Topic(
        "shadow.v1",
        True,
        Cleanup.DELETE,
        90 * DAY_MS,
        _RECORD_MAX_BYTES,
        "what a challenger would have answered, by which nobody decides; a quarter to look, the database has the rest",
    ),
    Topic(
        "executions.v1",
        True,
        Cleanup.DELETE,
        90 * DAY_MS,
        _RECORD_MAX_BYTES,
        "where each payment stands, for upstream systems; a quarter to catch up in, the ledger has the rest",
    ),
)


class TopicOutcome(StrEnum):
    CREATED = "created"
    MATCHES = "matches"  # it existed, as the table says
    DIFFERS = "differs"  # it existed, but not as the table says, and was left as it is
    TOUCHED = "touched"  # on the mock broker, asking for it has made it, without settings


@dataclass(frozen=True, slots=True)
class TopicReport:
    """The outcome for one topic.

    differences: sentences such as "retention.ms is 604800000, should be 3888000000"; empty unless DIFFERS.
    """

    name: str
    outcome: TopicOutcome
    differences: tuple[str, ...] = ()


class TopicsFailed(Exception):
    """The broker could not be reached, or refused to create a topic."""


def create_topics(
    bootstrap_servers: str,
    *,
    partitions: int = PARTITIONS_DEFAULT,
    prefix: str = "",
    replication_factor: int = 1,
    is_history: bool = False,
    client_settings: Mapping[str, str] | None = None,
) -> list[TopicReport]:
    """Create what is missing and compare what is there, in the order of TOPICS; nothing that exists is changed.

    partitions: how many transactions.v1, decisions.v1 and executions.v1 have; the other topics have one. prefix: put
    before every name. is_history: the topics take in records of long ago, with their publishers' timestamps.
    client_settings: librdkafka's own, for security. Raises TopicsFailed.
    """
    admin = admin_client(bootstrap_servers, client_settings or {})
    wanted = [_new_topic(topic, prefix, partitions, replication_factor, is_history) for topic in TOPICS]
    try:
        if is_embedded(admin):
            return _touch(admin, wanted)
        created = _create_missing(admin, wanted)
        _wait_until_led(admin, wanted)
        return [
            TopicReport(topic.topic, TopicOutcome.CREATED) if topic.topic in created else _compare(admin, topic)
            for topic in wanted
        ]
    except KafkaException as failure:
        raise TopicsFailed(f"The topics could not be made on {bootstrap_servers}: {_sentence(failure)}") from failure


def topic_settings(topic: Topic, replication_factor: int, is_history: bool = False) -> dict[str, str]:
    """Return the topic's own settings, by Kafka's names for them.

    A history topic that others publish to keeps the publishers' timestamps, and its records for ever: by their
    timestamps they would be past any retention.
    """
    is_stamped_by_publishers = is_history and topic.name in STAMPED_TOPICS
    settings = {
        TIMESTAMP_TYPE: CREATE_TIME if is_stamped_by_publishers else LOG_APPEND_TIME,
        "message.timestamp.after.max.ms": str(AHEAD_MS_MAX),
        "cleanup.policy": topic.cleanup.value,
        "max.message.bytes": str(topic.message_max_bytes),
        # An acknowledged write outlives the loss of one replica, and one may be down for upkeep.
        "min.insync.replicas": str(max(1, replication_factor - 1)),
        UNCLEAN_ELECTION: "false",
    }
    if topic.cleanup is Cleanup.DELETE:
        settings["retention.ms"] = str(FOR_EVER if is_stamped_by_publishers else topic.retention_ms)
    return settings


def _new_topic(topic: Topic, prefix: str, partitions: int, replication_factor: int, is_history: bool) -> NewTopic:
    return NewTopic(
        prefix + topic.name,
        num_partitions=partitions if topic.is_partitioned else 1,
        replication_factor=replication_factor,
        config=topic_settings(topic, replication_factor, is_history),
    )


def _touch(admin: AdminClient, wanted: Sequence[NewTopic]) -> list[TopicReport]:
    for topic in wanted:
        admin.list_topics(topic.topic, timeout=REQUEST_TIMEOUT_S)
    return [TopicReport(topic.topic, TopicOutcome.TOUCHED) for topic in wanted]


def _create_missing(admin: AdminClient, wanted: Sequence[NewTopic]) -> set[str]:
    """Create the topics that are missing, and return their names; one that existed is no failure."""
    created = set()
    futures: dict[str, Future[None]] = admin.create_topics(list(wanted), request_timeout=REQUEST_TIMEOUT_S)
    for name, future in futures.items():
        try:
            future.result()
            created.add(name)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def _wait_until_led(admin: AdminClient, wanted: Sequence[NewTopic]) -> None:
    deadline = time.monotonic() + VISIBLE_DEADLINE_S
    while missing := [topic.topic for topic in wanted if not _is_led(admin, topic)]:
        if time.monotonic() > deadline:
            raise TopicsFailed(f"No leader after {VISIBLE_DEADLINE_S:g} s for {', '.join(missing)}.")
        time.sleep(POLL_INTERVAL_S)


def _is_led(admin: AdminClient, topic: NewTopic) -> bool:
    found = _metadata(admin, topic.topic)
    return found.error is None and bool(found.partitions) and all(p.leader >= 0 for p in found.partitions.values())


def _compare(admin: AdminClient, topic: NewTopic) -> TopicReport:
    partitions = len(_metadata(admin, topic.topic).partitions)
    resource = ConfigResource(ResourceType.TOPIC, topic.topic)
    futures: dict[ConfigResource, Future[Any]] = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
    found = {name: entry.value for name, entry in futures[resource].result().items()}
    pairs = [("the number of partitions", str(partitions), str(topic.num_partitions))]
    pairs += [(name, found[name], value) for name, value in (topic.config or {}).items()]
    differences = tuple(f"{name} is {is_now}, should be {should}" for name, is_now, should in pairs if is_now != should)
    return TopicReport(topic.topic, TopicOutcome.DIFFERS if differences else TopicOutcome.MATCHES, differences)


def _metadata(admin: AdminClient, name: str) -> TopicMetadata:
    return admin.list_topics(name, timeout=REQUEST_TIMEOUT_S).topics[name]


def _sentence(failure: KafkaException) -> str:
    error = failure.args[0]
    return str(error.str() if isinstance(error, KafkaError) else error)
