"""The watch for drills that are overdue: it tells of each, and that it is over once the drill was carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.alerts.catalogue import drill_alert, over
from pipeline.domain.alert import Alert
from pipeline.drills.schedule import Due, schedule
from pipeline.drills.store import read_latest_drills
from pipeline.io.postgres import Connection, failures_named


class DrillWatch:
    """For one thread. every_days: asked at each look, because the policy may change."""

    def __init__(
        self, publish: Callable[[Sequence[Alert]], None], every_days: Callable[[], int], now_ms: Callable[[], int]
    ) -> None:
        self._publish, self._every_days, self._now_ms = publish, every_days, now_ms
        self._is_over = set[str]()  # drills that this process has said are not overdue, or no longer

    def look(self, connection: Connection) -> list[Due]:
        """Return the drills that are overdue, having told of them.

        Raises DatabaseUnavailable, DatabaseRefused, BrokerFailed.

        A process that starts says of every drill that isn't overdue that it is over, because what told of it may have
        ended since.
        """
        now_ms = self._now_ms()
        with failures_named():
            carried = read_latest_drills(connection)
        dues = schedule(carried, self._every_days(), now_ms)
        overdue = [due for due in dues if due.is_overdue]
        ended = [due for due in dues if not due.is_overdue and due.drill not in self._is_over]
        alerts = [drill_alert(due.drill, now_ms, due.last_at_ms) for due in overdue]
        alerts += [over(drill_alert(due.drill, now_ms), now_ms) for due in ended]
        if alerts:
            self._publish(alerts)
        self._is_over = {due.drill for due in dues if not due.is_overdue}
        return overdue
