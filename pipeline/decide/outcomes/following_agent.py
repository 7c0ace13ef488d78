"""The follower of outcomes as a part of the worker's app, which starts and stops it."""

from __future__ import annotations

import asyncio

from mode import Service

from pipeline.decide.outcomes.following_service import Follower


class Following(Service):
    """Follows what became of payments for as long as the app runs. Decisions neither wait for it nor end with it."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower
        self._following: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        self._following = asyncio.create_task(self._follower.run())

    async def on_stop(self) -> None:
        self._follower.stop()
        if self._following is not None:
            await self._following
