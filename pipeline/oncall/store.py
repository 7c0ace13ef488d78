"""Groups and the outbox in PostgreSQL: rows appended, and read back into values.

An event in a person's name counts where that person is proved to have signed it. One that nobody proved keeps its place
in the order, and does nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import structlog
from psycopg import errors
from psycopg.types.json import Jsonb

from pipeline.alerts.catalogue import TOLD_ALONE
from pipeline.domain.alert import Severity
from pipeline.io.postgres import Connection, connect, failures_named, statements
from pipeline.oncall.acts import group_act
from pipeline.oncall.groups import (
    SYSTEM,
    TRANSITIONS,
    AlertTurn,
    EventKind,
    Group,
    GroupEvent,
    GroupKey,
    State,
    advanced,
)
from pipeline.oncall.messages import Message, message_fields, message_of
from pipeline.oncall.outbox import Attempt, AttemptKind, Delivery, after
from pipeline.people.act_store import proved, read_registry
from pipeline.people.registry import Expected

_SQL: Final = statements("pipeline.oncall", "oncall")
_TURN_LIMITS: Final = (b"SET LOCAL lock_timeout = '2s'", b"SET LOCAL idle_in_transaction_session_timeout = 0")
_log = structlog.stdlib.get_logger("alerts")


class Turn:
    """The right to send, which one process has at a time: a row that a transaction of its own holds while it lives."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._holder: Connection | None = None

    def hold(self) -> bool:
        """Take the turn, or see that it is still held; False where another has it. Raises DatabaseUnavailable."""
        with failures_named():
            if self._holder is not None and not self._holder.closed:
                self._holder.execute("SELECT 1")
                return True
            holder = connect(self._url, f"{self._name}-turn")
            holder.execute("BEGIN")
            try:
                for limit in _TURN_LIMITS:
                    holder.execute(limit)
                holder.execute(_SQL["take_turn"])
            except errors.LockNotAvailable:
                holder.close()
                return False
            except BaseException:
                holder.close()
                raise
            self._holder = holder
            return True

    def drop(self) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None


class LastEvent(NamedTuple):
    """The last event of a group that the database holds. is_ended: whether the service is said to have ended it."""

    sequence: int
    is_ended: bool


def append_group(connection: Connection, group: Group) -> None:
    key = group.key
    fields = {"group_id": group.group_id, "code": key.code, "scope": key.scope, "severity": key.severity.value}
    connection.execute(_SQL["append_group"], {**fields, "summary": group.summary, "evidence": Jsonb(group.evidence)})


def append_turns(connection: Connection, group_id: str, turns: Mapping[str, AlertTurn]) -> None:
    rows: list[dict[str, object]] = [
        {"group_id": group_id, "alert_id": alert_id, **turn._asdict()} for alert_id, turn in turns.items()
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_SQL["append_turn"], rows)


def append_event(connection: Connection, group: Group, event: GroupEvent) -> Group:
    """Append the event and return the group after it."""
    moved = advanced(group, event)
    fields = {**event._asdict(), "kind": event.kind.value, "group_id": group.group_id, "sequence": moved.sequence}
    connection.execute(_SQL["append_event"], fields)
    return moved


def append_delivery(connection: Connection, message: Message) -> None:
    fields = message_fields(message)
    row = {**fields, "kind": message.kind.value, "message": Jsonb(fields)}
    connection.execute(_SQL["append_delivery"], row)


def append_attempt(connection: Connection, delivery: Delivery, attempt: Attempt) -> Delivery:
    """Append the attempt and return the message after it."""
    moved = after(delivery, attempt)
    fields = {**attempt._asdict(), "kind": attempt.kind.value, "delivery_id": delivery.message.delivery_id}
    waiting = list(attempt.waiting) or None
    connection.execute(_SQL["append_attempt"], {**fields, "sequence": moved.sequence, "waiting": waiting})
    return moved


def read_open_groups(connection: Connection) -> list[Group]:
    """Those that nobody is proved to have ended, and that did not end by themselves."""
    found = _groups(connection, connection.execute(_SQL["open_groups"]).fetchall())
    return [group for group in found if group.state is not State.RESOLVED]


def read_ended_unheard(connection: Connection) -> list[Group]:
    """Those that the service is said to have ended, and didn't: nobody was told of their end."""
    return _groups(connection, connection.execute(_SQL["ended_unheard"]).fetchall())


def read_last_events(connection: Connection, group_ids: Iterable[str]) -> dict[str, LastEvent]:
    rows = connection.execute(_SQL["last_events"], {"groups": list(group_ids)}).fetchall()
    return {str(group_id): LastEvent(sequence, is_ended) for group_id, sequence, is_ended in rows}


def read_just_resolved(connection: Connection, within_ms: int) -> list[Group]:
    found = _groups(connection, connection.execute(_SQL["just_resolved"], {"within_ms": within_ms}).fetchall())
    return [group for group in found if group.state is State.RESOLVED]


