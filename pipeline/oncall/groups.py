"""Groups of alerts: what people are told of as one thing, from its first alert until it is over.

Invariants
1. An alert is in a group from the moment it is read; alerts of one code, scope and severity are one group until it is
   over. A change that people made is a group of its own.
2. A group is over when each of its alerts was said to be over, when an alert of another code ends it, or when a person
   says so; a mere notice, after a while. What isn't known to be over is not over. While a sink is crowded, no group is
   over by the word of those who raise alerts, nor a notice after a while: the bound on open groups bounds messages.
3. Only a person's proven act acknowledges or resolves by hand. What is acknowledged is never escalated, while whoever
   acknowledged it has role and key.
4. How often a group is told of grows with the logarithm of its alerts: at 1, 10, 100 and so on. Alerts that are told of
   in none of these messages are told of after AGAIN_MS at the latest; of further scopes, after FOLD_AGAIN_MS.
5. An alert of the whole, of a model or of a channel is never in a group with those of segments.
6. What was raised later than the word that it is over is not over.
7. Where a worker can say that something is over, its word counts under its seal alone.
8. What the breaker is said to have done, and no worker is proved to have told, is told apart: nothing that a worker
   told of ever joins it, nor waits because of it.
9. An acknowledgement covers what was raised before it. Where the breaker takes the model out anew, that is told anew;
   of any other critical alert, what comes an hour after it or later.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.alerts.catalogue import CATALOGUE, ENDED_BY, OVER_BY_ITSELF, TOLD_ALONE, AlertCode, alert_id_of
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.free_text import shown

ALERTS_KEPT_MAX: Final = 10_000
"""Alerts of a group that are kept by their ids. One of more is over when a person says so: of the rest nobody knows."""
SCOPES_MAX: Final = 50
"""Open groups of one code and severity; alerts about further scopes are one group, so that no flood pages for ever."""
OTHER_SCOPES: Final = "(other scopes)"
WHOLE: Final = "all"
WIDE_SCOPES: Final = ("model:", "channel:")
"""Begin the scopes that many payments are in. They are told apart from segments, however many of those there are."""
WIDE_SCOPES_MAX: Final = 50
"""Open groups of one code and severity about models and channels: more than anybody runs, so only made-up ones fold."""
OTHER_WIDE_SCOPES: Final = "(other models and channels)"
UNPROVED_SCOPE: Final = "(unproved)"
"""Alerts of the breaker, about whichever scopes, of which nothing proves that a worker wrote them: one group a code."""
GROUPS_MAX: Final = 1_000
"""Open groups beyond which further ones are one group a severity, as whoever writes alerts.v1 can make up codes. Not
those of the catalogue's codes about the whole, a model or a channel, which have bounds of their own."""
OTHER_CODES: Final = "(other codes)"
TOLD_AGAIN: Final = 10
"""A group is told of again when it has so many times the alerts that were told of last."""
AGAIN_MS: Final = 3_600_000
"""Time since a group was told of after which one more alert is: an outage of next week is not the one of today."""
FOLD_AGAIN_MS: Final = 5 * 60_000
"""The same of a group of further scopes or codes: each of its alerts may be another outage."""
FOLD_NAMED_MAX: Final = 20
"""Scopes that a message about such a group names."""
CODE_CHARACTERS_MAX: Final = 100
SCOPE_CHARACTERS_MAX: Final = 300
SUMMARY_CHARACTERS_MAX: Final = 2_000
EVIDENCE_FIELDS_MAX: Final = 30
EVIDENCE_CHARACTERS_MAX: Final = 1_000
NOTICE_MS: Final = 5 * 60_000
"""Time without another notice of the kind after which the next is told of anew."""
SYSTEM: Final = "system:alerts"
"""The actor of what the service does by itself."""
_KNOWN: Final = frozenset(code.value for code in CATALOGUE)
_ENDING: Final[dict[str, frozenset[str]]] = {code.value: frozenset(codes) for code, codes in ENDED_BY.items()}
_ENDING_LATER: Final = frozenset(_ENDING) | frozenset(code.value for code in OVER_BY_ITSELF)
"""The codes that something ends, so that it matters when they were raised last."""
_WORKERS_RAISES: Final = frozenset(code.value for code in CATALOGUE if code.value.startswith("BREAKER_"))
_BEGINNING: Final = frozenset(
    {AlertCode.BREAKER_TRIP.value, AlertCode.BREAKER_FORCE_OPEN.value, AlertCode.BREAKER_DRILL.value}
)
"""What happens to a model that is in the loop, so that another one isn't what was acknowledged before."""
_WORKERS_ENDS: Final = frozenset(code.value for codes in ENDED_BY.values() for code in codes)
_WORKERS_OVER: Final = frozenset(
    {AlertCode.STATE_BACKUP_OLD.value, AlertCode.FEED_AGEING.value, AlertCode.FEED_TOO_OLD.value}
)
NEVER_SILENCED: Final = frozenset(
    {
        AlertCode.ALERTS_FORGED.value,
        AlertCode.ALERTS_UNREAD.value,
        AlertCode.ACT_UNPROVED.value,
        AlertCode.ALERTS_SILENCED.value,
    }
)
"""Codes that say that what is told, or was signed, can't be relied upon, so no silence is to be relied upon either; and
that there is a silence. Whoever has stolen an OPERATOR's key would begin by silencing them."""
NOT_DELIVERED: Final = AlertCode.ALERT_NOT_DELIVERED.value
_NAMESPACE: Final = UUID("0a4be1a2-6d0e-5b43-9f0a-2c6c7b1f0d55")


