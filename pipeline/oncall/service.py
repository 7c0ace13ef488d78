"""The service that delivers alerts: reads alerts.v1, groups, sends, and goes on until somebody has answered.

Invariants
1. A record's position is stored with what became of it, so no alert is lost and none is counted twice.
2. One process sends at a time: the one that has the turn.
3. What the service has to say itself is stored before it is published, by a thread of its own: while the broker is away
   sinks, answers and escalations go on.
4. The heartbeat goes through alerts.v1, the database and a sink's sender, so it stays away where any of them fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.domain.log import LogRecord, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import (
    Connection,
    DatabaseRefused,
    DatabaseUnavailable,
    Held,
    Positions,
    failures_named,
)
from pipeline.oncall import metrics
from pipeline.oncall.answers_store import Answers
from pipeline.oncall.groups import GROUPS_MAX, Group, bounded, is_workers_word, told_of
from pipeline.oncall.keeping_service import GroupKeeper, Heard
from pipeline.oncall.messages import MessageKind, message_about
from pipeline.oncall.outbox import ENDS, Answer, Result, bounded_result
from pipeline.oncall.own_store import ForgedEnds, append_told, own_alerts_to_tell, own_ends
from pipeline.oncall.routing import Routes, SinkKind
from pipeline.oncall.sending_service import FIRING_MS, Outbox
from pipeline.oncall.sinks import rendering
from pipeline.oncall.sinks.kinds_client import Alertmanager, SinkClient
from pipeline.oncall.sinks.rendering import Json, Setting
from pipeline.oncall.sinks.senders_client import Senders, SendsStuck
from pipeline.oncall.store import Turn, read_deliveries
from pipeline.people.act_store import RegistryReader

CONSUMER: Final = "alerts"
GROUP: Final = "fraud-alerts"
RECORDS_AT_ONCE: Final = 1_000
READ_WAIT_S: Final = 0.1
"""How long a turn waits for a record; so long, too, an answer of a sink waits to be stored."""
STANDBY_WAIT_S: Final = 2.0
FINISH_S: Final = 15.0
"""How long a service that is told to stop waits for its sinks; Compose gives it 30 s."""
FINISH_POLL_S: Final = 0.05
CLOCK_BACK_MS: Final = 1_000
"""By which the database's clock may be put back unheeded: a wait that takes so much longer is still a wait."""
PEOPLE_S: Final = 1.0
"""Between looks at what people did and silenced."""
PUBLISH_AGAIN_S: Final = 1.0
"""Between tries to publish what the service has to say itself; each try waits for the broker by itself."""
NEVER_SAID: Final = "NEVER_SAID"
"""Why an end of an alert about a sink isn't proved: only this service says it, and it has a row of each."""
_BEAT: Final = "heartbeat "
_REFRESH: Final = "refresh "
_PUBLISH: Final = "publish own alerts"
_log = structlog.stdlib.get_logger("alerts")


class Unreadable(NamedTuple):
    """Why a record is no alert. It is content here: it is told of, and what stands behind it goes on."""

    code: str


Content = Alert | Unreadable


def readable(read: Alert | Refusal) -> Content:
    return Unreadable(read.code) if isinstance(read, Refusal) else read


def _is_own_end(read: Alert) -> bool:
    return read.is_over and bounded(read).code == AlertCode.ALERT_NOT_DELIVERED


class Clients:
    """A client for each sink and purpose, because each serves one thread."""

    def __init__(self, routes: Routes, make: Callable[[str], SinkClient]) -> None:
        self.messages: Mapping[str, SinkClient] = {name: make(name) for name in routes.sinks}
        beating = () if routes.heartbeat is None else routes.heartbeat.sinks
        self.beats: Mapping[str, SinkClient] = {name: make(name) for name in beating}
        managers = [sink.name for sink in routes.sinks.values() if sink.kind is SinkKind.ALERTMANAGER]
        self.refreshes: Mapping[str, SinkClient] = {name: make(name) for name in managers}


