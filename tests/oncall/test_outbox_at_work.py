"""The outbox at work, with a clock and clients of the test's own: late sinks, and messages in their order."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from uuid import UUID

import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from ops.bench.rig.waiting import wait_until
from pipeline.domain.alert import Alert
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.oncall.groups import UNPROVED_SCOPE, Group
from pipeline.oncall.messages import MessageKind
from pipeline.oncall.outbox import ATTEMPTS_MAX, LATE_MS, Answer, Result
from pipeline.oncall.own_store import append_told, own_alerts_to_tell
from pipeline.oncall.sending_service import Outbox
from pipeline.oncall.sinks.kinds_client import Send
from pipeline.oncall.sinks.senders_client import Senders
from pipeline.oncall.store import append_group, read_deliveries
from tests.oncall.given import good, group, routes, trip
from tests.servers import url_as

WAIT_S = 120.0


class Client:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.answers: list[Answer | Result] = [Answer.DELIVERED]
        self.sent: list[Send] = []

    def send(self, send: Send) -> Result:
        self.sent.append(send)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, Result) else Result(answer)

    def beat(self, every_ms: int) -> Result:
        raise AssertionError(every_ms)


class Desk:
    """An outbox on a database; only the webhook is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.client, self.notes = connection, Client(), 0
        self.group: Group = group()
        self.now_ms = server_now_ms(connection)
        self.senders = Senders()
        self.outbox = Outbox(routes(), {"hook": self.client}, self.senders, self.note)

    def note(self) -> None:
        self.notes += 1

    @property
    def told(self) -> list[Alert]:
        """What the service has to say itself, as it is stored."""
        return [each.told for each in own_alerts_to_tell(self.connection) if each.told is not None]

    def begin(self, groups: tuple[Group, ...] = ()) -> None:
        deliveries = read_deliveries(self.connection, [self.group.group_id])
        self.outbox.begin(self.connection, deliveries, groups, self.now_ms)

    def plan(self, kind: MessageKind) -> None:
        with self.connection.transaction():
            self.outbox.plan(self.connection, self.group, ["hook"], kind, self.now_ms)

    def turn(self) -> None:
        self.outbox.send(self.connection, self.now_ms)
        ended = []
        wait_until(
            lambda: bool(ended.extend(self.senders.collect()) or self.senders.is_idle), WAIT_S, "", every_s=0.005
        )
        self.outbox.collect(self.connection, ended, self.now_ms)
        self.outbox.watch(self.connection, self.now_ms)


def test_sink_that_is_late_is_told_once_and_is_over_when_it_takes_a_message(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Answer.LATER]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        assert [] == desk.told
        for _ in range(3):
            desk.now_ms += LATE_MS
            desk.turn()
        [late] = desk.told
        assert ("LATE", "sink:hook", False) == (late.evidence["state"], late.scope, late.is_over)
        desk.client.answers = [Answer.DELIVERED]
        desk.now_ms += LATE_MS
        desk.turn()
        assert [late.alert_id] * 2 == [each.alert_id for each in desk.told]
        assert desk.told[1].is_over


def test_whoever_runs_next_says_that_a_late_sink_is_well_again(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        key = desk.group.key._replace(code="ALERT_NOT_DELIVERED", scope="sink:hook")
        late = replace(desk.group, key=key._replace(severity=type(key.severity).WARNING))
        desk.begin((late,))
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        assert [("sink:hook", True)] == [(each.scope, each.is_over) for each in desk.told]


def test_end_of_a_message_and_its_telling_are_stored_together(database_url: str, monkeypatch) -> None:
    """A service that dies between the two leaves neither, so the next one judges the message anew."""
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Answer.NEVER]
        desk.plan(MessageKind.TRIGGERED)
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.oncall.sending_service.append_own_alert", die)
            with pytest.raises(KeyboardInterrupt):
                desk.turn()
        [left] = read_deliveries(connection, [desk.group.group_id])
        assert (None, []) == (left.end, desk.told)
        desk.outbox = Outbox(routes(), {"hook": desk.client}, desk.senders, desk.note)
        desk.begin()
        desk.now_ms += 10_000
        desk.turn()
        assert ["REFUSED"] == [each.evidence["state"] for each in desk.told]
        append_told(connection, [each.sequence for each in own_alerts_to_tell(connection)])
        assert [] == desk.told


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_fault_in_what_is_stored_ends_one_message_and_is_told(database_url: str, monkeypatch) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Result(Answer.LATER, "\x00")]
        desk.plan(MessageKind.TRIGGERED)
        monkeypatch.setattr("pipeline.oncall.sending_service.bounded_result", lambda result: result)
        monkeypatch.setattr("pipeline.oncall.outbox.bounded_result", lambda result: result)
        desk.turn()
        assert ["GAVE_UP"] == [each.evidence["state"] for each in desk.told]