class State(StrEnum):
    FIRING = "FIRING"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class EventKind(StrEnum):
    RAISED = "RAISED"
    TOLD = "TOLD"
    ESCALATED = "ESCALATED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


TRANSITIONS: Final[dict[tuple[State, EventKind], State]] = {
    (State.FIRING, EventKind.RAISED): State.FIRING,
    (State.FIRING, EventKind.TOLD): State.FIRING,
    (State.FIRING, EventKind.ESCALATED): State.FIRING,
    (State.FIRING, EventKind.ACKNOWLEDGED): State.ACKNOWLEDGED,
    (State.FIRING, EventKind.RESOLVED): State.RESOLVED,
    (State.ACKNOWLEDGED, EventKind.RAISED): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, EventKind.TOLD): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, EventKind.ACKNOWLEDGED): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, EventKind.RESOLVED): State.RESOLVED,
}
"""An alert that comes after RESOLVED opens another group."""


class GroupKey(NamedTuple):
    """What alerts of one open group have in common. `alone`: the id of an alert that is a group by itself, or empty."""

    code: str
    scope: str
    severity: Severity
    alone: str = ""


class GroupEvent(NamedTuple):
    """records: alerts read, of RAISED; alerts told of, of TOLD. level: of ESCALATED. actor: a person or system:alerts.

    is_counted: of RAISED, whether some of them were not kept by their ids. raised_at_ms: of RAISED, the latest time
    that they say. act: the digest of what a person signed.
    """

    kind: EventKind
    at_ms: int
    records: int = 0
    level: int = 0
    is_counted: bool = False
    raised_at_ms: int | None = None
    actor: str = SYSTEM
    note: str | None = None
    act: str | None = None


class AlertTurn(NamedTuple):
    """Whether an alert is over, and how often that has changed. raised_at_ms: when it was raised last, as it says."""

    turn: int
    is_over: bool
    code: str
    scope: str
    raised_at_ms: int


@dataclass(frozen=True, slots=True)
class Group:
    """A group after its events. told_records: 0 where nothing was sent yet; sequence: that of its last event.

    raised_at_ms: when its last alert was read. latest_raised_ms: the latest time that one of its alerts says.
    """

    group_id: str
    key: GroupKey
    summary: str
    evidence: dict[str, str]
    opened_at_ms: int
    state: State = State.FIRING
    sequence: int = 0
    records: int = 0
    is_counted: bool = False
    told_records: int = 0
    told_at_ms: int | None = None
    last_told_at_ms: int = 0
    escalated_level: int = 0
    acknowledgement: GroupEvent | None = None
    raised_at_ms: int = 0
    latest_raised_ms: int = 0
    resolved_at_ms: int | None = None
    turns: dict[str, AlertTurn] = field(default_factory=dict)

    @property
    def acknowledged_by(self) -> str | None:
        return None if self.acknowledgement is None else self.acknowledgement.actor

    @property
    def is_notice(self) -> bool:
        return self.key.severity is Severity.INFO

    @property
    def is_fold(self) -> bool:
        """Whether it is of several scopes or codes, so that each of its alerts may be another outage."""
        several = (OTHER_SCOPES, OTHER_WIDE_SCOPES, UNPROVED_SCOPE)
        return self.key.scope in several or self.key.code == OTHER_CODES


