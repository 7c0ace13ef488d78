"""The breaker as the demonstration sees it: polled, every change of state noted with its cause."""

from __future__ import annotations

import asyncio
from typing import Final

from pipeline.adapters.breaker import BreakerStore, BreakerUnavailable

from ops.demo_summary import BreakerChange
from pipeline.core.breaker import BreakerRecord
from pipeline.core.records import BreakerState
from pipeline.settings import Settings

ALL: Final = "all"
_STRICTEST_FIRST: Final = (
    BreakerState.UNKNOWN,
    BreakerState.FORCED_OPEN,
    BreakerState.OPEN,
    BreakerState.HALF_OPEN,
    BreakerState.CLOSED,
)


class BreakerWatcher:
    """For one thread."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._store = BreakerStore(settings.redis_url, settings.state_prefix)
        self._records: dict[str, BreakerRecord] = {}
        self.changes: list[BreakerChange] = []

    def poll(self, second: float) -> list[BreakerChange]:
        """What changed since the last call; `second` is when, on the demonstration's clock."""
        try:
            records = dict(self._loop.run_until_complete(self._store.read()).records)
        except BreakerUnavailable:
            return []
        changes = [
            BreakerChange(second, scope, self.state_of(scope), record.state, record.cause.text)
            for scope, record in records.items()
            if record.state != self.state_of(scope)
        ]
        self._records = records
        self.changes += changes
        return changes

    def state_of(self, scope: str) -> BreakerState:
        if scope in self._records:
            return self._records[scope].state
        return BreakerState.CLOSED if ALL in self._records else BreakerState.UNKNOWN

    def governing(self, model_version: str) -> BreakerState:
        """The strictest of what governs every payment; a segment's breaker governs its own."""
        states = {self.state_of(ALL), self.state_of(f"model:{model_version}")}
        return next(state for state in _STRICTEST_FIRST if state in states)

    def close(self) -> None:
        self._loop.run_until_complete(self._store.close())
        self._loop.close()
