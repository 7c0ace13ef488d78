"""Groups kept: alerts taken in, people's acts carried out, and what is due told, escalated or ended.

Everything happens in a transaction, with the position of what was read; after a failure all is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from pipeline.alerts.catalogue import ENDED_BY, OVER_BY_ITSELF, TOLD_ALONE, AlertCode, forged_alert
from pipeline.domain.alert import Alert
from pipeline.io.postgres import Connection
from pipeline.oncall import metrics
from pipeline.oncall.answers_store import GroupAct
from pipeline.oncall.groups import (
    SYSTEM,
    AlertTurn,
    EventKind,
    Group,
    GroupEvent,
    GroupKey,
    State,
    begins_anew,
    bounded,
    group_id_after,
    group_id_of,
    is_all_over,
    is_ended_by,
    is_quiet,
    is_to_be_told,
    key_of,
    open_key,
    opened,
    places_of,
    put_back,
    told_of,
    turn_after,
    turns_ended_by,
    unproved_key,
)
from pipeline.oncall.messages import MessageKind
from pipeline.oncall.routing import Routes
from pipeline.oncall.sending_service import Outbox
from pipeline.oncall.silences import Silence, silence_alert, silenced
from pipeline.oncall.sinks.rendering import RESOLVED_MS
from pipeline.oncall.store import (
    LastEvent,
    alerts_since,
    append_event,
    append_group,
    append_turns,
    group_of_alert,
    read_ended_unheard,
    read_just_resolved,
    read_last_events,
    read_open_groups,
)

_ENDING: Final = frozenset(code for codes in ENDED_BY.values() for code in codes)
_BACK_BETWEEN: Final = frozenset(ENDED_BY)
SEQUENCE_MAX: Final = 2**31 - 1
"""The last place of an event that the table holds. A group with one there can't be ended any more, but left behind."""
_log = structlog.stdlib.get_logger("alerts")


class Heard(NamedTuple):
    """An alert and the place of its record. is_unproved: whether only a worker can know of it, and none is proved to
    have told."""

    alert: Alert
    partition: int
    offset: int
    is_unproved: bool = False


@dataclass(slots=True)
class _Unstored:
    """A group's alerts of this batch, which aren't stored yet.

    over_said_at: the last record by which an alert of the group is over.
    """

    records: int = 0
    is_counted: bool = False
    latest_raised_ms: int = 0
    turns: dict[str, AlertTurn] = field(default_factory=dict)
    over_said_at: str = ""


