from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.io.clock import now_ms
from pipeline.state.windows import MemoryState
from tests.redis_servers import REDIS_NAMES, StartedRedis, emptied
from tests.state.stores import Store, SyncRedisState

MEMORY = "memory"
CLUSTER = "cluster"


@pytest.fixture
def redis_state(redis_at: str) -> Iterator[Callable[..., SyncRedisState]]:
    """Make stores on the same Redis, and close all of them in the end."""
    made: list[SyncRedisState] = []

    def make(**settings: Any) -> SyncRedisState:
        made.append(SyncRedisState(redis_at, **settings))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture(params=[MEMORY, *REDIS_NAMES, CLUSTER])
def store(request: pytest.FixtureRequest, started_redis: StartedRedis) -> Iterator[Store]:
    """Provide the reference, every Redis, and a cluster; the same contract holds on all of them."""
    if request.param == MEMORY:
        yield MemoryState(clock_ms=now_ms)
        return
    is_cluster = request.param == CLUSTER
    url = emptied(request.getfixturevalue("started_cluster")) if is_cluster else started_redis(request.param)
    made = SyncRedisState(url)
    yield made
    made.close()
