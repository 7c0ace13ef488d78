"""The breaker as the demonstration sees it: it is polled, and every change of state is noted with its cause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ops.demo.summary import BreakerChange
from pipeline.breaker import BreakerRecord, BreakerSettings, Switches
from pipeline.breaker.answer_counts import SEGMENT_PREFIX, is_part
from pipeline.breaker.settings import Condition
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.domain.decision import BreakerState
from pipeline.io.settings import Settings

ALL: Final = "all"
_STRICTEST_FIRST: Final = (
    BreakerState.UNKNOWN,
    BreakerState.FORCED_OPEN,
    BreakerState.OPEN,
    BreakerState.HALF_OPEN,
    BreakerState.CLOSED,
)


class BreakerWatcher:
    """Watches the breaker, from one thread."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._store = BreakerStore(settings.redis_url, settings.state_prefix)
        self._records: dict[str, BreakerRecord] = {}
        self.changes: list[BreakerChange] = []

    def begin(self, settings: BreakerSettings) -> None:
        """Close the breaker of a new deployment.

        On an empty log the worker would do so by itself; on this one it can't know that no state was lost.
        """
        self._loop.run_until_complete(self._store.initialise("demo", settings))

    def poll(self, second: float) -> list[BreakerChange]:
        """Return what changed since the last call; `second` is the time on the demonstration's clock.

        Nobody throws a switch in the demonstration.
        """
        try:
            records = dict(self._loop.run_until_complete(self._store.read(Switches())).records)
        except BreakerUnavailable:
            return []
        changes = [
            BreakerChange(second, scope, self.state_of(scope), record.state, record.cause.text)
            for scope, record in sorted(records.items())
            if record.state != self.state_of(scope)
        ]
        self._records = records
        self.changes += changes
        return changes

    def state_of(self, scope: str) -> BreakerState:
        if scope in self._records:
            return self._records[scope].state
        return BreakerState.CLOSED if ALL in self._records else BreakerState.UNKNOWN

    def held(self, settings: BreakerSettings, model_version: str | None) -> set[tuple[str, Condition]]:
        """Return the conditions that held at the latest evaluation, with their scopes, tripped or not."""
        try:
            found = self._loop.run_until_complete(self._store.gauges(settings, model_version))
        except BreakerUnavailable:
            return set()
        return {(scope, gauge.condition) for scope, gauges in found.items() for gauge in gauges if gauge.running}

    def strictest(self, model_version: str) -> BreakerState:
        """Return the strictest of all states that govern some payment now.

        The state that another model's version once caused governs none.
        """
        states = {self.state_of(scope) for scope in self._governing(model_version)}
        return next(state for state in _STRICTEST_FIRST if state in states)

    def shown(self, model_version: str) -> str:
        """Say the strictest state, and in how many parts of the traffic where it is that of some parts only."""
        state = self.strictest(model_version)
        held = [scope for scope in self._governing(model_version) if self.state_of(scope) is state]
        if state is BreakerState.CLOSED or not all(is_part(scope) for scope in held):
            return state
        what = "segment" if all(scope.startswith(SEGMENT_PREFIX) for scope in held) else "part"
        return f"{state} in {len(held)} {what}{'s' if len(held) > 1 else ''}"

    def close(self) -> None:
        self._loop.run_until_complete(self._store.close())
        self._loop.close()

    def _governing(self, model_version: str) -> list[str]:
        return [ALL, f"model:{model_version}", *filter(is_part, self._records)]


def told(changes: Sequence[BreakerChange]) -> list[str]:
    """Tell the changes, those that came at once and are alike in one sentence with the cause of the first."""
    alike: dict[tuple[str, str], list[BreakerChange]] = {}
    for change in changes:
        alike.setdefault((change.before, change.after), []).append(change)
    sentences = []
    for (before, after), group in alike.items():
        scopes = ", ".join(change.scope.removeprefix(SEGMENT_PREFIX) for change in group)
        sentences.append(f"breaker {before} to {after} for {scopes}: {group[0].why}")
    return sentences
