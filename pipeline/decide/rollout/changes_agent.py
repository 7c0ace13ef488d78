"""Taking up what people change while a worker runs: every few seconds, and a moved champion with the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.verdict import Regime


class Changes:
    def __init__(self, source: RegimeSource, decide_by: Callable[[Regime], None]) -> None:
        self._source, self._decide_by, self._looking = source, decide_by, asyncio.Lock()

    async def take_up(self) -> None:
        """Decide the next batch by what the files say now; one look at a time."""
        async with self._looking:
            # In a thread: a file may be slow to read, and a strange one slow to refuse.
            if (changed := await asyncio.to_thread(self._source.changed)) is not None:
                self._decide_by(changed)

    async def heed_moves(self) -> None:
        """Have the next batch decided by the champion that the registry names by now: a way back waits for no timer."""
        if self._source.is_moved:
            await self.take_up()
