"""Incidents as values: what was told, what the breaker did, what people did, and the state that follows.

Invariants
1. A missing key of TRANSITIONS is an act that isn't possible in that state.
2. Only events that somebody is proved to have signed change an incident's state; the others are shown as what they are.
3. An incident that isn't proved to be resolved is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Final, NamedTuple

from pipeline.breaker.told_transitions import BREAKER_PREFIX, ToldTransition, cause_in
from pipeline.domain.alert import IncidentKind
from pipeline.domain.decision import BreakerState

_OF_BREAKER: Final = frozenset({IncidentKind.MODEL, IncidentKind.DRILL})
EVENTS_MAX: Final = 10_000
"""Most events on one incident that people are proved to have signed. Those that nobody is proved to have signed don't
count, or whoever can write them would shut everybody out."""


class IncidentState(StrEnum):
    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class EventKind(StrEnum):
    ACKNOWLEDGED = "ACKNOWLEDGED"
    NOTED = "NOTED"
    RESOLVED = "RESOLVED"


_S, _E = IncidentState, EventKind
TRANSITIONS: Final[Mapping[tuple[IncidentState, EventKind], IncidentState]] = {
    (_S.OPEN, _E.ACKNOWLEDGED): _S.ACKNOWLEDGED,
    (_S.OPEN, _E.NOTED): _S.OPEN,
    (_S.OPEN, _E.RESOLVED): _S.RESOLVED,
    (_S.ACKNOWLEDGED, _E.NOTED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.RESOLVED): _S.RESOLVED,
    (_S.RESOLVED, _E.NOTED): _S.RESOLVED,  # what is learnt later belongs to it, a final report among it
}


class ToldAlert(NamedTuple):
    """An alert of an incident, as it was raised; alert_id follows from what it says."""

    alert_id: str
    raised_at_ms: int
    code: str
    severity: str
    summary: str
    scope: str
    evidence: Mapping[str, str]


class AlertGroup(NamedTuple):
    """All alerts of one code in an incident."""

    code: str
    raised: int
    first_ms: int
    last_ms: int


class PersonEvent(NamedTuple):
    """What a person did about an incident.

    criterion, answer: a note's word on one of DORA's criteria. assessment: JSON, of a resolution. act: the digest of
    what was signed.
    """

    sequence: int
    kind: EventKind
    actor: str
    at_ms: int
    text: str
    criterion: str | None
    answer: str | None
    assessment: str | None
    act: str


class Incident(NamedTuple):
    """An incident as it is known now.

    suspect_since_ms: as the alert that opened it has it; `suspect_ms` says from when on decisions are suspect. alerts:
    the first of them, by time; groups: all. transitions: the breaker's in its scopes, from its first alert (the first
    that workers prove, where one is) to the next incident there. events: those that are
    proved, and `unproved` the others.
    """

    incident_id: str
    kind: str
    raised_at_ms: int
    suspect_since_ms: int
    scopes: Sequence[str]
    alerts: Sequence[ToldAlert]
    groups: Sequence[AlertGroup]
    transitions: Sequence[ToldTransition]
    events: Sequence[PersonEvent]
    unproved: Sequence[PersonEvent]

    @property
    def is_of_breaker(self) -> bool:
        """Whether its decisions are those of the breaker's scopes: a model that was taken out, or a drill."""
        return self.kind in _OF_BREAKER

    @property
    def state(self) -> IncidentState:
        return state_after(event.kind for event in self.events)

    @property
    def first_ms(self) -> int:
        """The first alert; alerts stand on several partitions, so the one that opened it may not be the first."""
        return min((group.first_ms for group in self.groups), default=self.raised_at_ms)

    @property
    def suspect_ms(self) -> int:
        """From when on its decisions are suspect. Of what the breaker did that is a worker's own word, where there is
        one: whoever may write alerts.v1 would otherwise make the incident as old as they like."""
        began = [each.at_ms for each in self.transitions if each.is_proved and each.after != BreakerState.CLOSED]
        if not (self.is_of_breaker and began):
            return self.suspect_since_ms
        return min(began) - (self.raised_at_ms - self.suspect_since_ms)

    @property
    def acknowledged(self) -> PersonEvent | None:
        return next((event for event in self.events if event.kind is EventKind.ACKNOWLEDGED), None)

    @property
    def resolved(self) -> PersonEvent | None:
        return next((event for event in self.events if event.kind is EventKind.RESOLVED), None)

    @property
    def next_sequence(self) -> int:
        return len(self.events) + len(self.unproved) + 1

    def state_of(self, scope: str) -> str:
        """The breaker's state in a scope, by the last transition that a worker told; UNKNOWN where none did."""
        found = self.proved_of(scope)
        return found[-1].after if found else str(BreakerState.UNKNOWN)

    def proved_of(self, scope: str) -> list[ToldTransition]:
        """A scope's transitions that a worker is proved to have told."""
        return [each for each in self.transitions if each.scope == scope and each.is_proved]


