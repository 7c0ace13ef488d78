"""Three brokers and a Redis Cluster of three masters with a replica each, and which process has which part in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka.admin import AdminClient

from ops.bench.rig.supervision import stop_all
from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.kafka.broker import Node, kafka_cluster
from ops.stack.redis_cluster import RedisCluster, running_cluster
from ops.stack.redis_server import Persistence, system_executable

BROKERS: Final = 3
PERSISTENCE: Final = Persistence.APPEND_EVERY_SECOND
START_S: Final = 180.0
WHOLE_S: Final = 300.0
_TRANSACTIONS: Final = "__transaction_state"
_CONTROLLERS: Final = "__cluster_metadata-0"


class Servers(NamedTuple):
    folder: Path  # of the brokers
    bootstrap_servers: str
    brokers: Mapping[int, ServerProcess]  # by node number
    redis: RedisCluster

    def controller(self) -> int:
        """Return the node that leads the controllers, by what each node has written down of their elections."""
        states = [json.loads(path.read_text()) for path in self.folder.glob(f"node-*/logs/{_CONTROLLERS}/quorum-state")]
        elected = [state for state in states if state["leaderId"] in self.brokers]  # -1 where a node knows of none
        return int(max(elected, key=lambda state: int(state["leaderEpoch"]))["leaderId"])

    def group_coordinator(self, group: str) -> int:
        admin = self._admin()
        return int(admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S).coordinator.id)

    def transaction_coordinator(self, transactional_id: str) -> int:
        """Return the node that leads the partition in which the id's transactions are kept."""
        partitions = (
            self._admin().list_topics(_TRANSACTIONS, timeout=REQUEST_TIMEOUT_S).topics[_TRANSACTIONS].partitions
        )
        return int(partitions[partition_of_id(transactional_id, len(partitions))].leader)

    def leader(self, topic: str, partition: int) -> int:
        found = self._admin().list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
        return int(found.partitions[partition].leader)

    def wait_until_whole(self) -> None:
        """Wait until every process runs and every replica, of a partition or of a master, has all that it replicates.

        The next one that is killed is then the only one that is away.
        """
        admin = self._admin()
        wait_until(lambda: _are_in_sync(admin), WHOLE_S, "the brokers' replicas are in sync")
        self.redis.wait_until_whole()

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 2})


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    nodes = [Node(number, free_port(), free_port()) for number in range(1, BROKERS + 1)]
    brokers = kafka_cluster(folder / "kafka", nodes)
    try:
        for broker in brokers:  # none answers alone, so the first is not waited for before the others are launched
            broker.launch()
        with running_cluster(system_executable(), folder / "redis", replicas=1, persistence=PERSISTENCE) as redis:
            for broker in brokers:
                broker.wait_ready(deadline_s=START_S)
            addresses = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes)
            by_number = {node.number: broker for node, broker in zip(nodes, brokers, strict=True)}
            yield Servers(folder / "kafka", addresses, by_number, redis)
    finally:
        stop_all(brokers)


def partition_of_id(transactional_id: str, partitions: int) -> int:
    """Return the partition of the transactions' log that Kafka keeps an id's in, by the size of its hash in Java."""
    number = 0
    for unit in memoryview(transactional_id.encode("utf-16-le")).cast("H"):
        number = (31 * number + unit) & 0xFFFF_FFFF
    size = min(number, 2**32 - number) % 2**31  # Kafka takes the one hash that has no positive counterpart for 0
    return size % partitions


def _are_in_sync(admin: AdminClient) -> bool:
    listed = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    partitions = [partition for topic in listed.topics.values() for partition in topic.partitions.values()]
    return len(listed.brokers) == BROKERS and all(len(each.isrs) == len(each.replicas) for each in partitions)
