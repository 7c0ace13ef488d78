"""Taking up what people change while a worker runs: every few seconds, and a moved champion with the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline.decide.agent import DecisionAgent
from pipeline.decide.batch import Judge
from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.verdict import Regime


class Changes:
    def __init__(self, source: RegimeSource, agent: DecisionAgent, judge_of: Callable[[Regime], Judge]) -> None:
        self._source, self._agent, self._judge_of, self._looking = source, agent, judge_of, asyncio.Lock()

    async def take_up(self) -> None:
        """Decide the next batch by what the files say now; one look at a time."""
        async with self._looking:
            # In a thread: a file may be slow to read, and a strange one slow to refuse.
            if (changed := await asyncio.to_thread(self._source.changed)) is not None:
                self._agent.judge = self._judge_of(changed)

    async def heed_moves(self) -> None:
        """Have the next batch decided by the champion that the registry names by now: a way back waits for no timer."""
        if self._source.is_moved:
            await self.take_up()
