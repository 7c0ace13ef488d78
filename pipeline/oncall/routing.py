"""Routes: which sinks are told of a group, by severity, scope and code, and who is told where nobody acknowledges.

Invariants
1. Every alert has a route: for each severity the last route that can take it takes every scope and code.
2. A sink is never told that it can't be reached: what is about a sink goes to the route's sinks at other places.
3. In production somebody is told of each sink that can't be reached, and of each CRITICAL alert at two places.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.domain.alert import Severity
from pipeline.oncall.groups import NOT_DELIVERED, GroupKey, matches

SINK_SCOPE: Final = "sink:"
"""Begins the scope of what is told about a sink."""
EVERYTHING: Final = "*"
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")


class SinkKind(StrEnum):
    PAGERDUTY = "pagerduty"
    ALERTMANAGER = "alertmanager"
    SLACK = "slack"
    WEBHOOK = "webhook"
    EMAIL = "email"


HEARTBEAT_KINDS: Final = frozenset({SinkKind.ALERTMANAGER, SinkKind.WEBHOOK})
"""Sinks that can watch for a heartbeat that stays away."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A place that is told. address: a URL, or HOST:PORT of e-mail. secret: never shown; see routes_files.

    shows_evidence: whether it also gets what an alert quotes; places outside the house do not, unless told to.
    """

    name: str
    kind: SinkKind
    address: str
    secret: str | None
    shows_evidence: bool = False
    messages_per_second: float | None = None
    ca_file: str | None = None
    channel: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    user: str | None = None
    encryption: str = "starttls"

    @property
    def place(self) -> tuple[str, ...]:
        """What can't be reached together: two sinks with one place are one, whatever they are called."""
        address = self.address.rstrip("/").casefold()
        match self.kind:
            case SinkKind.SLACK:
                return self.kind, address, self.channel.removeprefix("#").casefold()
            case SinkKind.PAGERDUTY:
                return self.kind, address, self.secret or ""
            case SinkKind.WEBHOOK | SinkKind.ALERTMANAGER | SinkKind.EMAIL:
                return self.kind, address

    def __repr__(self) -> str:
        return f"Sink({self.name}, {self.kind})"


@dataclass(frozen=True, slots=True)
class Escalation:
    after_ms: int
    sinks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    severities: frozenset[Severity]
    scopes: tuple[str, ...]
    codes: tuple[str, ...]
    sinks: tuple[str, ...]
    escalations: tuple[Escalation, ...] = ()

    def takes(self, key: GroupKey) -> bool:
        return (
            key.severity in self.severities
            and any(matches(key.scope, pattern) for pattern in self.scopes)
            and any(matches(key.code, pattern) for pattern in self.codes)
        )

    def is_catch_all(self, severity: Severity) -> bool:
        return severity in self.severities and EVERYTHING in self.scopes and EVERYTHING in self.codes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    every_ms: int
    sinks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routes:
    """source: names this deployment to sinks. runbooks: where docs/runbooks is to be read, or empty."""

    sinks: Mapping[str, Sink]
    routes: tuple[Route, ...]
    heartbeat: Heartbeat | None
    wait_ms: int
    quiet_ms: int
    resend_ms: int
    source: str
    runbooks: str

    def route_of(self, key: GroupKey) -> Route:
        """The first route that takes the group."""
        return next(route for route in self.routes if route.takes(key))

    def heard(self, key: GroupKey, level: int) -> set[str]:
        """The sinks that have been told of a group that was escalated so often, or may have been."""
        route = self.route_of(key)
        return {*route.sinks, *(name for escalation in route.escalations[:level] for name in escalation.sinks)}

    def told(self, key: GroupKey, sinks: Sequence[str]) -> tuple[str, ...]:
        """Those of these sinks that are told of the group."""
        if not key.scope.startswith(SINK_SCOPE):
            return tuple(sinks)
        about = key.scope.removeprefix(SINK_SCOPE)
        place = self.sinks[about].place if about in self.sinks else None
        return tuple(name for name in sinks if name != about and self._place_of(name) != place)

    def _place_of(self, name: str) -> tuple[str, ...] | None:
        return self.sinks[name].place if name in self.sinks else ()

    def runbook_of(self, code: str) -> str:
        """Where the runbook of a code is: an address, or the path in the repository.

        Whoever may write alerts.v1 names codes: none leads elsewhere, or is no part of an address.
        """
        page = f"{_quoted(code)}.md"
        return f"{self.runbooks.rstrip('/')}/{page}" if self.runbooks else f"docs/runbooks/{page}"


def _quoted(text: str) -> str:
    """As RFC 3986 writes what is one part of a path."""
    return "".join(
        each if each in _UNRESERVED else "".join(f"%{byte:02X}" for byte in each.encode(errors="replace"))
        for each in text
    )


def faults(routes: Routes) -> Iterator[str]:
    """Yield what is wrong with routes of which each part is well-formed, in sentences."""
    for route in routes.routes:
        named = [*route.sinks, *(name for escalation in route.escalations for name in escalation.sinks)]
        for name in dict.fromkeys(named):
            if name not in routes.sinks:
                yield f"a route names the sink {name}, which there isn't"
        delays = [escalation.after_ms for escalation in route.escalations]
        if delays != sorted(set(delays)):
            yield "a route's escalations do not come one after the other"
    for severity in Severity:
        if not any(route.is_catch_all(severity) for route in routes.routes):
            yield f"no route takes every {severity} alert: the last one needs scopes and codes of {EVERYTHING!r}"
    if routes.heartbeat is not None:
        for name in routes.heartbeat.sinks:
            if name not in routes.sinks:
                yield f"the heartbeat names the sink {name}, which there isn't"
            elif routes.sinks[name].kind not in HEARTBEAT_KINDS:
                yield f"the sink {name} can't watch for a heartbeat: only {' and '.join(sorted(HEARTBEAT_KINDS))} can"


def production_faults(routes: Routes) -> Iterator[str]:
    """Yield what must not be so where people rely on being told."""
    for route in routes.routes:
        places = {routes.sinks[name].place for name in route.sinks if name in routes.sinks}
        if Severity.CRITICAL in route.severities and len(places) < 2:
            yield (
                "a route of CRITICAL alerts has one sink, or several for one place, so nobody would be told that it "
                "can't be reached: give two"
            )
    for name in routes.sinks:
        for severity in (Severity.CRITICAL, Severity.WARNING):
            key = GroupKey(NOT_DELIVERED, f"{SINK_SCOPE}{name}", severity)
            taking = next((route for route in routes.routes if route.takes(key)), None)
            if taking is not None and not routes.told(key, taking.sinks):
                yield (
                    f"nobody would be told that the sink {name} can't be reached: the route of {severity} "
                    f"{NOT_DELIVERED} has no sink at another place"
                )
    if routes.heartbeat is None:
        yield "there is no heartbeat, so nobody would learn that alerts are not sent any more: write [heartbeat]"