def bounded(alert: Alert) -> Alert:
    """The alert as the database and every sink can hold it: visible characters, and no more than the bounds allow.

    Its id is the one that follows from what it says. Whoever may write the topic would else take another's beforehand,
    and that one, known by then, would be told to nobody.
    """
    pairs = sorted(alert.evidence.items())[:EVIDENCE_FIELDS_MAX]
    return alert._replace(
        alert_id=alert_id_of(alert.code, alert.scope, alert.evidence),
        code=_cut(alert.code, CODE_CHARACTERS_MAX),
        summary=_cut(alert.summary, SUMMARY_CHARACTERS_MAX),
        scope=_cut(alert.scope, SCOPE_CHARACTERS_MAX),
        evidence={_cut(name, CODE_CHARACTERS_MAX): _cut(value, EVIDENCE_CHARACTERS_MAX) for name, value in pairs},
    )


def key_of(alert: Alert) -> GroupKey:
    """The key of a bounded alert."""
    return GroupKey(alert.code, alert.scope, alert.severity, alert.alert_id if alert.code in TOLD_ALONE else "")


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern is of the text: * stands for anything, ? for one character, and all others for themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def places_of(key: GroupKey) -> tuple[GroupKey, GroupKey, GroupKey]:
    """The keys that an alert's group may have: its own, that of further scopes, that of further codes."""
    scopes = key._replace(scope=OTHER_WIDE_SCOPES if _is_wide(key.scope) else OTHER_SCOPES, alone="")
    return key, scopes, scopes._replace(code=OTHER_CODES, scope=OTHER_SCOPES)


def open_key(key: GroupKey, taken: Collection[GroupKey]) -> GroupKey:
    """The key of the group that an alert goes into. taken: those of the open groups."""
    own, scopes, codes = places_of(key)
    if own in taken:
        return own
    is_known, is_wide = key.code in _KNOWN and not key.alone, _is_wide(key.scope)
    if is_known and key.scope == WHOLE:
        return own
    if len(taken) >= GROUPS_MAX and not (is_known and is_wide):
        return codes
    scopes_max = WIDE_SCOPES_MAX if is_wide else SCOPES_MAX
    of_code = 0 if key.alone else sum(_is_beside(each, key) for each in taken)
    return own if of_code < scopes_max else scopes


def _is_beside(other: GroupKey, key: GroupKey) -> bool:
    """Whether the two are of one code and severity, and both or neither about models and channels."""
    same = (other.code, other.severity) == (key.code, key.severity) and other.scope != UNPROVED_SCOPE
    return same and _is_wide(other.scope) == _is_wide(key.scope)


def _is_wide(scope: str) -> bool:
    return scope in (WHOLE, OTHER_WIDE_SCOPES) or scope.startswith(WIDE_SCOPES)


def group_id_of(key: GroupKey, topic: str, partition: int, offset: int) -> str:
    """The id of the group that the record at this place opens."""
    return str(uuid5(_NAMESPACE, "|".join([key.code, key.scope, key.severity, topic, str(partition), str(offset)])))


def group_id_after(group_id: str) -> str:
    """The id of the group that goes on in another's place, because something else wrote what became of that one."""
    return str(uuid5(_NAMESPACE, f"goes on|{group_id}"))


def opened(group_id: str, key: GroupKey, first: Alert, now_ms: int) -> Group:
    return Group(group_id, key, first.summary, dict(first.evidence), now_ms, raised_at_ms=now_ms)