class Exposure(NamedTuple):
    """A stretch of time, in milliseconds, in which the decisions of a scope are affected: [since, until)."""

    scope: str
    since_ms: int
    until_ms: int


class Moment(NamedTuple):
    """One line of an incident's timeline."""

    at_ms: int
    source: str  # ALERT, OVER, BREAKER, PERSON or UNPROVED
    what: str
    who: str
    text: str


def state_after(kinds: Iterable[EventKind]) -> IncidentState:
    """Fold events into a state; one that isn't possible where it stands changes nothing."""
    state = IncidentState.OPEN
    for kind in kinds:
        state = TRANSITIONS.get((state, kind), state)
    return state


def is_possible(state: IncidentState, kind: EventKind) -> bool:
    return (state, kind) in TRANSITIONS


def exposures(incident: Incident, now_ms: int) -> list[Exposure]:
    """List when the decisions of each scope are affected, in the order of time.

    That is from before its first alert, by as much as the incident says, until the breaker closed there again; where it
    didn't, until the incident was resolved, or now. What went wrong there anew after that is a time of its own: nobody
    may have resolved the incident for weeks in which all was well. That it closed is a worker's own word only, and so
    is when it was open, where a worker told of that: whoever may write alerts.v1 would otherwise make what is affected
    smaller, or as large as all that was ever decided.
    """
    end_ms = now_ms if incident.resolved is None else incident.resolved.at_ms
    return [exposure for scope in incident.scopes for exposure in _of_scope(incident, scope, end_ms)]


def _of_scope(incident: Incident, scope: str, end_ms: int) -> list[Exposure]:
    before_ms = incident.raised_at_ms - incident.suspect_since_ms
    own = incident.proved_of(scope)
    moved = own or [each for each in incident.transitions if each.scope == scope]
    began = [each.at_ms for each in moved if each.after != BreakerState.CLOSED]
    began += [each.raised_at_ms for each in incident.alerts if each.scope == scope and (not own or _is_breakers(each))]
    closed = [
        each.at_ms
        for each, following in zip_longest(own, own[1:])
        if each.after == BreakerState.CLOSED and (following is None or following.before == BreakerState.CLOSED)
    ]  # what doesn't follow on from it shows that something between them isn't known
    found: list[Exposure] = []
    over_ms: int | None = None
    for at_ms in sorted(began) or [incident.first_ms]:
        if over_ms is not None and at_ms < over_ms:
            continue
        since_ms = at_ms - before_ms if over_ms is None else max(at_ms - before_ms, over_ms)
        over_ms = next((closed_ms for closed_ms in closed if closed_ms > at_ms), None)
        found.append(Exposure(scope, since_ms, max(end_ms, since_ms) if over_ms is None else over_ms))
        if over_ms is None:
            break
    return found


def _is_breakers(told: ToldAlert) -> bool:
    """Whether the breaker did what it tells of; in an incident of the breaker's a worker is proved to have told so."""
    return told.code.startswith(BREAKER_PREFIX)


def timeline(incident: Incident) -> list[Moment]:
    """List what happened, oldest first. A transition is told once, though an alert told it."""
    told_by_breaker = {(each.scope, each.at_ms, each.cause) for each in incident.transitions}
    moments = [
        Moment(each.at_ms, "BREAKER", f"{each.before} to {each.after}", each.author, f"{each.scope}: {each.cause}")
        for each in incident.transitions
    ]
    moments += [
        Moment(each.raised_at_ms, "ALERT", each.code, each.scope, each.summary)
        for each in incident.alerts
        if (each.scope, each.raised_at_ms, cause_in(each.code, each.summary)) not in told_by_breaker
    ]
    moments += [Moment(each.at_ms, "PERSON", _said(each), each.actor, each.text) for each in incident.events]
    moments += [Moment(each.at_ms, "UNPROVED", _said(each), each.actor, each.text) for each in incident.unproved]
    return sorted(moments, key=lambda moment: moment.at_ms)


def diagram() -> str:
    """Draw TRANSITIONS as a Mermaid state diagram."""
    arrows = [f"    {before} --> {after}: {kind}" for (before, kind), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> OPEN", *arrows]) + "\n"


def _said(event: PersonEvent) -> str:
    return str(event.kind) if event.criterion is None else f"{event.kind} {event.criterion}: {event.answer}"
