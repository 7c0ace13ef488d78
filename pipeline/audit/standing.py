"""Alerts of the audit service that are over some day, whichever of its processes sees it.

Invariants
1. An alert about one thing has one id each time, so a process can call off what the one before it raised.
2. It is said to be over once for each raising, and once after a start, when it may have been raised before.
3. What goes on is told again each TOLD_AGAIN_S: whoever may write alerts.v1 can call off one telling, and not the next.
"""

from __future__ import annotations

from typing import Final

from pipeline.alerts.catalogue import AlertCode, alert, over
from pipeline.domain.alert import Alert

CODES: Final = frozenset({AlertCode.AUDIT_UNWITNESSED, AlertCode.TABLES_UNCHAINED})
TOLD_AGAIN_S: Final = 3_600.0
"""Between alerts about one thing, be it over in between or not: what hovers at its limit would page each second."""


class Standing:
    """For one process; whatever it may have been that the one before it told of stands at first."""

    def __init__(self) -> None:
        self._codes = set(CODES)
        self._told: dict[AlertCode, tuple[int, float]] = {}  # since when what was told goes on, and when it was told

    def raised(self, code: AlertCode, what: str, now_ms: int, *, since_ms: int = 0, now_s: float) -> list[Alert]:
        """Make the alert, unless it was told lately. Its evidence is empty, because the id follows from it; `what` has
        the figures.

        since_ms: what is of another time is told at once. now_s: of a clock that never goes back.
        """
        assert code in CODES, "somebody says that it is over"
        told = self._told.get(code)
        if told is not None and told[0] == since_ms and now_s - told[1] < TOLD_AGAIN_S:
            return []
        self._codes.add(code)
        self._told[code] = since_ms, now_s
        return [alert(code, what, "all", {}, now_ms)]

    def ended(self, code: AlertCode, now_ms: int) -> list[Alert]:
        """The word that it is over, where that has not been said since it was raised or may have been."""
        if code not in self._codes:
            return []
        self._codes.discard(code)
        return [over(alert(code, "It is over.", "all", {}, now_ms), now_ms)]
