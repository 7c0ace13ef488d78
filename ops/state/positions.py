"""The state store, asked by commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.io.settings import Settings
from pipeline.state.store import RedisState, StateReplaced

Positions = dict[int, int | None]
T = TypeVar("T")


def read_positions(settings: Settings) -> Positions:
    """Return the offset below which all of each partition was observed; None where something is missing.

    Raises StateUnavailable.
    """

    async def read(state: RedisState) -> Positions:
        survey = await state.survey(await state.partitions())
        return {partition: survey.reached(partition) for partition in survey.accounts}

    return asked(settings, read)


def read_replaced(settings: Settings) -> list[str]:
    """Say of which partitions other records were counted than stand in the log now. Raises StateUnavailable."""

    async def read(state: RedisState) -> list[str]:
        survey = await state.survey(await state.partitions())
        return [str(StateReplaced(*place)) for place in survey.replaced.items()]

    return asked(settings, read)


def asked(settings: Settings, ask: Callable[[RedisState], Awaitable[T]]) -> T:
    """Return what the state store answers. Raises StateUnavailable."""

    async def run() -> T:
        state = RedisState(
            settings.redis_url,
            label_delay_days=settings.label_delay_days,
            shards=settings.state_shards,
            prefix=settings.state_prefix,
            timeout_s=settings.redis_timeout_s,
        )
        try:
            return await ask(state)
        finally:
            await state.close()

    return asyncio.run(run())
