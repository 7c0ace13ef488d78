"""The outbox at work: messages planned, claimed, sent and ended, each step a row before the next.

Invariants
1. A send is a row, SENDING, before it begins; one without an end, after a crash, may have arrived.
2. To each sink at most one message is under way; the messages of a group reach it in order. One that a sink has taken,
   but for some recipients, holds up no other.
3. What does not arrive is told: after LATE_MS once a sink, and at its end each time. The telling is stored with it.
4. A fault in what is stored about one message ends that message, and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from psycopg import errors

from pipeline.alerts.catalogue import AlertCode, alert, over
from pipeline.domain.alert import Alert, Severity
from pipeline.io.postgres import Connection
from pipeline.oncall import metrics
from pipeline.oncall.groups import Group, takes_turns_as
from pipeline.oncall.messages import MessageKind, delivery_id_of, is_keyed, is_sent, message_about, urgency
from pipeline.oncall.outbox import (
    CROWDED,
    Attempt,
    AttemptKind,
    Delivery,
    Result,
    bounded_result,
    interrupted,
    is_late,
    judged,
    put_back,
    unstorable,
)
from pipeline.oncall.own_store import append_own_alert
from pipeline.oncall.routing import SINK_SCOPE, Routes, Sink, SinkKind
from pipeline.oncall.sinks.kinds_client import Send, SinkClient
from pipeline.oncall.sinks.senders_client import Ended, Senders
from pipeline.oncall.store import append_attempt, append_delivery

FIRING_MS: Final = 24 * 3_600_000
"""For so long Alertmanager holds that a group fires, without being told again: that we are gone does not end it."""
_STATES: Final = {AttemptKind.DELIVERED: "PARTLY_DELIVERED", AttemptKind.PARTLY: "PARTLY_DELIVERED"}
_log = structlog.stdlib.get_logger("alerts")


class Outbox:
    """For one thread. clients: by sink. told: is called when something that the service says itself was stored."""

    def __init__(
        self,
        routes: Routes,
        clients: Mapping[str, SinkClient],
        senders: Senders,
        told: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes, self._clients, self._senders, self._told = routes, clients, senders, told
        self._clock_s = clock_s
        self._pending: dict[str, Delivery] = {}
        self._lines: dict[tuple[str, str], deque[str]] = {}
        self._stragglers: dict[str, None] = {}  # in their order
        self._numbers: dict[tuple[str, str], int] = {}
        self._threads: dict[tuple[str, str], str] = {}
        self._sending: dict[str, str] = {}
        self._not_before_s: dict[str, float] = {}
        self._late: dict[str, Alert] = {}
        self._begun_at_ms, self._taken_at_ms = 0, dict[str, int]()
        self._waiting: dict[str, int] = {}  # messages that have not ended, by sink; of the last look and since
        self._sends, self._turns = 0, dict[tuple[str, str], int]()  # by sink and what takes turns there: its last send

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for a sink that nothing more is to be begun for the sake of whoever raises alerts."""
        return any(waiting >= CROWDED for waiting in self._waiting.values())

    def begin(
        self, connection: Connection, deliveries: Iterable[Delivery], groups: Iterable[Group], now_ms: int
    ) -> None:
        """Begin with what stands in the database. groups: those that are open. A send without an end may have arrived.

        A send of this process that is still under way is one of them: its answer, when it comes, is passed over.
        """
        self._late = {name: _late_alert(name, 0, now_ms) for name in _late_sinks(groups)}
        self._pending, self._lines, self._numbers, self._threads, self._sending = {}, {}, {}, {}, {}
        self._stragglers, self._begun_at_ms, self._taken_at_ms = {}, now_ms, {}
        for read in deliveries:
            message = read.message
            sink = self._routes.sinks.get(message.sink)
            delivery = put_back(
                replace(read, is_keyed=sink is not None and is_keyed(sink.kind, message.kind)), 0, now_ms
            )
            where = message.group_id, message.sink
            self._numbers[where] = max(self._numbers.get(where, 0), message.number)
            self._keep_thread(delivery)
            if delivery.end is None:
                self._line_up(delivery)
        for delivery in list(self._pending.values()):
            if delivery.is_sending:
                self._judge(connection, delivery, interrupted(delivery, now_ms), now_ms)
        self._waiting = dict(Counter(each.message.sink for each in self._pending.values()))

    def sinks_told(self, group_id: str) -> list[str]:
        """The sinks that were sent something about a group, or will be."""
        return [sink for about, sink in self._numbers if about == group_id]

    def plan(
        self,
        connection: Connection,
        group: Group,
        sinks: Iterable[str],
        kind: MessageKind,
        now_ms: int,
        *,
        by: str | None = None,
        note: str | None = None,
    ) -> None:
        """Append messages about a group, in the caller's transaction."""
        for name in sinks:
            sink = self._routes.sinks.get(name)
            if sink is None or not is_sent(sink.kind, kind):
                continue
            where = group.group_id, name
            number = self._numbers.get(where, 0) + 1
            message = message_about(group, name, number, kind, now_ms, by, note)
            assert message.delivery_id == delivery_id_of(group.group_id, name, number)
            append_delivery(connection, message)
            self._numbers[where] = number
            self._line_up(Delivery(message, is_keyed(sink.kind, kind), now_ms))
            self._waiting[name] = self._waiting.get(name, 0) + 1

    def forget(self, group_id: str) -> None:
        """Forget what only an open group needs; messages that have not ended stay."""
        for where in [each for each in self._numbers if each[0] == group_id and each not in self._lines]:
            del self._numbers[where]
            self._threads.pop(where, None)

    def collect(self, connection: Connection, ended: Iterable[Ended], now_ms: int) -> None:
        """Store what became of sends."""
        for name, result in ended:
            metrics.ATTEMPTS.labels(name, result.answer).inc()
            delivery = self._pending.get(self._sending.pop(name, ""))
            if delivery is None or not delivery.is_sending:
                continue
            bounded = bounded_result(result)
            if bounded.retry_after_s is not None:
                self._pause(name, bounded.retry_after_s)
            partly = bounded if bounded.is_partly else None
            self._judge(connection, delivery, judged(delivery, bounded, now_ms), now_ms, partly)

    def send(self, connection: Connection, now_ms: int) -> None:
        """Begin the next send to every sink that is free."""
        due: dict[str, Delivery] = {}
        heads = [self._pending[line[0]] for line in self._lines.values()]
        heads += [self._pending[delivery_id] for delivery_id in self._stragglers]
        for head in sorted(heads, key=self._place):
            name = head.message.sink
            if name not in due and head.due_at_ms <= now_ms and not head.is_sending:
                due[name] = head
        for name, delivery in due.items():
            sink = self._routes.sinks.get(name)
            if sink is None:
                self._give_up(connection, delivery, now_ms)
            elif not self._senders.is_busy(name) and self._clock_s() >= self._not_before_s.get(_lane(sink), 0.0):
                self._begin(connection, sink, delivery, now_ms)

    def _place(self, head: Delivery) -> tuple[tuple[int, bool], bool, int]:
        """Sort what may be sent to a sink next: by urgency, what isn't over yet, and what had no turn for longest."""
        message = head.message
        line = self._lines.get((message.group_id, message.sink))
        is_over = line is not None and self._pending[line[-1]].message.kind is MessageKind.RESOLVED
        turn = message.sink, takes_turns_as(message.code, message.scope)
        return urgency(message), is_over, self._turns.get(turn, 0)

    def watch(self, connection: Connection, now_ms: int) -> None:
        """Tell people of sinks that have not taken a message for long; and show how much waits."""
        oldest: dict[str, int] = {}
        for line in self._lines.values():
            head = self._pending[line[0]]
            name = head.message.sink
            oldest[name] = min(oldest.get(name, head.planned_at_ms), head.planned_at_ms)
            if is_late(head, now_ms, self._taken_at_ms.get(name, self._begun_at_ms)) and name not in self._late:
                self._tell_late(connection, head, now_ms)
        self._waiting = dict(Counter(each.message.sink for each in self._pending.values()))
        for name in self._routes.sinks:
            metrics.PENDING.labels(name).set(self._waiting.get(name, 0))
            metrics.OLDEST.labels(name).set(max(0, now_ms - oldest.get(name, now_ms)) / 1000)
        metrics.ABANDONED.set(self._senders.abandoned)

    def put_back(self, by_ms: int, now_ms: int) -> None:
        """Go on by a clock that was put back by so much."""
        self._pending = {key: put_back(delivery, by_ms, now_ms) for key, delivery in self._pending.items()}
        self._taken_at_ms = {name: min(at_ms, now_ms) for name, at_ms in self._taken_at_ms.items()}
        self._begun_at_ms = min(self._begun_at_ms, now_ms)

    def _begin(self, connection: Connection, sink: Sink, delivery: Delivery, now_ms: int) -> None:
        message, is_repeat = delivery.message, delivery.is_repeat
        with connection.transaction():
            moved = append_attempt(connection, delivery, Attempt(AttemptKind.SENDING))
        self._pending[message.delivery_id] = moved
        self._sending[sink.name] = message.delivery_id
        self._sends += 1
        self._turns[sink.name, takes_turns_as(message.code, message.scope)] = self._sends
        if sink.messages_per_second is not None:
            self._pause(sink.name, 1.0 / sink.messages_per_second)
        thread = self._threads.get((message.group_id, sink.name))
        send = Send(message, is_repeat, now_ms + FIRING_MS, thread, delivery.waiting)
        self._senders.start(sink.name, partial(self._clients[sink.name].send, send))

    def _give_up(self, connection: Connection, delivery: Delivery, now_ms: int) -> None:
        attempt = Attempt(AttemptKind.GAVE_UP, "the routes name no such sink any more")
        self._judge(connection, delivery, attempt, now_ms)

    def _judge(
        self, connection: Connection, delivery: Delivery, attempt: Attempt, now_ms: int, partly: Result | None = None
    ) -> None:
        """Store the attempt with what is to be told of it, and act on it once both are stored."""
        name = delivery.message.sink
        try:
            with connection.transaction():
                moved = self._store(connection, delivery, attempt, now_ms, partly)
        except (errors.DataError, errors.CheckViolation, UnicodeError) as error:
            _log.critical("attempt_not_stored", sink=name, kind=attempt.kind, why=type(error).__name__)
            attempt = unstorable(attempt)
            with connection.transaction():
                moved = self._store(connection, delivery, attempt, now_ms, partly)
        message = moved.message
        if moved.end is None:
            if attempt.kind is AttemptKind.PARTLY:
                self._leave_line(delivery)
                self._line_up(moved)
                if not delivery.waiting:
                    self._take_note(moved, now_ms)
            self._pending[message.delivery_id] = moved
            _log.warning("alert_not_sent_yet", sink=name, kind=message.kind, sends=moved.sends, why=attempt.why)
            return
        self._leave_line(moved)
        metrics.ENDS.labels(name, moved.end).inc()
        if moved.end is not AttemptKind.DELIVERED:
            _log.critical("alert_not_delivered", sink=name, kind=message.kind, end=moved.end, why=attempt.why)
            return
        _log.info("alert_delivered", sink=name, kind=message.kind, code=message.code, sends=moved.sends)
        if not delivery.waiting:
            self._take_note(moved, now_ms)

    def _take_note(self, delivery: Delivery, now_ms: int) -> None:
        """The sink has taken a message, if not for everybody."""
        message = delivery.message
        self._keep_thread(delivery)
        if message.number == 1:
            metrics.DELIVERY.labels(message.sink).observe(max(0, now_ms - message.opened_at_ms) / 1000)
        self._late.pop(message.sink, None)
        self._taken_at_ms[message.sink] = now_ms

    def _store(
        self, connection: Connection, delivery: Delivery, attempt: Attempt, now_ms: int, partly: Result | None
    ) -> Delivery:
        """Append the attempt and, in the same transaction, what the service has to say of it."""
        moved = append_attempt(connection, delivery, attempt)
        is_taken = attempt.kind in (AttemptKind.DELIVERED, AttemptKind.PARTLY)
        if moved.end is None and not is_taken:
            return moved
        if not is_taken or partly is not None:
            self._tell(connection, _undelivered(moved, attempt, now_ms))
        if is_taken and (late := self._late.get(delivery.message.sink)) is not None:
            self._tell(connection, over(late, now_ms))
        return moved

    def _tell(self, connection: Connection, own: Alert) -> None:
        append_own_alert(connection, own)
        self._told()

    def _tell_late(self, connection: Connection, delivery: Delivery, now_ms: int) -> None:
        name, waits_ms = delivery.message.sink, now_ms - delivery.planned_at_ms
        late = _late_alert(name, waits_ms, now_ms)
        with connection.transaction():
            self._tell(connection, late)
        self._late[name] = late

    def _line_up(self, delivery: Delivery) -> None:
        message = delivery.message
        self._pending[message.delivery_id] = delivery
        if delivery.waiting:
            self._stragglers[message.delivery_id] = None
            return
        line = self._lines.setdefault((message.group_id, message.sink), deque())
        line.append(message.delivery_id)

    def _leave_line(self, delivery: Delivery) -> None:
        message = delivery.message
        where = message.group_id, message.sink
        del self._pending[message.delivery_id]
        if message.delivery_id in self._stragglers:
            del self._stragglers[message.delivery_id]
            return
        self._lines[where].remove(message.delivery_id)
        if not self._lines[where]:
            del self._lines[where]

    def _keep_thread(self, delivery: Delivery) -> None:
        """The receipt of the first message that has one: what follows about the group refers to it."""
        if delivery.receipt is not None:
            self._threads.setdefault((delivery.message.group_id, delivery.message.sink), delivery.receipt)

    def _pause(self, name: str, wait_s: float) -> None:
        lane = _lane(self._routes.sinks[name])
        self._not_before_s[lane] = max(self._not_before_s.get(lane, 0.0), self._clock_s() + wait_s)


