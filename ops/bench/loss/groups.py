"""The members of a consumer group, as its coordinator knows them."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S


def partitions_held(bootstrap_servers: str, group: str, slot: int) -> int:
    """Count the partitions that the worker of a slot has."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    description = admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S)
    members = (member for member in description.members if member.group_instance_id == f"{group}-{slot}")
    return sum(len(member.assignment.topic_partitions) for member in members)
