"""The settings of topics that deciding rests on, asked of the broker: whose clock stamps records, and what is kept.

With LogAppendTime the broker stamps them, so no publisher can move time: neither ahead, which would make every later
payment of the partition look late, nor back, which would have retention delete the record undecided. Replays of old
payments need CreateTime, and so topics of their own (`fraud topics create --history`), which production refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerFailed, broker_failure
from pipeline.io.partitioner import Partitioning
from pipeline.io.settings import Profile, Settings

TIMESTAMP_TYPE: Final = "message.timestamp.type"
LOG_APPEND_TIME: Final = "LogAppendTime"
CREATE_TIME: Final = "CreateTime"
STAMPED_TOPICS: Final = ("transactions.v1", "accounts.v1", "risk_signals.v1", "labels.v1")
"""Topics that others publish to and that the worker decides by."""
SWITCHES_TOPIC: Final = "breaker_switches.v1"
BREAKER_HOURS_TOPIC: Final = "breaker_hours.v1"
CLEANUP_POLICY: Final = "cleanup.policy"
UNCLEAN_ELECTION: Final = "unclean.leader.election.enable"
"""Whether a replica that lacks acknowledged records may lead. It gives their offsets out anew."""
COMPACT: Final = "compact"
DELETE: Final = "delete"
LABELS_TOPIC: Final = "labels.v1"
CLEANUP_OF: Final = MappingProxyType(
    {"transactions.v1": DELETE, "accounts.v1": COMPACT, "risk_signals.v1": COMPACT, LABELS_TOPIC: DELETE}
)
"""How each topic may lose records, so that those that are left tell the truth."""
FOR_EVER: Final = -1
LABELS_KEPT_DAYS: Final = 76
"""For which labels must be kept beside the label delay: as long as the state knows a beneficiary (docs/state.md)."""
DAY_MS: Final = 86_400_000
_MOCK_CLUSTER_PREFIX: Final = "mockCluster"


class Clock(StrEnum):
    """Whose clock stamps the records of a topic."""

    LOG = "the broker's clock"
    HISTORY = "the publishers' clock, by `fraud topics create --history`"
    UNSET = "the publishers' clock, because nothing was set"
    EMBEDDED = "the publishers' clock, because the embedded broker has no settings"


class TopicsUnfit(BrokerFailed):
    """The topics are not as deciding needs them; the message says what differs."""


def is_embedded(admin: AdminClient) -> bool:
    """Whether the broker is librdkafka's mock cluster, which has no settings of topics."""
    cluster_id = admin.list_topics(timeout=client.ANSWER_S).cluster_id
    return cluster_id is not None and cluster_id.startswith(_MOCK_CLUSTER_PREFIX)


def clocks_of(settings: Settings, names: Iterable[str]) -> dict[str, Clock]:
    """Return the clock of each topic; `names` have no prefix. Raises BrokerAway, BrokerFailed, TopicMissing."""
    admin = client.admin_client(settings.bootstrap_servers, settings.kafka_options)
    try:
        if is_embedded(admin):
            return dict.fromkeys(names, Clock.EMBEDDED)
        resources = {name: ConfigResource(ResourceType.TOPIC, settings.topic(name)) for name in names}
        client.require_topics(admin, map(settings.topic, resources))
        answers = admin.describe_configs(list(resources.values()), request_timeout=client.ANSWER_S)
        return {name: _clock(answers[resource].result()) for name, resource in resources.items()}
    except KafkaException as exception:
        raise broker_failure("the settings of the topics can't be read", exception) from exception


def require_log_clock(settings: Settings) -> None:
    """Raise TopicsUnfit where the production profile meets a topic that its publishers stamp."""
    if settings.profile is not Profile.PRODUCTION:
        return
    stamped = {name: clock for name, clock in clocks_of(settings, STAMPED_TOPICS).items() if clock is not Clock.LOG}
    if stamped:
        told = "; ".join(f"{name} has {clock}" for name, clock in stamped.items())
        raise TopicsUnfit(f"{TIMESTAMP_TYPE} must be {LOG_APPEND_TIME} in production, but {told}")


