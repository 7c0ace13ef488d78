"""The stand-ins of PagerDuty and of a dead man's switch, and when they heard what."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.alerts.sinks import HttpSink
from pipeline.io.settings import Settings
from pipeline.oncall.routes_files import RoutesRefused, routes_of

ROUTING_KEY: Final = "d" * 32
HOOK_SECRET: Final = "whsec_" + "D" * 32
SECRETS: Final = {"pager": ROUTING_KEY, "switch": HOOK_SECRET}
"""Of stand-ins on loopback, which check none."""
MISSED_BEATS: Final = 3
"""Heartbeats that may stay away before the dead man's switch pages, as Alertmanager's would."""
SHORT_WAIT_S: Final = 1.0
SHORT_BEAT_S: Final = 1


class Rhythm(NamedTuple):
    """group_wait_s: how long the first message of a group waits. beat_s: between heartbeats."""

    group_wait_s: float
    beat_s: int

    @property
    def patience_s(self) -> int:
        return MISSED_BEATS * self.beat_s


SHORT: Final = Rhythm(SHORT_WAIT_S, SHORT_BEAT_S)


def rhythm_in_force(deployment: Settings) -> Rhythm | None:
    """Return the rhythm of the deployment's own routes; None where they can't be read or have no heartbeat."""
    try:
        routes = routes_of(deployment)
    except RoutesRefused:
        return None
    if routes.heartbeat is None:
        return None
    return Rhythm(routes.wait_ms / 1000, max(routes.heartbeat.every_ms // 1000, 1))


def write_routes(path: Path, pager: HttpSink, switch: HttpSink, rhythm: Rhythm) -> dict[str, str]:
    """Write the lane's file of routes, and return the variable that holds its secrets.

    All of its sinks are stand-ins of this process.
    """
    path.write_text(f"""
version = 1
source = "fraud-drill"
group_wait_s = {rhythm.group_wait_s}
routes = [{{ severities = ["INFO", "WARNING", "CRITICAL"], sinks = ["pager"] }}]
heartbeat = {{ every_s = {rhythm.beat_s}, sinks = ["switch"] }}
sinks = [
    {{ name = "pager", kind = "pagerduty", url = "{pager.url}", secret = "pager" }},
    {{ name = "switch", kind = "webhook", url = "{switch.url}/hook", secret = "switch" }},
]
""")
    return {"FRAUD_ALERT_SECRETS": json.dumps(SECRETS)}


def paged_at_s(pager: HttpSink, codes: Collection[str], since_ms: int) -> float | None:
    """Return when PagerDuty's stand-in first took a page of one of the codes, by time.monotonic().

    A page about what was raised before `since_ms`, by the clock, tells of something else.
    """
    for taken in pager.taken:
        event = taken.json
        if event.get("event_action") != "trigger" or event["payload"]["class"] not in codes:
            continue
        opened_at = datetime.fromisoformat(event["payload"]["timestamp"])
        if opened_at.timestamp() * 1000 >= since_ms:
            return taken.at_s
    return None


def switched_at_s(switch: HttpSink, rhythm: Rhythm, since_s: float, now_s: float) -> float | None:
    """Return when the dead man's switch paged because heartbeats stayed away; None where it has not."""
    beats = [taken.at_s for taken in switch.taken]
    if not beats:
        return None
    for earlier, later in zip(beats, [*beats[1:], now_s], strict=True):
        if later - earlier > rhythm.patience_s and earlier + rhythm.patience_s >= since_s:
            return earlier + rhythm.patience_s
    return None


def beats_since(switch: HttpSink, since_s: float) -> int:
    return sum(taken.at_s >= since_s for taken in switch.taken)