def test_message_that_some_of_a_sink_s_people_did_not_get_is_told(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Result(Answer.DELIVERED, "1 of 2 is refused", is_partly=True)]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        assert ["PARTLY_DELIVERED"] == [each.evidence["state"] for each in desk.told]
        assert "1 of 2 is refused" in desk.told[0].summary


def test_row_of_another_kind_is_told_to_nobody(database_url: str) -> None:
    """Whoever has the service's credential can't have it call an alert off."""
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        forged = good()._asdict()
        with pytest.raises(errors.CheckViolation):
            connection.execute("INSERT INTO control.own_alert (alert) VALUES (%s)", [Jsonb(forged)])
        for spoilt in ({}, {"evidence": 1}, {"severity": "NONE"}):
            row = {"code": "ALERT_NOT_DELIVERED", **spoilt}
            connection.execute("INSERT INTO control.own_alert (alert) VALUES (%s)", [Jsonb(row)])
        assert [None] * 3 == [each.told for each in own_alerts_to_tell(connection)]


def test_messages_of_a_group_reach_a_sink_in_their_order(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Answer.LATER, Answer.IN_DOUBT, Answer.DELIVERED]
        for kind in (MessageKind.TRIGGERED, MessageKind.COUNTED, MessageKind.RESOLVED):
            desk.plan(kind)
        for _ in range(6):
            desk.turn()
            desk.now_ms += 10_000
        numbers = [each.message.number for each in desk.client.sent]
        assert [1, 1, 1, 2, 3] == numbers, "what is over is never told before what began"
        assert [False] * 5 == [each.is_repeat for each in desk.client.sent], "its id is its key"