class AlertService:
    """For one thread. source: makes the reader of alerts.v1 once the turn is had; it asks for a worker's seal on what
    only workers can know. decode: as the reader decodes, for what has none."""

    def __init__(
        self,
        source: Callable[[], PositionedLog[Content]],
        held: Held,
        turn: Turn,
        publish: Callable[[Iterable[Alert]], None],
        routes: Routes,
        clients: Clients,
        topic: str,
        decode: Callable[[bytes | None], Content],
    ) -> None:
        self._decode = decode
        self._make_source, self._held, self._turn, self._publish = source, held, turn, publish
        beaten = () if routes.heartbeat is None else routes.heartbeat.sinks
        levels = max((len(route.escalations) for route in routes.routes), default=0)
        metrics.begin(routes.sinks, beaten, tuple(Answer), tuple(ENDS), levels)
        self._routes, self._clients, self._topic = routes, clients, topic
        self._source: PositionedLog[Content] | None = None
        self._positions = Positions(CONSUMER, topic)
        self._senders, self._has_own = Senders(), True
        self._outbox = Outbox(routes, clients.messages, self._senders, self._note_own)
        self._keeper = GroupKeeper(routes, self._outbox, topic)
        self._people, self._answers = RegistryReader(), Answers()
        self._heartbeat: Alert | None = None
        self._forged, self._forging = list[Alert](), list[Alert]()
        self._forged_ends = ForgedEnds(topic)
        self._publishing, self._unpublished = list[int](), ""
        self._published_at_s = float("-inf")
        self._is_begun, self._seen_ms = False, 0
        self._looked_at_s = self._beat_at_s = self._refreshed_at_s = float("-inf")
        self._beaten_at_s = float("-inf")

    def step(self, stopping: threading.Event) -> str | None:
        """Raises DatabaseUnavailable, DatabaseRefused, BrokerFailed, PositionMoved, SendsStuck."""
        if not self._turn.hold():
            stopping.wait(STANDBY_WAIT_S)
            return "it stands by: another process sends"
        with failures_named():
            connection = self._held.connection()
            now_ms = server_now_ms(connection)
            if not self._is_begun:
                self._begin(connection, now_ms)
            self._put_back(now_ms)
            self._collect(connection, now_ms)
            self._look_at_people(connection, now_ms)
            self._read(connection, now_ms)
            self._keeper.do_what_is_due(connection, now_ms)
            self._outbox.send(connection, now_ms)
            self._outbox.watch(connection, now_ms)
            self._raise_heartbeat(now_ms)
            self._tell(connection)
        self._refresh(now_ms)
        self._keeper.show(now_ms)
        return self._unpublished or None

    def begin_again(self) -> None:
        """Read everything again from the database and from its positions."""
        self._is_begun = False
        self._turn.drop()
        self._held.drop()

    def close(self) -> None:
        """Wait for the answers of sends that are under way: one without an answer would count as in doubt."""
        if self._is_begun:
            self._finish_sends()
        if self._source is not None:
            self._source.close()
        self._turn.drop()
        self._held.drop()

    def _finish_sends(self) -> None:
        deadline_s = time.monotonic() + FINISH_S
        try:
            with failures_named():
                while not self._senders.is_idle and time.monotonic() < deadline_s:
                    connection = self._held.connection()
                    self._collect(connection, server_now_ms(connection))
                    time.sleep(FINISH_POLL_S)
        except (DatabaseRefused, DatabaseUnavailable, SendsStuck) as error:
            _log.warning("sends_not_finished", why=str(error))

    def _begin(self, connection: Connection, now_ms: int) -> None:
        open_ids, self._seen_ms = self._keeper.begin(connection, now_ms), now_ms
        deliveries = read_deliveries(connection, open_ids)
        self._outbox.begin(connection, deliveries, self._keeper.open_groups(), now_ms)
        self._people, self._answers, self._looked_at_s = RegistryReader(), Answers(), float("-inf")
        self._has_own = True
        self._forged = self._keeper.ended_by_others(connection, now_ms)
        if self._source is None:
            self._source = self._make_source()
        else:
            self._source.rewind()
        self._is_begun = True
        _log.info("alerts_begin", groups=len(open_ids))

    def _put_back(self, now_ms: int) -> None:
        """Look whether the database's clock was put back, as another server that takes over may do.

        What had begun a moment ago would else wait for as long as it is until that time comes again.
        """
        back_ms, self._seen_ms = self._seen_ms - now_ms, now_ms
        if back_ms > CLOCK_BACK_MS:
            _log.error("clock_put_back", by_ms=back_ms)
            self._keeper.put_back(now_ms)
            self._outbox.put_back(back_ms, now_ms)

    def _read(self, connection: Connection, now_ms: int) -> None:
        assert self._source is not None, "it has begun"
        batch = self._source.read(RECORDS_AT_ONCE, READ_WAIT_S)
        apart = [(each, self._told_apart(each)) for each in batch.unproved]
        self._forged_ends.note([record for record, told in apart if told is None])
        if not batch.spans:
            self._tell_of_forged_ends(connection, now_ms)
            return
        heard: list[Heard] = []
        for record in batch.records:
            read = self._heard(record, now_ms)
            if read.alert.code == AlertCode.ALERTS_HEARTBEAT:
                self._beat(read.alert, now_ms)
            elif read.alert.code == AlertCode.ALERTS_SILENCED:  # the service tells of silences itself, from their rows
                _log.error("silence_forged", partition=record.partition, offset=record.offset)
            else:
                heard.append(read)
        heard += [told for _, told in apart if told is not None]
        heard = self._without_forged_ends(connection, heard)
        with connection.transaction():
            for move in batch.spans:
                self._positions.advance(connection, *move)
            self._keeper.take_in(connection, heard, now_ms)
            self._tell_of_forged_ends(connection, now_ms)

    def _told_apart(self, record: Unproved) -> Heard | None:
        """What a record that nobody sealed tells, where it isn't the word that something is over."""
        content = self._decode(record.value)
        if isinstance(content, Unreadable) or is_workers_word(bounded(content)):
            return None
        return Heard(content, record.partition, record.offset, is_unproved=True)

    def _without_forged_ends(self, connection: Connection, heard: Sequence[Heard]) -> list[Heard]:
        """Leave out the ends of this service's own alerts that it never said."""
        said = {read[1:3]: bounded(read.alert).alert_id for read in heard if _is_own_end(read.alert)}  # by place
        own = own_ends(connection, set(said.values())) if said else set()
        kept: list[Heard] = []
        for read in heard:
            alert_id = said.get(read[1:3])
            if alert_id is not None and (alert_id, read.alert.raised_at_ms) not in own:
                self._forged_ends.note([Unproved(read.partition, read.offset, b"", NEVER_SAID, None)])
            else:
                kept.append(read)
        return kept

    def _tell_of_forged_ends(self, connection: Connection, now_ms: int) -> None:
        if self._forged_ends.tell(connection, now_ms):
            self._note_own()

    def _heard(self, record: LogRecord[Content], now_ms: int) -> Heard:
        """The record's alert; one of our own where it can't be read, because nobody knows what it was to tell."""
        content = record.content
        if isinstance(content, Unreadable):
            metrics.UNREADABLE.inc()
            place = {"partition": str(record.partition), "first_offset": str(record.offset)}
            where = {**place, "last_offset": str(record.offset), "why": "UNREADABLE"}  # as the incident service tells
            said = f"The record of {self._topic}[{record.partition}] at {record.offset} can't be read ({content.code})."
            content = alert(AlertCode.ALERTS_UNREAD, said, "all", where, now_ms)
        return Heard(content, record.partition, record.offset)

    def _look_at_people(self, connection: Connection, now_ms: int) -> None:
        if time.monotonic() - self._looked_at_s < PEOPLE_S:
            return
        self._forged += self._keeper.what_others_wrote(connection, now_ms)
        registry = self._people.read(connection)
        self._keeper.silences = self._answers.silences(connection, registry, now_ms)
        self._keeper.tell_of_silences(connection, now_ms)
        for act in self._answers.acts(connection, registry):
            with connection.transaction():
                self._keeper.carry_out(connection, act, now_ms)
        for group_id in self._answers.lapsed(connection, registry, self._keeper.open_groups()):
            with connection.transaction():
                self._keeper.call_again(connection, group_id, now_ms)
        self._looked_at_s = time.monotonic()

    def _collect(self, connection: Connection, now_ms: int) -> None:
        ended = [each._replace(result=bounded_result(each.result)) for each in self._senders.collect()]
        for name, result in ended:
            if name == _PUBLISH:
                self._note_published(connection, result)
            elif name.startswith(_BEAT):
                self._note_beat(name.removeprefix(_BEAT), result, now_ms)
            elif name.startswith(_REFRESH) and result.answer is not Answer.DELIVERED:
                _log.warning("alertmanager_not_refreshed", sink=name.removeprefix(_REFRESH), why=result.why)
        messages = [each for each in ended if not each.name.startswith((_BEAT, _REFRESH, _PUBLISH))]
        self._outbox.collect(connection, messages, now_ms)

    def _note_own(self) -> None:
        self._has_own = True

    def _tell(self, connection: Connection) -> None:
        """Publish what the service has to say itself. A broker that is away keeps nothing but this waiting."""
        is_soon = time.monotonic() - self._published_at_s < PUBLISH_AGAIN_S
        if self._senders.is_busy(_PUBLISH) or (self._unpublished and is_soon):
            return
        own = own_alerts_to_tell(connection) if self._has_own else []
        alerts = [each.told for each in own if each.told is not None]
        alerts += self._forged
        if self._heartbeat is not None:
            alerts.append(self._heartbeat)
        self._publishing, self._heartbeat, self._has_own = [each.sequence for each in own], None, bool(own)
        if alerts or own:
            self._forging, self._forged = self._forged, []
            self._senders.start(_PUBLISH, partial(self._published, alerts))

    def _published(self, alerts: list[Alert]) -> Result:
        """In a thread of its own."""
        try:
            self._publish(alerts)
        except BrokerFailed as error:
            return Result(Answer.LATER, str(error))
        return Result(Answer.DELIVERED)

    def _note_published(self, connection: Connection, result: Result) -> None:
        """Store that it stands on the topic; what does not is published again, and a heartbeat is left to the next."""
        sequences, self._publishing = self._publishing, []
        self._published_at_s = time.monotonic()
        forging, self._forging = self._forging, []
        if result.answer is not Answer.DELIVERED:
            self._forged = [*forging, *self._forged][:GROUPS_MAX]
            self._unpublished = f"{len(sequences)} alerts of its own are not published: {result.why}"
            return
        self._unpublished = ""
        with connection.transaction():
            append_told(connection, sequences)

    def _raise_heartbeat(self, now_ms: int) -> None:
        heartbeat = self._routes.heartbeat
        if heartbeat is None or time.monotonic() - self._beat_at_s < heartbeat.every_ms / 1000:
            return
        self._beat_at_s = time.monotonic()
        said = {"at_ms": str(now_ms)}
        self._heartbeat = alert(AlertCode.ALERTS_HEARTBEAT, "Alerts are read.", "all", said, now_ms)

    def _beat(self, beat: Alert, now_ms: int) -> None:
        """Send the heartbeat that came back from the topic; an old one says nothing about now."""
        heartbeat = self._routes.heartbeat
        if heartbeat is None or abs(now_ms - beat.raised_at_ms) > 2 * heartbeat.every_ms:
            return
        if time.monotonic() - self._beaten_at_s < heartbeat.every_ms / 2000:
            return  # whoever writes the topic can write many
        self._beaten_at_s = time.monotonic()
        for name, client in self._clients.beats.items():
            if not self._senders.is_busy(_BEAT + name):
                self._senders.start(_BEAT + name, partial(client.beat, heartbeat.every_ms))

    def _note_beat(self, sink: str, result: Result, now_ms: int) -> None:
        metrics.HEARTBEATS.labels(sink, result.answer).inc()
        if result.answer is Answer.DELIVERED:
            metrics.HEARTBEAT_TIME.labels(sink).set(now_ms / 1000)
        else:
            _log.warning("heartbeat_not_sent", sink=sink, why=result.why)

    def _refresh(self, now_ms: int) -> None:
        """Tell Alertmanager again of what fires, and of what has just ended: it forgets, by design."""
        if time.monotonic() - self._refreshed_at_s < self._routes.resend_ms / 1000:
            return
        self._refreshed_at_s = time.monotonic()
        firing = [group for group in self._keeper.open_groups() if group.told_records and not group.is_notice]
        ended = [group for group in self._keeper.just_resolved(now_ms) if group.told_records]
        for name, client in self._clients.refreshes.items():
            assert isinstance(client, Alertmanager), "only Alertmanager is told again"
            told = [group for group in firing if name in self._outbox.sinks_told(group.group_id)]
            over = [group for group in ended if name in self._routes.heard(group.key, group.escalated_level)]
            alerts = [self._alert(name, group, now_ms + FIRING_MS, now_ms) for group in told]
            alerts += [self._alert(name, group, group.resolved_at_ms or now_ms, now_ms) for group in over]
            if alerts and not self._senders.is_busy(_REFRESH + name):
                self._senders.start(_REFRESH + name, partial(client.post_alerts, alerts))

    def _alert(self, name: str, group: Group, ends_at_ms: int, now_ms: int) -> Json:
        sink = self._routes.sinks[name]
        setting = Setting(self._routes.source, self._routes.runbook_of(group.key.code), sink.shows_evidence)
        message = message_about(told_of(group), name, 1, MessageKind.COUNTED, now_ms)
        return rendering.alertmanager_alert(message, setting, ends_at_ms)