class GroupKeeper:
    """For one thread. topic: by its full name."""

    def __init__(self, routes: Routes, outbox: Outbox, topic: str) -> None:
        self._routes, self._outbox, self._topic = routes, outbox, topic
        self._groups: dict[str, Group] = {}
        self._by_key: dict[GroupKey, str] = {}
        self._unstored: dict[str, _Unstored] = {}
        self._over: dict[str, str] = {}  # groups that are to be over once no sink is crowded, and by whose word
        self._resolved: list[Group] = []
        self._unheard: list[Group] = []
        self.silences: Sequence[Silence] = ()
        self._silences_told: set[str] = set()

    def begin(self, connection: Connection, now_ms: int) -> list[str]:
        """Begin with the groups that are open; return their ids, and those of what others have ended."""
        self._groups = {group.group_id: put_back(group, now_ms) for group in read_open_groups(connection)}
        self._by_key = {group.key: group.group_id for group in self._groups.values()}
        self._resolved = read_just_resolved(connection, RESOLVED_MS)
        self._unstored, self._silences_told = {}, set()
        self._over = {group.group_id: _over_note() for group in self._groups.values() if is_all_over(group)}
        self._unheard = read_ended_unheard(connection)
        return [*self._groups, *(group.group_id for group in self._unheard)]

    def what_others_wrote(self, connection: Connection, now_ms: int) -> list[Alert]:
        """Go on with what was ended, or moved, by something that isn't this service; return what is to be told of it.

        While it has its turn nobody else writes what becomes of groups, but for whoever has stolen its credential.
        """
        last = read_last_events(connection, self._groups) if self._groups else {}
        strange = [
            (group, last[group.group_id])
            for group in self._groups.values()
            if group.group_id in last and last[group.group_id].sequence > group.sequence
        ]
        return [self._go_on(connection, group, now_ms, written) for group, written in strange]

    def ended_by_others(self, connection: Connection, now_ms: int) -> list[Alert]:
        """Do the same with what ended while no service looked."""
        unheard, self._unheard = self._unheard, []
        return [self._go_on(connection, group, now_ms) for group in unheard]

    def _go_on(self, connection: Connection, group: Group, now_ms: int, written: LastEvent | None = None) -> Alert:
        """Go on in another group, which is told of anew. written: where the group isn't over in memory."""
        forged = forged_alert(group.group_id, group_id_after(group.group_id), group.key.code, group.key.scope, now_ms)
        _log.critical("alert_group_forged", group_id=group.group_id, code=group.key.code)
        with connection.transaction():
            if written is not None:
                group = replace(group, sequence=written.sequence)
                if not written.is_ended and written.sequence < SEQUENCE_MAX:
                    event = GroupEvent(EventKind.RESOLVED, now_ms, actor=SYSTEM, note=forged.summary)
                    append_event(connection, group, event)
            sinks = self._outbox.sinks_told(group.group_id)
            over = replace(group, state=State.RESOLVED, resolved_at_ms=now_ms)
            self._outbox.plan(connection, over, sinks, MessageKind.RESOLVED, now_ms, note=forged.summary)
            self._drop(group.group_id)
            if group.key not in self._by_key and not read_last_events(connection, [group_id_after(group.group_id)]):
                self._begin_again(connection, group, now_ms)
        return forged

    def _begin_again(self, connection: Connection, group: Group, now_ms: int) -> None:
        turns = {alert_id: turn for alert_id, turn in group.turns.items() if not turn.is_over}
        begun = Group(
            group_id_after(group.group_id),
            group.key,
            group.summary,
            group.evidence,
            now_ms,
            raised_at_ms=now_ms,
            turns=turns,
        )
        append_group(connection, begun)
        append_turns(connection, begun.group_id, turns)
        raised = GroupEvent(
            EventKind.RAISED, now_ms, max(1, group.records), 0, group.is_counted, group.latest_raised_ms
        )
        self._groups[begun.group_id] = append_event(connection, begun, raised)
        self._by_key[begun.key] = begun.group_id

    def _drop(self, group_id: str) -> None:
        self._groups.pop(group_id, None)
        self._by_key = {key: each for key, each in self._by_key.items() if each != group_id}
        self._unstored.pop(group_id, None)
        self._over.pop(group_id, None)
        self._outbox.forget(group_id)

    def put_back(self, now_ms: int) -> None:
        """Go on by a clock that was put back."""
        self._groups = {group_id: put_back(group, now_ms) for group_id, group in self._groups.items()}
        self._resolved = [
            replace(group, resolved_at_ms=min(group.resolved_at_ms or 0, now_ms)) for group in self._resolved
        ]

    def open_groups(self) -> list[Group]:
        return list(self._groups.values())

    def just_resolved(self, now_ms: int) -> list[Group]:
        """The groups that ended a while ago, at most."""
        self._resolved = [each for each in self._resolved if now_ms - (each.resolved_at_ms or 0) < RESOLVED_MS]
        return list(self._resolved)

    def take_in(self, connection: Connection, heard: Iterable[Heard], now_ms: int) -> None:
        """Put alerts into their groups, in their order."""
        for read in heard:
            alert = bounded(read.alert)
            metrics.RECORDS.labels(alert.severity).inc()
            if alert.is_over:
                self._end_alert(alert, read)
                continue
            if alert.code in _ENDING:
                self._end_by(connection, read._replace(alert=alert), now_ms)
            self._raise(connection, alert, read, now_ms)
        for group_id in list(self._unstored):
            said_at = self._unstored[group_id].over_said_at
            self._store(connection, group_id, now_ms)
            if is_all_over(self._groups[group_id]):
                if self._outbox.is_crowded:
                    self._over[group_id] = _over_note(said_at)
                else:
                    self._resolve(connection, group_id, now_ms, _over_note(said_at))

    def tell_of_silences(self, connection: Connection, now_ms: int) -> None:
        """Raise what tells of each silence in force, once: whoever would be called else hears that they won't be."""
        in_force = {each.silence_id: each for each in self.silences if each.is_in_force(now_ms)}
        for silence_id in in_force.keys() - self._silences_told:
            raised = Heard(silence_alert(in_force[silence_id]), 0, UUID(silence_id).int)  # where it stands on no topic
            with connection.transaction():
                self.take_in(connection, [raised], now_ms)
        self._silences_told = set(in_force)

    def carry_out(self, connection: Connection, act: GroupAct, now_ms: int) -> None:
        """Do what a proven person said about a group."""
        group = self._groups.get(act.group_id)
        if group is None:
            return
        if act.kind is EventKind.RESOLVED:
            came = {key: turn for key, turn in group.turns.items() if key in alerts_since(connection, act.act)}
            is_again = bool(came) or group.raised_at_ms > act.at_ms
            self._resolve(connection, act.group_id, now_ms, act.note, act)
            if is_again:  # nobody said of this that it is over
                self._begin_again(connection, replace(group, turns=came or group.turns), now_ms)
            return
        event = GroupEvent(EventKind.ACKNOWLEDGED, now_ms, actor=act.by, note=act.note, act=act.act)
        moved = self._groups[act.group_id] = append_event(connection, group, event)
        sinks = self._outbox.sinks_told(act.group_id)
        self._outbox.plan(connection, moved, sinks, MessageKind.ACKNOWLEDGED, now_ms, by=act.by, note=act.note)

    def call_again(self, connection: Connection, group_id: str, now_ms: int) -> None:
        """Go on with a group, whose acknowledgement counts no more, as another one that calls people anew."""
        group = self._groups[group_id]
        note = f"{group.acknowledged_by}, who acknowledged it, has no role or key any more; it goes on, told of anew"
        _log.warning("acknowledgement_lapsed", group_id=group_id, code=group.key.code)
        self._resolve(connection, group_id, now_ms, note)
        self._begin_again(connection, group, now_ms)

    def do_what_is_due(self, connection: Connection, now_ms: int) -> None:
        """Tell, escalate and end what is due, each group in a transaction of its own."""
        for group in list(self._groups.values()):
            if (act := self._due(group, now_ms)) is not None:
                with connection.transaction():
                    act(connection, group, now_ms)

    def show(self, now_ms: int) -> None:
        """Show on the metrics what stands open."""
        metrics.GROUPS.clear()
        for group in self._groups.values():
            metrics.GROUPS.labels(group.key.severity, group.state).inc()
        metrics.SILENCES.set(sum(silence.is_in_force(now_ms) for silence in self.silences))

    def _due(self, group: Group, now_ms: int) -> Callable[[Connection, Group, int], None] | None:
        if group.key.code == AlertCode.ALERTS_SILENCED and group.evidence.get("silence") not in self._silences_told:
            return self._end_silence
        if group.group_id in self._over and is_all_over(group):
            return None if self._outbox.is_crowded else self._end_over
        if is_quiet(group, now_ms, self._routes.quiet_ms) and not (group.is_notice and self._outbox.is_crowded):
            return self._end_quiet
        if silenced(self.silences, group.key, now_ms) is not None:
            return None
        if is_to_be_told(group, now_ms, self._routes.wait_ms):
            return self._tell
        return self._escalate if self._is_unanswered(group, now_ms) else None

    def _raise(self, connection: Connection, alert: Alert, read: Heard, now_ms: int) -> None:
        if alert.code in TOLD_ALONE and self._was_told_alone(connection, alert):
            return
        group_id = self._group_for(connection, alert, read, now_ms)
        if begins_anew(self._groups[group_id], alert, now_ms):
            self._tell_anew(connection, group_id, alert, now_ms)
            group_id = self._group_for(connection, alert, read, now_ms)
        unstored = self._unstored.setdefault(group_id, _Unstored())
        unstored.records += 1
        unstored.latest_raised_ms = max(unstored.latest_raised_ms, alert.raised_at_ms)
        group = self._groups[group_id]
        turn = turn_after(group, alert)
        if turn is not None:
            self._turn(group_id, alert.alert_id, turn)
        elif alert.alert_id not in group.turns:
            unstored.is_counted = True

    def _was_told_alone(self, connection: Connection, alert: Alert) -> bool:
        return key_of(alert) in self._by_key or group_of_alert(connection, alert.alert_id) is not None

    def _group_for(self, connection: Connection, alert: Alert, read: Heard, now_ms: int) -> str:
        key = unproved_key(key_of(alert)) if read.is_unproved else open_key(key_of(alert), self._by_key.keys())
        if (known := self._by_key.get(key)) is not None:
            return known
        group = opened(group_id_of(key, self._topic, read.partition, read.offset), key, alert, now_ms)
        append_group(connection, group)
        self._groups[group.group_id], self._by_key[key] = group, group.group_id
        _log.info("alert_group_opened", code=key.code, severity=key.severity)
        return group.group_id

    def _tell_anew(self, connection: Connection, group_id: str, alert: Alert, now_ms: int) -> None:
        """End a group that somebody has acknowledged, for another in its place, of what isn't over there and the alert
        that calls people anew. A trip after one that was acknowledged shows that the model was back in between."""
        self._store(connection, group_id, now_ms)
        group = self._groups[group_id]
        self._resolve(connection, group_id, now_ms, "it came again after it was acknowledged, and is told of anew")
        if group.is_fold or alert.code not in _BACK_BETWEEN:
            self._begin_again(connection, replace(group, summary=alert.summary, evidence=alert.evidence), now_ms)

    def _end_alert(self, alert: Alert, read: Heard) -> None:
        """One alert is over, of whichever group holds it; that counts where its raiser can know."""
        if alert.code not in OVER_BY_ITSELF:
            _log.warning("over_passed_over", code=alert.code)
            return
        for each in places_of(key_of(alert)):
            group_id = self._by_key.get(each)
            if group_id is not None and alert.alert_id in self._groups[group_id].turns:
                turn = turn_after(self._groups[group_id], alert)
                if turn is not None:
                    self._turn(group_id, alert.alert_id, turn)
                    self._unstored[group_id].over_said_at = self._where(read)
                return

    def _end_by(self, connection: Connection, read: Heard, now_ms: int) -> None:
        """End what this alert ends. Everybody hears which record says so: whoever may write the topic can write one."""
        alert, where = read.alert, self._where(read)
        for group_id in list(self._groups):
            for alert_id, turn in turns_ended_by(self._groups[group_id], alert).items():
                self._turn(group_id, alert_id, turn)
                self._unstored[group_id].over_said_at = where
            if is_ended_by(self._with_unstored(group_id), alert):
                self._store(connection, group_id, now_ms)
                said = f"{alert.code}: {alert.summary}"[:1000]
                self._resolve(connection, group_id, now_ms, f"{said} ({where})")

    def _where(self, read: Heard) -> str:
        return f"{self._topic}[{read.partition}] at {read.offset}"

    def _with_unstored(self, group_id: str) -> Group:
        """The group as it will be once what the batch has brought of it is stored."""
        group, unstored = self._groups[group_id], self._unstored.get(group_id, _Unstored())
        return replace(group, latest_raised_ms=max(group.latest_raised_ms, unstored.latest_raised_ms))

    def _turn(self, group_id: str, alert_id: str, turn: AlertTurn) -> None:
        group = self._groups[group_id]
        group.turns[alert_id] = turn
        self._unstored.setdefault(group_id, _Unstored()).turns[alert_id] = turn

    def _store(self, connection: Connection, group_id: str, now_ms: int) -> None:
        """Append what a batch has brought of a group."""
        unstored = self._unstored.pop(group_id, None)
        if unstored is None:
            return
        append_turns(connection, group_id, unstored.turns)
        if unstored.records:
            counted, latest_ms = unstored.is_counted, unstored.latest_raised_ms
            raised = GroupEvent(EventKind.RAISED, now_ms, unstored.records, 0, counted, latest_ms)
            self._groups[group_id] = append_event(connection, self._groups[group_id], raised)

    def _tell(self, connection: Connection, group: Group, now_ms: int) -> None:
        if group.is_notice:
            kind = MessageKind.NOTICED
        else:
            kind = MessageKind.COUNTED if group.told_records else MessageKind.TRIGGERED
        moved = append_event(connection, group, GroupEvent(EventKind.TOLD, now_ms, max(1, group.records)))
        route = self._routes.route_of(group.key)
        sinks = dict.fromkeys([*self._routes.told(group.key, route.sinks), *self._outbox.sinks_told(group.group_id)])
        self._outbox.plan(connection, told_of(moved), sinks, kind, now_ms)
        self._groups[group.group_id] = moved

    def _is_unanswered(self, group: Group, now_ms: int) -> bool:
        escalations = self._routes.route_of(group.key).escalations
        if group.state is not State.FIRING or group.told_at_ms is None or group.is_notice:
            return False
        if group.escalated_level >= len(escalations):
            return False
        return now_ms - group.told_at_ms >= escalations[group.escalated_level].after_ms

    def _escalate(self, connection: Connection, group: Group, now_ms: int) -> None:
        level = group.escalated_level + 1
        escalation = self._routes.route_of(group.key).escalations[group.escalated_level]
        moved = append_event(connection, group, GroupEvent(EventKind.ESCALATED, now_ms, level=level))
        sinks = self._routes.told(group.key, escalation.sinks)
        self._outbox.plan(connection, told_of(moved), sinks, MessageKind.ESCALATED, now_ms)
        self._groups[group.group_id] = moved
        metrics.ESCALATIONS.labels(str(level)).inc()
        _log.error("alert_escalated", code=group.key.code, severity=group.key.severity, level=level)

    def _end_over(self, connection: Connection, group: Group, now_ms: int) -> None:
        self._resolve(connection, group.group_id, now_ms, self._over[group.group_id])

    def _end_silence(self, connection: Connection, group: Group, now_ms: int) -> None:
        self._resolve(connection, group.group_id, now_ms, "the silence is not in force any more")

    def _end_quiet(self, connection: Connection, group: Group, now_ms: int) -> None:
        self._resolve(connection, group.group_id, now_ms, "nothing more of it came")

    def _resolve(
        self, connection: Connection, group_id: str, now_ms: int, note: str, act: GroupAct | None = None
    ) -> None:
        group = self._groups[group_id]
        is_silenced = silenced(self.silences, group.key, now_ms) is not None
        if group.told_records == 0 and not is_silenced:
            self._tell(connection, group, now_ms)  # what was over at once was there all the same
            group = self._groups[group_id]
        by = None if act is None else act.by
        event = GroupEvent(EventKind.RESOLVED, now_ms, actor=by or SYSTEM, note=note, act=act.act if act else None)
        moved = append_event(connection, group, event)
        if not group.is_notice:
            sinks = self._outbox.sinks_told(group_id)
            self._outbox.plan(connection, moved, sinks, MessageKind.RESOLVED, now_ms, by=by, note=note)
        self._drop(group_id)
        self._resolved.append(replace(moved, turns={}))
        _log.info("alert_group_over", code=group.key.code, severity=group.key.severity)


def _over_note(said_at: str = "") -> str:
    return f"each of its alerts was said to be over, the last by {said_at or 'another record'}"
