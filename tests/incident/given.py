"""Alerts that tests raise, the topic that they stand on, and the service that reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from uuid import uuid4

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.alerts.encoding import alert_record
from pipeline.breaker.alerts import breaker_alert
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.evaluating import Transition
from pipeline.breaker.states import MONITOR, TRANSITIONS, BreakerRecord, Cause, Event
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Outgoing, Prove
from pipeline.incident.incidents import ToldAlert
from pipeline.incident.service import GROUP, IncidentService
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Held, connect
from pipeline.seals.seal import Sealer
from tests.records import NOON_MS

WIRE = WireFormat()
MINUTE_MS = 60_000
LOOKBACK_MS = 10 * MINUTE_MS
TURNS_MAX = 200
COUNTS = Counts(allow=300, block=200, escalate=12, errors=0)


def moved(
    event: Event,
    scope: str = "model:wrong-1",
    at_ms: int = NOON_MS,
    before: BreakerState = BreakerState.CLOSED,
    cause: str = "39 % are blocked, and 2 % are usual",
) -> Alert:
    """A transition, as a worker tells it."""
    after = BreakerRecord(scope, TRANSITIONS[before, event], at_ms, at_ms, 0, Cause(cause, MONITOR))
    return breaker_alert(Transition(before, event, after, at_ms, COUNTS))


def tripped(scope: str = "model:wrong-1", at_ms: int = NOON_MS) -> Alert:
    return moved(Event.TRIP, scope, at_ms)


def closed(scope: str = "model:wrong-1", at_ms: int = NOON_MS) -> Alert:
    return moved(Event.PROBE_GOOD, scope, at_ms, BreakerState.HALF_OPEN, "the model answers as usual")


def held(at_ms: int = NOON_MS) -> Alert:
    return alert(AlertCode.PAYMENTS_HELD, "Worker 0 holds its payments.", "all", {"worker": "0"}, at_ms)


def as_read(raised: Alert) -> ToldAlert:
    """An alert as it is read back from an incident."""
    alert_id, raised_at_ms, severity, code, summary, scope, evidence, _ = raised
    return ToldAlert(alert_id, raised_at_ms, code, str(severity), summary, scope, evidence)


class AlertTopic:
    """alerts.v1 with a prefix of its own, on a broker."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.bootstrap_servers, self.prefix, self.name = bootstrap_servers, prefix, f"{prefix}alerts.v1"
        self._appender = Appender(bootstrap_servers, f"test-{uuid4()}", {})

    def publish(self, raised: Iterable[Alert]) -> None:
        self._appender.append([alert_record(WIRE, self.name, each) for each in raised])

    def publish_sealed(self, sealer: Sealer, raised: Iterable[Alert]) -> None:
        self._appender.append(sealer.seal([alert_record(WIRE, self.name, each) for each in raised]))

    def publish_bytes(self, values: Iterable[bytes], partition: int = 0) -> None:
        self._appender.append([Outgoing(self.name, b"key", value, partition) for value in values])

    def service(self, database_url: str, prove: Prove = lambda _: None) -> IncidentService:
        """A service of fraud_incident, by whose URL. prove: believes every record by default."""
        return IncidentService(
            LogReader(self.bootstrap_servers, GROUP, {}),
            WIRE,
            self.name,
            Held(partial(connect, database_url, GROUP)),
            self.publish,
            LOOKBACK_MS,
            lambda: NOON_MS,
            prove=prove,
        )


def caught_up(service: IncidentService) -> None:
    """Take turns until everything is read."""
    stopping = threading.Event()
    stopping.set()  # so that nothing waits for more
    for _ in range(TURNS_MAX):
        if service.step(stopping) is None:
            return
    raise AssertionError("it never reads to the end")


def incidents_of(owner: Connection) -> list[tuple[str, str, int]]:
    """Kind, first scope by name and alerts of each incident, in the order of its opening."""
    rows: Sequence[tuple[str, str, int]] = owner.execute(
        """SELECT opened.kind, min(told.scope), count(*) FROM control.incident AS opened
           JOIN control.incident_alert AS told USING (incident_id)
           GROUP BY opened.incident_id, opened.kind, opened.raised_at ORDER BY opened.raised_at, opened.incident_id"""
    ).fetchall()
    return list(rows)
