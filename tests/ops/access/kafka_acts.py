"""The acts that a credential may try on the broker. Each returns None when it was done, or the broker's refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ops.access.rights import ACCESS, EVERY_TOPIC, Principal
from ops.bench.rig.waiting import wait_until
from ops.stack.real import RealStack

ANSWER_S = 120.0
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class NoAnswer(Exception):
    """An act was neither done nor refused, so the test can't say."""


class Credential:
    """The clients of one user on one stack."""

    def __init__(self, stack: RealStack, principal: Principal) -> None:
        self.principal = principal
        self._options = {
            **stack.client_options(principal),
            "bootstrap.servers": stack.bootstrap_servers,
            "log_level": 0,
        }
        self._admin = AdminClient(self._options)

    def write(self, topic: str) -> KafkaError | None:
        """Write one record."""
        outcomes: list[KafkaError | None] = []

        def told(error: KafkaError | None, _message: Message) -> None:
            outcomes.append(error)

        producer = Producer({**self._options, "linger.ms": 0})
        producer.produce(topic, b"tried", b"key", on_delivery=told)
        producer.flush(ANSWER_S)
        return _only(outcomes)

    def read(self, topic: str, group: str) -> KafkaError | None:
        """Read a topic from its start to its end, as no group's member; only the library asks for the group."""
        consumer = Consumer({**self._options, "group.id": group, "enable.partition.eof": True})
        try:
            # Of a topic that it may not even see, the library waits to hear for ever. One that was just made has no
            # leader for a moment.
            wait_until(lambda: not _may_pass(_seen(consumer, topic)), ANSWER_S, f"a leader of {topic}")
            if (unseen := _seen(consumer, topic)) is not None:
                return unseen
            consumer.assign([TopicPartition(topic, 0, 0)])
            for message in iter(lambda: consumer.poll(ANSWER_S), None):
                error = message.error()
                if error is not None and not _may_pass(error):
                    return None if error.code() == KafkaError._PARTITION_EOF else error
        finally:
            consumer.close()
        raise NoAnswer(topic)

    def move_offsets(self, group: str, topic: str) -> KafkaError | None:
        """Commit as if this were a member that had read; whoever may do so can make a group pass over records."""
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
        return _refusal_of_offsets(self._admin.alter_consumer_group_offsets([wanted], request_timeout=ANSWER_S))

    def watch_offsets(self, group: str, topic: str) -> KafkaError | None:
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
        return _refusal_of_offsets(self._admin.list_consumer_group_offsets([wanted], request_timeout=ANSWER_S))

    def fence(self, transactional_id: str) -> KafkaError | None:
        """Shut out whoever writes under this id."""
        producer = Producer({**self._options, "transactional.id": transactional_id})
        return _refusal(lambda: producer.init_transactions(ANSWER_S))

    def administer(self, act: str) -> KafkaError | None:
        """Do one act of ADMINISTRATION."""
        return _refusal_in(ADMINISTRATION[act](self._admin, self.principal))


def _create_topic(admin: AdminClient, _: Principal) -> Mapping[Any, Future[Any]]:
    return admin.create_topics([NewTopic("made.by.nobody", 1, 1)], request_timeout=ANSWER_S)


def _delete_topic(admin: AdminClient, _: Principal) -> Mapping[Any, Future[Any]]:
    return admin.delete_topics(["labels.v1"], request_timeout=ANSWER_S)


def _delete_records(admin: AdminClient, principal: Principal) -> Mapping[Any, Future[Any]]:
    """Delete from a topic that the user may see; for another, the library would not find the leader to ask."""
    topic = (ACCESS[principal].writes + ACCESS[principal].reads + ACCESS[principal].keeps)[0]
    return admin.delete_records([TopicPartition(topic, 0, 0)], request_timeout=ANSWER_S)


def _shorten_retention(admin: AdminClient, _: Principal) -> Mapping[Any, Future[Any]]:
    shorter = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "decisions.v1", incremental_configs=[shorter])
    return admin.incremental_alter_configs([resource], request_timeout=ANSWER_S)


def _grant_itself(admin: AdminClient, principal: Principal) -> Mapping[Any, Future[Any]]:
    everything = AclBinding(
        ResourceType.TOPIC,
        "decisions.v1",
        ResourcePatternType.LITERAL,
        f"User:{principal}",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
    return admin.create_acls([everything], request_timeout=ANSWER_S)


def _take_over_the_administrator(admin: AdminClient, _: Principal) -> Mapping[Any, Future[Any]]:
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    wanted = UserScramCredentialUpsertion("fraud-admin", how, b"mine now")
    return admin.alter_user_scram_credentials([wanted], request_timeout=ANSWER_S)


ADMINISTRATION = {
    "create a topic": _create_topic,
    "delete a topic": _delete_topic,
    "delete records": _delete_records,
    "let decisions expire": _shorten_retention,
    "grant itself a right": _grant_itself,
    "set the administrator's password": _take_over_the_administrator,
}


def make_missing_topics(stack: RealStack) -> None:
    """Create the topics of the access table that the stack's own table doesn't have yet."""
    admin = AdminClient({**stack.admin_options, "bootstrap.servers": stack.bootstrap_servers})
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in (*EVERY_TOPIC, "_schemas")]).values():
        with contextlib.suppress(KafkaException):  # it is there
            future.result()


def is_denied(error: KafkaError | None) -> bool:
    """Return True for a refusal and False for an act that was done; anything else answers another question."""
    if error is None:
        return False
    if error.code() not in DENIED:
        raise NoAnswer(error.str())
    return True


def _seen(consumer: Consumer, topic: str) -> KafkaError | None:
    return consumer.list_topics(topic, timeout=ANSWER_S).topics[topic].error


def _may_pass(error: KafkaError | None) -> bool:
    """Whether it says nothing of rights: the library goes on by itself."""
    return error is not None and error.code() in (
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
    )


def _refusal_in(futures: Mapping[Any, Future[Any]]) -> KafkaError | None:
    return _refusal(lambda: [future.result(ANSWER_S) for future in futures.values()])


def _refusal_of_offsets(futures: Mapping[str, Future[ConsumerGroupTopicPartitions]]) -> KafkaError | None:
    """The answer may come partition by partition."""
    if (refused := _refusal_in(futures)) is not None:
        return refused
    answers = [future.result() for future in futures.values()]
    errors = [where.error for answer in answers for where in answer.topic_partitions or () if where.error is not None]
    return errors[0] if errors else None


def _refusal(act: Any) -> KafkaError | None:
    try:
        act()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        return error
    return None


def _only(outcomes: list[KafkaError | None]) -> KafkaError | None:
    if len(outcomes) != 1:
        raise NoAnswer(f"{len(outcomes)} outcomes")
    return outcomes[0]
