"""What the servers of the state store say about themselves, for commands: they ask each server, and may block."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import redis

from pipeline.io.redis.address import parse_address
from pipeline.io.redis.topology import NOBODY, Topology, find

TIMEOUT_S: Final = 3.0


class Server(NamedTuple):
    node: str  # its address in redis-py's words, with the password
    facts: Mapping[str, object]  # of INFO, as redis-py parses it
    moving_slots: int  # of a cluster, that are on their way to or from this server

    @property
    def place(self) -> str:
        """Its host and port, or its path, for people."""
        parts = urlsplit(self.node)
        return f"{parts.hostname}:{parts.port}" if parts.hostname else parts.path

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Redis that it is compatible with."""
        return tuple(int(part) for part in str(self.facts["redis_version"]).split("."))

    @property
    def name(self) -> str:
        valkey = self.facts.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {self.facts['redis_version']}"


class Servers(NamedTuple):
    topology: Topology
    masters: tuple[Server, ...]
    unserved_slots: int  # of a cluster


def servers(url: str, timeout_s: float = TIMEOUT_S) -> Servers:
    """Find the masters and ask each. Raises RedisError, OSError, TimeoutError or AddressRefused."""
    layout = asyncio.run(find(parse_address(url), timeout_s))
    is_cluster = layout.topology is Topology.CLUSTER
    masters = tuple(_server(node, timeout_s, is_cluster=is_cluster) for node in layout.masters)
    unserved = layout.owners.count(NOBODY) if is_cluster else 0
    return Servers(layout.topology, masters, unserved)


def client_of(server: Server, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    return redis.Redis.from_url(server.node, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


def _server(node: str, timeout_s: float, *, is_cluster: bool) -> Server:
    with redis.Redis.from_url(node, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
        facts: Mapping[str, object] = client.info()
        nodes: Any = client.execute_command("CLUSTER NODES") if is_cluster else {}
    moving = [each for each in nodes.values() if isinstance(each, dict) and each.get("migrations")]
    return Server(node, facts, sum(len(each["migrations"]) for each in moving))
