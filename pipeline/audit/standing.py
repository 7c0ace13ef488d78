"""Alerts of the audit service that are over some day, whichever of its processes sees it.

Invariants
1. An alert about one thing has one id each time, so a process can call off what the one before it raised.
2. It is said to be over once for each raising, and once after a start, when it may have been raised before.
"""

from __future__ import annotations

from typing import Final

from pipeline.alerts.catalogue import AlertCode, alert, over
from pipeline.domain.alert import Alert

CODES: Final = frozenset({AlertCode.AUDIT_UNWITNESSED, AlertCode.TABLES_UNCHAINED})


class Standing:
    """For one process; whatever it may have been that the one before it told of stands at first."""

    def __init__(self) -> None:
        self._codes = set(CODES)

    def raised(self, code: AlertCode, what: str, now_ms: int) -> Alert:
        """Make the alert. Its evidence is empty, because the id follows from it; `what` has the figures."""
        assert code in CODES, "somebody says that it is over"
        self._codes.add(code)
        return alert(code, what, "all", {}, now_ms)

    def ended(self, code: AlertCode, now_ms: int) -> list[Alert]:
        """The word that it is over, where that has not been said since it was raised or may have been."""
        if code not in self._codes:
            return []
        self._codes.discard(code)
        return [over(alert(code, "It is over.", "all", {}, now_ms), now_ms)]
