"""The servers that hold the state now: one, the one that Sentinels name, or the masters of a cluster.

redis-py asks the Sentinels and the cluster. Every finding resolves host names anew, because a managed service moves its
name to the new primary; and one server is asked for its role, because the name may still stand for the old one.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from redis import asyncio as redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisClusterException, ResponseError

from pipeline.io.redis.address import AddressKind, RedisAddress

SLOTS: Final = 16_384


class Topology(StrEnum):
    ONE_SERVER = "one server"
    SENTINEL = "Sentinel"
    CLUSTER = "cluster"


class Layout(NamedTuple):
    """The servers to write to.

    masters: their addresses in redis-py's words. owners: for each slot of a cluster the index of its master, or NOBODY
    where none serves it; empty otherwise.
    """

    topology: Topology
    masters: tuple[str, ...]
    owners: bytes = b""

    def master_of(self, slot: int) -> str | None:
        """Return the address of a slot's master; None where nobody serves the slot."""
        owner = self.owners[slot]
        return None if owner == NOBODY else self.masters[owner]


NOBODY: Final = 255
MASTERS_MAX: Final = 255


async def find(address: RedisAddress, timeout_s: float, known: Collection[str] = ()) -> Layout:
    """Ask for the servers. known: masters of a cluster that were found before, to ask if the address's hosts are away.

    Raises RedisError, OSError or TimeoutError where nobody can say.
    """
    match address.kind:
        case AddressKind.SENTINEL:
            return await _behind_sentinels(address, timeout_s)
        case AddressKind.CLUSTER:
            return await _cluster(address, timeout_s, known)
        case AddressKind.SERVER:
            if known:  # a cluster once is a cluster, and its first host may be the one that is away
                return await _cluster(address, timeout_s, known)
            facts = await server_facts(address.first, timeout_s)
            if facts.get("cluster_enabled"):
                return await _cluster(address, timeout_s, known)
            if facts.get("redis_mode") == "sentinel":
                raise ConnectionLost("that is a Sentinel, whose address begins with redis+sentinel://")
            _check_role(facts)
            return Layout(Topology.ONE_SERVER, (address.first,))


async def server_facts(node: str, timeout_s: float, *sections: str) -> dict[str, object]:
    """Return what a server tells about itself, as redis-py parses it."""
    client = redis.Redis.from_url(
        node, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    try:
        facts: dict[str, object] = await client.info(*sections)
    finally:
        await client.aclose()
    return facts


def slot_of(key: str | bytes) -> int:
    return key_slot(key.encode() if isinstance(key, str) else key)


def _check_role(facts: dict[str, object]) -> None:
    if facts.get("role") != "master":
        raise ConnectionLost("a replica answers there: its name has not moved to the new primary yet")


async def _behind_sentinels(address: RedisAddress, timeout_s: float) -> Layout:
    options = {name: value for name, value in parse_url(address.first).items() if name.startswith("ssl_")}
    options |= {name.removeprefix("sentinel_"): value for name, value in address.sentinel_options.items()}
    limits = {"socket_timeout": timeout_s / 2, "socket_connect_timeout": timeout_s / 2}
    asked = Sentinel(  # type: ignore[no-untyped-call]  # redis-py annotates it in part only
        list(address.hosts),
        sentinel_kwargs={**options, **limits, "ssl": address.is_tls, "retry": Retry(NoBackoff(), 0)},
    )
    try:
        host, port = await asked.discover_master(address.service)
    finally:
        for sentinel in asked.sentinels:
            await sentinel.aclose()
    node = address.node(host, int(port))
    _check_role(await server_facts(node, timeout_s, "replication"))
    return Layout(Topology.SENTINEL, (node,))


async def _cluster(address: RedisAddress, timeout_s: float, known: Collection[str]) -> Layout:
    seeds = dict.fromkeys([*address.hosts, *map(_place, known)])
    client = redis.RedisCluster.from_url(
        address.first,
        startup_nodes=[redis.cluster.ClusterNode(host, port) for host, port in seeds],
        require_full_coverage=False,  # what is served is served; a script for another slot fails by itself
        socket_timeout=timeout_s / 2,
        socket_connect_timeout=timeout_s / 2,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        await client.nodes_manager.initialize()
        slots = client.nodes_manager.slots_cache
        masters = sorted({(str(nodes[0].host), int(nodes[0].port)) for nodes in slots.values()})
    except (RedisClusterException, ResponseError) as error:
        raise ConnectionLost("no server of the cluster says who serves what") from error
    finally:
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
    if len(masters) > MASTERS_MAX:
        raise ConnectionLost(f"the cluster has {len(masters)} masters; {MASTERS_MAX} are the most")
    numbers = {place: number for number, place in enumerate(masters)}
    owners = bytearray([NOBODY] * SLOTS)
    for slot, nodes in slots.items():
        owners[slot] = numbers[str(nodes[0].host), int(nodes[0].port)]
    return Layout(Topology.CLUSTER, tuple(address.node(*place) for place in masters), bytes(owners))


def _place(node: str) -> tuple[str, int]:
    parts = urlsplit(node)
    assert parts.hostname is not None, "a master of a cluster has a host"
    assert parts.port is not None, "a master of a cluster has a port"
    return parts.hostname, parts.port