def advanced(group: Group, event: GroupEvent) -> Group:
    """The group after one more event. A transition that isn't in the table is a fault of ours."""
    after = replace(group, state=TRANSITIONS[group.state, event.kind], sequence=group.sequence + 1)
    match event.kind:
        case EventKind.RAISED:
            return replace(
                after,
                records=group.records + event.records,
                is_counted=group.is_counted or event.is_counted,
                raised_at_ms=event.at_ms,
                latest_raised_ms=max(group.latest_raised_ms, event.raised_at_ms or 0),
            )
        case EventKind.TOLD:
            told_at_ms = event.at_ms if group.told_at_ms is None else group.told_at_ms
            return replace(after, told_records=event.records, told_at_ms=told_at_ms, last_told_at_ms=event.at_ms)
        case EventKind.ESCALATED:
            return replace(after, escalated_level=event.level)
        case EventKind.ACKNOWLEDGED:
            return replace(after, acknowledgement=event)
        case EventKind.RESOLVED:
            return replace(after, resolved_at_ms=event.at_ms)


def is_workers_word(alert: Alert) -> bool:
    """Whether the alert says that something is over which workers alone know of.

    Every process may write alerts.v1, and so may whoever steals one's credential. Workers have a key besides.
    """
    return alert.code in _WORKERS_ENDS or (alert.is_over and alert.code in _WORKERS_OVER)


def is_workers_to_tell(alert: Alert) -> bool:
    """Whether only a worker can know of what the alert tells, so that one that nobody sealed is told apart."""
    return alert.code in _WORKERS_RAISES


def takes_turns_as(code: str, scope: str) -> str:
    """What takes turns at a sink with whatever is as urgent: each code of the catalogue, apart from what is unproved of
    it, and all made-up codes together."""
    known = code if code in _KNOWN else OTHER_CODES
    return f"{known} {UNPROVED_SCOPE}" if scope == UNPROVED_SCOPE else known


def unproved_key(key: GroupKey) -> GroupKey:
    """The key of the group of such alerts that nothing proves to be a worker's."""
    return key._replace(scope=UNPROVED_SCOPE, alone="")


def begins_anew(group: Group, alert: Alert, now_ms: int) -> bool:
    """Whether the alert is of another outage than the one of its group that somebody has acknowledged.

    Of what anybody may raise it isn't known whether what was acknowledged was forged, and this one is true: an hour
    later it calls people anew. Sooner it doesn't, or whoever forges would call them again and again.
    """
    if group.state is not State.ACKNOWLEDGED or alert.alert_id in group.turns:
        return False
    if alert.code in _WORKERS_RAISES and group.key.scope != UNPROVED_SCOPE:
        return alert.code in _BEGINNING and (group.is_fold or alert.raised_at_ms > group.latest_raised_ms)
    acknowledged_at_ms = group.raised_at_ms if group.acknowledgement is None else group.acknowledgement.at_ms
    return alert.severity is Severity.CRITICAL and now_ms - acknowledged_at_ms >= AGAIN_MS


def turn_after(group: Group, alert: Alert) -> AlertTurn | None:
    """The turn that a record of this alert begins; None where it changes nothing, or its id can't be kept."""
    known, is_over = group.turns.get(alert.alert_id), alert.is_over
    if known is None:
        if is_over or len(group.turns) >= ALERTS_KEPT_MAX:
            return None
        return AlertTurn(1, is_over=False, code=alert.code, scope=alert.scope, raised_at_ms=alert.raised_at_ms)
    is_later = alert.raised_at_ms > known.raised_at_ms
    if is_over:
        is_word = not known.is_over and alert.raised_at_ms >= known.raised_at_ms
        return known._replace(turn=known.turn + 1, is_over=True) if is_word else None
    if known.is_over or (is_later and known.code in _ENDING_LATER):
        raised_at_ms = max(known.raised_at_ms, alert.raised_at_ms)
        return known._replace(turn=known.turn + 1, is_over=False, raised_at_ms=raised_at_ms)
    return None


def is_all_over(group: Group) -> bool:
    """Whether each of the group's alerts was said to be over; False where some are only counted."""
    return bool(group.turns) and not group.is_counted and all(turn.is_over for turn in group.turns.values())