def test_message_to_a_sink_that_the_routes_no_longer_have_is_told(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.plan(MessageKind.TRIGGERED)
        without = replace(routes(), sinks={name: sink for name, sink in routes().sinks.items() if name != "hook"})
        desk.outbox = Outbox(without, {}, desk.senders, desk.note)
        desk.begin()
        desk.turn()
        assert ["GAVE_UP"] == [each.evidence["state"] for each in desk.told]


WAITING = Result(Answer.DELIVERED, "1 of 2 is refused (452)", waiting=("0123456789abcdef",))


def test_recipients_who_wait_are_tried_again_alone_and_hold_up_nothing(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [WAITING, Answer.DELIVERED, Answer.LATER, WAITING, Answer.DELIVERED]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        desk.plan(MessageKind.ESCALATED)
        desk.turn()
        kinds = [MessageKind.TRIGGERED, MessageKind.ESCALATED]
        assert kinds == [each.message.kind for each in desk.client.sent], "what comes later does not wait"
        for _ in range(2):
            desk.outbox = Outbox(routes(), {"hook": desk.client}, desk.senders, desk.note)
            desk.begin()  # whoever runs next goes on with them
            desk.now_ms += LATE_MS
            desk.turn()
        desk.now_ms += LATE_MS
        desk.turn()
        assert [()] * 2 + [WAITING.waiting] * 3 == [each.waiting for each in desk.client.sent]
        assert not any(each.is_repeat for each in desk.client.sent)
        assert ["DELIVERED"] * 2 == [each.end for each in read_deliveries(connection, [desk.group.group_id])]
        assert [] == desk.told, "everybody has it in the end, and the sink was never late"


def test_recipients_who_never_get_it_are_told_of_within_the_bound(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [WAITING, Answer.LATER]
        desk.plan(MessageKind.TRIGGERED)
        for _ in range(ATTEMPTS_MAX + 3):
            desk.turn()
            desk.now_ms += 2 * LATE_MS
        assert ATTEMPTS_MAX == len(desk.client.sent)
        [told] = desk.told
        assert "GAVE_UP" == told.evidence["state"]
        assert "did not hand everybody" in told.summary


def test_recipient_who_is_refused_for_good_is_told_of_at_once_beside_one_who_waits(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [WAITING._replace(is_partly=True), Answer.DELIVERED]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        assert ["PARTLY_DELIVERED"] == [each.evidence["state"] for each in desk.told]
        desk.now_ms += LATE_MS
        desk.turn()
        assert 1 == len(desk.told)


def test_page_goes_before_what_waited_longer_at_its_sink(database_url: str) -> None:
    """A flood of notices, which anybody may write, kept a page for as long as its sink took for all of them."""
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        desk.begin()
        notices = [replace(group(good(f"segment:{n}")), group_id=str(UUID(int=n))) for n in range(20)]
        for about, kind in [*((each, MessageKind.NOTICED) for each in notices), (desk.group, MessageKind.TRIGGERED)]:
            desk.group = about
            append_group(connection, about)
            desk.plan(kind)
        desk.turn()
        assert ["TRANSACTION_ID_CONFLICT"] == [each.message.code for each in desk.client.sent]


def of(code: str, scope: str, number: int) -> Group:
    about = group(trip(scope))
    return replace(about, group_id=str(UUID(int=number)), key=about.key._replace(code=code))


def test_flood_of_one_code_keeps_nobody_from_being_called_about_another(database_url: str) -> None:
    """Whoever may write alerts.v1 raised 600 critical tests, and a trip waited behind each of them at every sink."""
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        desk.begin()
        forged = [*(("ALERTS_TEST", "all"),) * 8, *((f"MADE_UP_{n}", "all") for n in range(8))]
        forged += [("BREAKER_TRIP", UNPROVED_SCOPE)]
        for number, (code, scope) in enumerate([*forged, ("BREAKER_TRIP", "model:v1"), ("RECONCILIATION_GAP", "all")]):
            desk.group = of(code, scope, number)
            append_group(connection, desk.group)
            desk.plan(MessageKind.TRIGGERED)
        for _ in range(5):
            desk.turn()
        first = {(each.message.code, each.message.scope) for each in desk.client.sent}
        assert {("BREAKER_TRIP", "model:v1"), ("RECONCILIATION_GAP", "all")} <= first
        assert 3 == len({code if "MADE_UP" not in code else "MADE_UP" for code, _ in first} - {"RECONCILIATION_GAP"})


def test_what_is_over_is_told_after_what_is_not(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        desk.begin()
        over, lasting = of("TABLES_UNCHAINED", "all", 1), of("TABLES_UNCHAINED", "all", 2)
        for desk.group, kinds in [(over, [MessageKind.TRIGGERED, MessageKind.RESOLVED]), (lasting, ["TRIGGERED"])]:
            append_group(connection, desk.group)
            for kind in kinds:
                desk.plan(MessageKind(kind))
        for _ in range(3):
            desk.turn()
        assert [lasting.group_id, over.group_id, over.group_id] == [each.message.group_id for each in desk.client.sent]


def test_sink_that_asks_for_an_hour_is_told_as_late_for_what_it_was_never_sent(database_url: str) -> None:
    """It had refused another message for good, and asked for patience with it; the page behind it waited unseen."""
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Result(Answer.NEVER, "it answers 400", 3_600.0), Answer.DELIVERED]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        desk.plan(MessageKind.ESCALATED)
        for _ in range(3):
            desk.now_ms += LATE_MS
            desk.turn()
            assert ["REFUSED", "LATE"] == [each.evidence["state"] for each in desk.told]
        assert 1 == len(desk.client.sent)


def test_clock_that_was_put_back_keeps_no_message_waiting(database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_alerts"), "test")) as connection:
        desk = Desk(connection)
        append_group(connection, desk.group)
        desk.begin()
        desk.client.answers = [Answer.LATER, Answer.DELIVERED]
        desk.plan(MessageKind.TRIGGERED)
        desk.turn()
        desk.now_ms -= 1_800_000
        desk.outbox.put_back(1_800_000, desk.now_ms)
        desk.now_ms += 2_000
        desk.turn()
        assert 2 == len(desk.client.sent)
