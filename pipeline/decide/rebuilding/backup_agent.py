"""Watching that the state could be brought back: an alert where its latest copy grows old."""

from __future__ import annotations

from typing import Final

import structlog

from pipeline.alerts.catalogue import backup_alert, over
from pipeline.domain.alert import Alert
from pipeline.state.persistence import recoverable_at_ms
from pipeline.state.store import RedisState, StateUnavailable

MINUTE_MS: Final = 60_000

log = structlog.get_logger("backup")


class BackupWatch:
    """Raises one alert for each copy that grows too old; every worker raises the same one."""

    def __init__(self, state: RedisState, alert_minutes: int) -> None:
        self._state, self._limit_ms = state, alert_minutes * MINUTE_MS
        self._raised: Alert | None = None

    async def look(self, now_ms: int) -> Alert | None:
        """Return an alert that was not raised before, or the word that the one before is over."""
        try:
            facts = await self._state.facts()
            copied_at_ms = recoverable_at_ms(facts, await self._state.backup_at_ms(), now_ms)
        except StateUnavailable as error:  # whoever decides says so loudly
            log.info("backups_unknown", why=str(error))
            return None
        youngest_ms = max((int(each.get("uptime_in_seconds", 0)) for each in facts), default=0) * 1000
        if now_ms - (now_ms - youngest_ms if copied_at_ms is None else copied_at_ms) < self._limit_ms:
            before, self._raised = self._raised, None
            return None if before is None else over(before, now_ms)
        raised = backup_alert(copied_at_ms, now_ms)
        if self._raised is not None and self._raised.alert_id == raised.alert_id:
            return None
        self._raised = raised
        log.warning("backup_old", copied_at_ms=copied_at_ms)
        return raised