def read_latest_groups(connection: Connection, limit: int) -> list[Group]:
    return _groups(connection, connection.execute(_SQL["latest_groups"], {"limit": limit}).fetchall())


def find_groups(connection: Connection, beginning: str) -> list[Group]:
    """The group with this id or the only one whose id begins so; two where that is not clear."""
    return _groups(connection, connection.execute(_SQL["found_group"], {"beginning": beginning}).fetchall())


def group_of_alert(connection: Connection, alert_id: str) -> str | None:
    found = connection.execute(_SQL["group_of_alert"], {"alert_id": alert_id}).fetchone()
    return None if found is None else str(found[0])


def alerts_since(connection: Connection, act: str) -> set[str]:
    """The ids of the alerts that came into a group after it was said to be over."""
    return {alert_id for (alert_id,) in connection.execute(_SQL["alerts_since"], {"act": act}).fetchall()}


def read_deliveries(connection: Connection, group_ids: Iterable[str]) -> list[Delivery]:
    """The messages about these groups and all that have not ended, as they stand; see `_with_attempts`."""
    rows = connection.execute(_SQL["deliveries_of"], {"groups": list(group_ids)}).fetchall()
    return _with_attempts(connection, rows)


def read_deliveries_about(connection: Connection, group_id: str) -> list[Delivery]:
    return _with_attempts(connection, connection.execute(_SQL["deliveries_about"], {"group_id": group_id}).fetchall())


def _groups(connection: Connection, rows: Sequence[Sequence[object]]) -> list[Group]:
    """The groups of these rows, with all that became of them, in the order of the rows."""
    begun: dict[str, Group] = {}
    for group_id, code, scope, severity, summary, evidence, opened_at_ms in rows:
        assert isinstance(evidence, dict), "a column of objects"
        assert isinstance(opened_at_ms, int), "a column of numbers"
        key = GroupKey(str(code), str(scope), Severity(str(severity)))
        begun[str(group_id)] = Group(
            str(group_id), key, str(summary), evidence, opened_at_ms, raised_at_ms=opened_at_ms
        )
    wanted = {"groups": list(begun)}
    events = [
        (str(group_id), GroupEvent(EventKind(kind), *event_fields))
        for group_id, kind, *event_fields in connection.execute(_SQL["events_of"], wanted)
    ]
    counting = _counting(connection, events)
    for group_id, event in events:
        begun[group_id] = _after(begun[group_id], event, counting)
    turns: dict[str, dict[str, AlertTurn]] = defaultdict(dict)
    for group_id, alert_id, *turn in connection.execute(_SQL["turns_of"], wanted):
        turns[group_id][alert_id] = AlertTurn(*turn)
    return [_whole(group, turns.get(group_id, {})) for group_id, group in begun.items()]


def _counting(connection: Connection, events: Iterable[tuple[str, GroupEvent]]) -> set[str]:
    """The acts of these events that somebody is proved to have signed."""
    claims: dict[str | None, Expected] = {}
    for group_id, event in events:
        if event.act is not None and event.kind in (EventKind.ACKNOWLEDGED, EventKind.RESOLVED):
            claims[event.act] = group_act(event.kind, group_id, event.note or "", event.actor)
    return proved(connection, read_registry(connection), claims) if claims else set()


def _after(group: Group, event: GroupEvent, counting: set[str]) -> Group:
    """The group after an event that stands in the database; after one that does not count, it is as before."""
    is_system = event.actor == SYSTEM and event.act is None and event.kind is not EventKind.ACKNOWLEDGED
    if (is_system or event.act in counting) and (group.state, event.kind) in TRANSITIONS:
        return advanced(group, event)
    _log.error("alert_event_unproved", group_id=group.group_id, kind=event.kind, by=event.actor)
    return replace(group, sequence=group.sequence + 1)


def _whole(group: Group, turns: dict[str, AlertTurn]) -> Group:
    """The group with its alerts; one that is told alone is told apart by the alert that it has."""
    alone = next(iter(turns), "") if group.key.code in TOLD_ALONE else ""
    return replace(group, key=group.key._replace(alone=alone), turns=turns)


def _with_attempts(connection: Connection, rows: Sequence[Sequence[object]]) -> list[Delivery]:
    """The messages as they stand. Which sinks take a key the caller knows: here none is taken to."""
    found: dict[str, Delivery] = {}
    for fields, planned_at_ms in rows:
        assert isinstance(fields, dict), "a column of objects"
        assert isinstance(planned_at_ms, int), "a column of numbers"
        message = message_of(fields)
        found[message.delivery_id] = Delivery(message, is_keyed=False, planned_at_ms=planned_at_ms)
    wanted = {"deliveries": list(found)}
    for delivery_id, kind, why, again_at_ms, receipt, waiting in connection.execute(_SQL["attempts_of"], wanted):
        attempt = Attempt(AttemptKind(kind), why, again_at_ms, receipt, tuple(waiting or ()))
        found[delivery_id] = after(found[delivery_id], attempt)
    return list(found.values())
