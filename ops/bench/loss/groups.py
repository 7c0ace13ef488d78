"""The members of a consumer group and its committed offsets, as its coordinator knows and changes them."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._group import ConsumerGroupDescription

from ops.bench.rig.topics_io import NO_COORDINATOR_YET, REQUEST_TIMEOUT_S


def partitions_held(bootstrap_servers: str, group: str, slot: int) -> int:
    """Count the partitions that the worker of a slot has; 0 while the brokers still look for the group."""
    description = _described(bootstrap_servers, group)
    if description is None:
        return 0
    members = (member for member in description.members if member.group_instance_id == f"{group}-{slot}")
    return sum(len(member.assignment.topic_partitions) for member in members)


def is_empty(bootstrap_servers: str, group: str) -> bool:
    """Return whether the group has no member, so that its offsets can be changed; a static one outlives its end.

    While the brokers still look for the group it isn't known to be empty.
    """
    description = _described(bootstrap_servers, group)
    return description is not None and not description.members


def delete_offsets(bootstrap_servers: str, group: str) -> None:
    """Delete all that the group has committed, with the group."""
    admin = _admin(bootstrap_servers)
    admin.delete_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S)


def move_offsets(bootstrap_servers: str, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    wanted = [ConsumerGroupTopicPartitions(group, places)]
    admin = _admin(bootstrap_servers)
    admin.alter_consumer_group_offsets(wanted)[group].result(REQUEST_TIMEOUT_S)


def _described(bootstrap_servers: str, group: str) -> ConsumerGroupDescription | None:
    """Return what the coordinator says, or None while there is none or it is silent."""
    admin = _admin(bootstrap_servers)  # held until it has answered: its end is also that of its questions
    try:
        description: ConsumerGroupDescription = admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S)
    except TimeoutError:
        return None
    except KafkaException as exception:
        if exception.args[0].code() in NO_COORDINATOR_YET:
            return None
        raise
    return description


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
