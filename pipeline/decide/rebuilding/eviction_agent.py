"""Watching that Redis forgets nothing by itself: a worker neither starts nor goes on deciding where it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from pipeline.alerts.catalogue import eviction_alert
from pipeline.domain.alert import Alert
from pipeline.io.clock import now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.state.evictions import StateEvicted
from pipeline.state.store import RedisState

EVICTION_INTERVAL_S: Final = 5.0
"""Longest time that payments are decided on a state that keys are evicted from; a look takes Redis some 50 µs."""

log = structlog.get_logger("evictions")


class EvictionWatch:
    """Looks at what Redis says; every worker raises the same alert for the same cause."""

    def __init__(
        self,
        state: RedisState,
        publish: Callable[[Sequence[Alert]], Awaitable[None]],
        prefix: str,
        *,
        never_evicts: bool,
    ) -> None:
        """publish: sends alerts. prefix: the state's. never_evicts: see Settings.state_never_evicts."""
        self._state, self._publish, self._prefix, self._never_evicts = state, publish, prefix, never_evicts

    async def require_none(self) -> None:
        """Raise an alert and StateEvicted where keys of the state may be evicted or were. Raises StateUnavailable."""
        found = await self._state.evictions(never_evicts=self._never_evicts)
        fault = found.fault
        if fault is None:
            return
        log.critical("state_evicted", why=fault, servers=list(found.servers))
        try:
            await self._publish([eviction_alert(fault, found.policies, found.evicted_keys, self._prefix, now_ms())])
        except BrokerFailed as error:  # the worker ends all the same, and its next start tells again
            log.warning("alert_not_published", why=str(error))
        raise StateEvicted(fault)
