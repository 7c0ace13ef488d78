from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.state.windows import MemoryState
from tests.redis_servers import REDIS_NAMES, StartedRedis
from tests.state.stores import Store, SyncRedisState

MEMORY = "memory"


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


@pytest.fixture(params=[MEMORY, *REDIS_NAMES])
def store(request: pytest.FixtureRequest, started_redis: StartedRedis) -> Iterator[Store]:
    """Provide the reference and every Redis; the same contract holds on all of them."""
    if request.param == MEMORY:
        yield MemoryState()
        return
    made = SyncRedisState(started_redis(request.param))
    yield made
    made.close()
