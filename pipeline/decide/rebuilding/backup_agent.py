"""Watching that the state could be brought back: an alert where its latest copy grows old."""

from __future__ import annotations

from typing import Final

import structlog

from pipeline.alerts.catalogue import backup_alert, over
from pipeline.domain.alert import Alert
from pipeline.state.persistence import recoverable_at_ms
from pipeline.state.store import RedisState, StateUnavailable

MINUTE_MS: Final = 60_000
BACKUP_INTERVAL_S: Final = 60.0

log = structlog.get_logger("backup")


class BackupWatch:
    """Raises one alert where the latest copy grows too old, and says when that is over; every worker says the same.

    A process that starts says that it is over where it is, because one before it may have raised the alert and ended.
    """

    def __init__(self, state: RedisState, alert_minutes: int) -> None:
        self._state, self._limit_ms = state, alert_minutes * MINUTE_MS
        self._is_old: bool | None = None  # as this process has said; None where it has said nothing

    async def look(self, now_ms: int) -> Alert | None:
        """Return what is to be said and was not said before: the alert, or the word that it is over."""
        try:
            facts = await self._state.facts()
            copied_at_ms = recoverable_at_ms(facts, await self._state.backup_at_ms(), now_ms)
        except StateUnavailable as error:  # whoever decides says so loudly
            log.info("backups_unknown", why=str(error))
            return None
        youngest_ms = max((int(each.get("uptime_in_seconds", 0)) for each in facts), default=0) * 1000
        since_ms = now_ms - youngest_ms if copied_at_ms is None else copied_at_ms
        said, self._is_old = self._is_old, now_ms - since_ms >= self._limit_ms
        if said is self._is_old:
            return None
        raised = backup_alert(copied_at_ms, now_ms)
        if not self._is_old:
            return over(raised, now_ms)
        log.warning("backup_old", copied_at_ms=copied_at_ms)
        return raised