def _lane(sink: Sink) -> str:
    """What is limited together: sinks that write to one channel of Slack, or else each sink alone."""
    return f"{sink.address} {sink.channel}" if sink.kind is SinkKind.SLACK else sink.name


def _late_sinks(groups: Iterable[Group]) -> Iterator[str]:
    """The sinks of which people were told that they are late, and not yet that this is over."""
    for group in groups:
        key = group.key
        if (key.code, key.severity) == (AlertCode.ALERT_NOT_DELIVERED, Severity.WARNING):
            yield key.scope.removeprefix(SINK_SCOPE)


def _late_alert(name: str, waits_ms: int, now_ms: int) -> Alert:
    """The same for a sink each time, so that whoever runs next can say that it is over."""
    summary = f"The sink {name} has not taken a message for {waits_ms // 60_000} minutes."
    evidence = {"sink": name, "state": "LATE"}
    return alert(AlertCode.ALERT_NOT_DELIVERED, summary, f"{SINK_SCOPE}{name}", evidence, now_ms, Severity.WARNING)


def _undelivered(delivery: Delivery, attempt: Attempt, now_ms: int) -> Alert:
    message, kind = delivery.message, attempt.kind
    said = {
        AttemptKind.DELIVERED: "did not hand everybody",
        AttemptKind.PARTLY: "does not hand everybody",
        AttemptKind.REFUSED: "refuses",
        AttemptKind.GAVE_UP: "did not take, however often it was tried,",
        AttemptKind.DOUBTFUL: "may or may not have taken, and may not be sent again,",
    }[kind]
    if delivery.waiting and kind is AttemptKind.GAVE_UP:
        said = "did not hand everybody, however often it was tried,"
    summary = f"The sink {message.sink} {said} a message about {message.code}: {attempt.why}."
    evidence = {"sink": message.sink, "message": message.delivery_id, "state": _STATES.get(kind, kind.value)}
    scope = f"{SINK_SCOPE}{message.sink}"
    return alert(AlertCode.ALERT_NOT_DELIVERED, summary, scope, evidence, now_ms, Severity.CRITICAL)