def is_ended_by(group: Group, alert: Alert) -> bool:
    """Whether an alert of another code ends the group: one about the same scope, later than all that the group has."""
    is_about = alert.code in _ending(group.key.code) and alert.scope == group.key.scope and not alert.is_over
    return is_about and not group.is_fold and alert.raised_at_ms > group.latest_raised_ms


def turns_ended_by(group: Group, alert: Alert) -> dict[str, AlertTurn]:
    """The turns of those alerts in a group of further scopes or codes that an alert of another code ends."""
    if not group.is_fold or alert.is_over:
        return {}
    return {
        alert_id: turn._replace(turn=turn.turn + 1, is_over=True)
        for alert_id, turn in group.turns.items()
        if not turn.is_over
        and alert.code in _ending(turn.code)
        and turn.scope == alert.scope
        and turn.raised_at_ms < alert.raised_at_ms
    }


def told_of(group: Group) -> Group:
    """The group as a message says it: of one of further scopes or codes, the summary names the latest that are open."""
    if not group.is_fold:
        return group
    latest: dict[str, int] = {}
    for turn in group.turns.values():
        if not turn.is_over:
            name = turn.scope if group.key.code == turn.code else f"{turn.code} {turn.scope}"
            latest[name] = max(latest.get(name, turn.raised_at_ms), turn.raised_at_ms)
    if not latest:
        return group
    names = sorted(latest, key=lambda name: (-latest[name], name))
    said = ", ".join(names[:FOLD_NAMED_MAX]) + (
        f" and {len(names) - FOLD_NAMED_MAX} more" if names[FOLD_NAMED_MAX:] else ""
    )
    said = f"The latest of {len(names)} that are not over: {said}."
    if group.key.scope == UNPROVED_SCOPE:
        said = f"Nothing proves that a worker told of this. {said}"
    return replace(group, summary=said[:SUMMARY_CHARACTERS_MAX])


def put_back(group: Group, now_ms: int) -> Group:
    """The group as of a clock that was put back: nothing of it is of a time to come, or its waits would last so long.

    What alerts say of their own times stays.
    """
    return replace(
        group,
        opened_at_ms=min(group.opened_at_ms, now_ms),
        told_at_ms=None if group.told_at_ms is None else min(group.told_at_ms, now_ms),
        last_told_at_ms=min(group.last_told_at_ms, now_ms),
        raised_at_ms=min(group.raised_at_ms, now_ms),
    )


def is_quiet(group: Group, now_ms: int, quiet_ms: int) -> bool:
    """Whether nothing came for so long that it is over: NOTICE_MS of a notice, `quiet_ms` if acknowledged and nothing
    says when it is over."""
    if group.is_notice:
        return group.told_records > 0 and now_ms - group.raised_at_ms >= NOTICE_MS
    is_silent = group.state is State.ACKNOWLEDGED and now_ms - group.raised_at_ms >= quiet_ms
    return is_silent and (group.key.scope == UNPROVED_SCOPE or not _holds_what_lasts(group))


def _holds_what_lasts(group: Group) -> bool:
    """Whether it is about the breaker, which stays as it is until it says otherwise, however long that takes."""
    return group.key.code in _ENDING or any(turn.code in _ENDING and not turn.is_over for turn in group.turns.values())


def is_to_be_told(group: Group, now_ms: int, wait_ms: int) -> bool:
    """Whether a message is due: the first after `wait_ms`, so that it can count; then at powers of ten, or in time."""
    if group.state is State.RESOLVED:
        return False
    if group.told_records == 0:
        return now_ms - group.opened_at_ms >= wait_ms
    if group.records >= group.told_records * TOLD_AGAIN:
        return True
    again_ms = FOLD_AGAIN_MS if group.is_fold else AGAIN_MS
    return group.records > group.told_records and now_ms - group.last_told_at_ms >= again_ms


def _ending(code: str) -> frozenset[str]:
    return _ENDING.get(code, frozenset())


def _cut(text: str, longest: int) -> str:
    return shown(text)[:longest] or "?"
