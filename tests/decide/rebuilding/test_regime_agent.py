"""A change of policy or model is told once, also where a worker takes it up with its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from pipeline.decide.rebuilding.regime_agent import RegimeWatch
from pipeline.decide.verdict import Regime, regime
from pipeline.domain.alert import Alert
from pipeline.state.store import RedisState
from tests.records import NOON_MS, policy, small_model


@asynccontextmanager
async def closing_state(url: str) -> AsyncIterator[RedisState]:
    state = RedisState(url)
    try:
        yield state
    finally:
        await state.close()


FIRST = regime(policy(), small_model())
SECOND = regime(policy(), None)


def test_a_change_is_told_once_by_whichever_worker_and_also_at_a_start(redis_at: str) -> None:
    told: list[Alert] = []

    async def publish(alerts: Sequence[Alert]) -> None:
        told.extend(alerts)

    async def run() -> None:
        async with closing_state(redis_at) as state:
            await changes(state)

    async def changes(state: RedisState) -> None:
        async def looks(watch: RegimeWatch, in_force: Regime) -> list[str]:
            del told[:]
            for _ in range(2):
                await watch.look(in_force, NOON_MS, publish)
            return [each.evidence["model"] for each in told]

        first = RegimeWatch(state)
        assert await looks(first, FIRST) == [], "a state that begins has none before"
        assert await looks(first, SECOND) == ["none"], "taken up at work"
        assert await looks(RegimeWatch(state), SECOND) == [], "a start that changes nothing"
        assert await looks(RegimeWatch(state), FIRST) == ["test-1"], "taken up with a start"
        assert await looks(first, FIRST) == []

    asyncio.run(run())


def test_what_could_not_be_published_is_told_later(redis_at: str) -> None:
    told: list[Alert] = []

    async def away(_: Sequence[Alert]) -> None:
        raise ConnectionError

    async def publish(alerts: Sequence[Alert]) -> None:
        told.extend(alerts)

    async def run() -> None:
        async with closing_state(redis_at) as state:
            watch = RegimeWatch(state)
            await watch.look(FIRST, NOON_MS, publish)
            with pytest.raises(ConnectionError):
                await watch.look(SECOND, NOON_MS, away)
            await RegimeWatch(state).look(SECOND, NOON_MS, publish)
            assert len(told) == 1

    asyncio.run(run())


def test_a_state_that_is_away_delays_what_is_told() -> None:
    async def run() -> None:
        state = RedisState("redis://127.0.0.1:1/0")

        async def publish(_: Sequence[Alert]) -> None:
            raise AssertionError("nothing is known of what was told")

        await RegimeWatch(state).look(FIRST, NOON_MS, publish)
        await state.close()

    asyncio.run(run())
