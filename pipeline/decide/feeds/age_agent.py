"""Watching how old the feeds in force are: a warning before one is too old, and an alert when it is.

The clock is the wall's, since nothing is decided by it: what too old means for a payment follows from the payment's log
time. Every worker raises the same alerts, of which one counts.
"""

from __future__ import annotations

from typing import Final

import structlog

from pipeline.alerts.catalogue import feed_ageing_alert, feed_too_old_alert, over
from pipeline.decide.feeds.feed import Feed, FeedKind
from pipeline.decide.verdict import Regime
from pipeline.domain.alert import Alert

AGE_INTERVAL_S: Final = 30.0
"""Between looks: ages are told in hours."""

log = structlog.get_logger("feeds")


class AgeWatch:
    """Raises an alert for each feed that grows old, and says that it is over once a younger one is in force."""

    def __init__(self) -> None:
        self._raised: dict[FeedKind, Alert] = {}

    def look(self, in_force: Regime, now_ms: int) -> list[Alert]:
        """Return the alerts that were not raised before, and the words that earlier ones are over."""
        told: list[Alert] = []
        for kind in FeedKind:
            feed = None if in_force.feeds is None else in_force.feeds.of(kind)
            wanted, before = _alert_about(in_force, kind, feed, now_ms), self._raised.get(kind)
            if wanted is not None and before is not None and wanted.alert_id == before.alert_id:
                continue
            if before is not None:
                del self._raised[kind]
                told.append(over(before, now_ms))
            if wanted is not None:
                self._raised[kind] = wanted
                told.append(wanted)
                log.warning("feed_old", kind=kind, version=None if feed is None else feed.version, code=wanted.code)
        return told


def _alert_about(in_force: Regime, kind: FeedKind, feed: Feed | None, now_ms: int) -> Alert | None:
    too_old_hours, limits = in_force.policy.too_old_hours(kind), in_force.policy.feeds
    if feed is None:
        return feed_too_old_alert(kind.value, "none", "There is no such feed", now_ms)
    age_hours = feed.age_hours(now_ms)
    held = f"{feed.version} is {age_hours} hours old"
    if too_old_hours is None or age_hours >= too_old_hours:
        return feed_too_old_alert(kind.value, feed.version, held, now_ms)
    if limits is not None and age_hours >= limits.warn_hours(kind):
        until = f"{held}, and too old in {too_old_hours - age_hours} hours"
        return feed_ageing_alert(kind.value, feed.version, until, now_ms)
    return None