def require_kept_switches(settings: Settings) -> None:
    """Raise TopicsUnfit where people's switches would be forgotten: their topic must be compacted, and nothing else.

    In production its records bear the broker's time, too: a release that says its own could be of before a revocation.
    The embedded broker keeps nothing, and says so elsewhere. Raises BrokerAway, BrokerFailed, TopicMissing too.
    """
    admin, topic = client.admin_client(settings.bootstrap_servers, settings.kafka_options), SWITCHES_TOPIC
    try:
        client.require_topics(admin, [settings.topic(topic)])
        if is_embedded(admin):
            return
        resource = ConfigResource(ResourceType.TOPIC, settings.topic(topic))
        found = admin.describe_configs([resource], request_timeout=client.ANSWER_S)[resource].result()
    except KafkaException as exception:
        raise broker_failure(f"the settings of {topic} can't be read", exception) from exception
    if found[CLEANUP_POLICY].value != COMPACT:
        is_now = found[CLEANUP_POLICY].value
        raise TopicsUnfit(
            f"{CLEANUP_POLICY} of {topic} must be {COMPACT}, or a kill switch is forgotten, but is {is_now}"
        )
    if settings.profile is Profile.PRODUCTION and (clock := _clock(found)) is not Clock.LOG:
        raise TopicsUnfit(
            f"{TIMESTAMP_TYPE} of {topic} must be {LOG_APPEND_TIME} in production, or whoever throws a switch says "
            f"when, but it has {clock}"
        )


def require_kept_context(settings: Settings) -> None:
    """Raise TopicsUnfit where a topic forgets, or keeps too little of, what a rebuild takes for all that there is.

    What was deleted from a topic of context is as if it had never been stated: no report, no fraud. A compacted topic
    keeps one label of each payee, and one payment of each account. The embedded broker keeps nothing, and says so
    elsewhere. Raises BrokerAway, BrokerFailed, TopicMissing too.
    """
    admin = client.admin_client(settings.bootstrap_servers, settings.kafka_options)
    resources = {name: ConfigResource(ResourceType.TOPIC, settings.topic(name)) for name in CLEANUP_OF}
    try:
        if is_embedded(admin):
            return
        client.require_topics(admin, map(settings.topic, resources))
        answers = admin.describe_configs(list(resources.values()), request_timeout=client.ANSWER_S)
        found = {name: answers[resource].result() for name, resource in resources.items()}
    except KafkaException as exception:
        raise broker_failure("the settings of the topics can't be read", exception) from exception
    for name, wanted in CLEANUP_OF.items():
        if (is_now := found[name][CLEANUP_POLICY].value) != wanted:
            raise TopicsUnfit(f"{CLEANUP_POLICY} of {name} must be {wanted}, or what it says is lost, but is {is_now}")
        elects = found[name].get(UNCLEAN_ELECTION)  # some brokers have no such setting
        if elects is not None and elects.value == "true":
            raise TopicsUnfit(
                f"{UNCLEAN_ELECTION} of {name} must be false, or acknowledged records are lost, but is true"
            )
    least_ms = (settings.label_delay_days + LABELS_KEPT_DAYS) * DAY_MS
    for setting, least in (("retention.ms", least_ms), ("retention.bytes", None)):
        is_now = int(found[LABELS_TOPIC][setting].value or 0)
        if is_now != FOR_EVER and (least is None or is_now < least):
            enough = "" if least is None else f", or at least {least}"
            wanted = f"{FOR_EVER}{enough}"
            raise TopicsUnfit(
                f"{setting} of {LABELS_TOPIC} must be {wanted}, or a rebuild knows less fraud, but is {is_now}"
            )


def partitioning_of(settings: Settings) -> Partitioning:
    """Return the partitioning of transactions.v1.

    Raises TopicsUnfit where decisions.v1 has another number of partitions, and BrokerAway, BrokerFailed, TopicMissing.
    """
    admin = client.admin_client(settings.bootstrap_servers, settings.kafka_options)
    incoming, outgoing = (
        len(client.partitions_of(admin, settings.topic(name))) for name in ("transactions.v1", "decisions.v1")
    )
    if incoming != outgoing:
        raise TopicsUnfit(f"transactions.v1 has {incoming} partitions, and decisions.v1 {outgoing}; they must be equal")
    return Partitioning(settings.partitioner, incoming)


def _clock(found: Mapping[str, ConfigEntry]) -> Clock:
    entry = found[TIMESTAMP_TYPE]
    if entry.value == LOG_APPEND_TIME:
        return Clock.LOG
    is_set_on_topic = ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG  # the library gives a number
    return Clock.HISTORY if is_set_on_topic else Clock.UNSET
