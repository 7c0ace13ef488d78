"""`fraud alerts test`: a test alert, from the topic to every sink of its route."""

from __future__ import annotations

import time
from typing import Final
from uuid import uuid4

from pipeline.alerts.catalogue import AlertCode, alert, over
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.money import count_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.settings import Settings
from pipeline.oncall.groups import Group, key_of
from pipeline.oncall.outbox import AttemptKind, Delivery
from pipeline.oncall.routing import Routes
from pipeline.oncall.service import GROUP
from pipeline.oncall.service_command import checked_routes
from pipeline.oncall.store import find_groups, group_of_alert, read_deliveries_about
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

POLL_S: Final = 0.2


def try_out(
    output: Output, settings: Settings, wire: WireFormat, severity: Severity, scope: str, wait_s: float
) -> bool:
    """Raise the alert and show what each sink said; False where one has not taken it in time."""
    routes = checked_routes(settings)
    raised = alert(
        AlertCode.ALERTS_TEST,
        "This is a test of whether alerts arrive. Nothing is wrong.",
        scope,
        {"test": str(uuid4())},
        now_ms(),
        severity,
    )
    sinks = routes.told(key_of(raised), routes.route_of(key_of(raised)).sinks)
    with connected(settings) as connection:
        _publish(settings, wire, raised)
        group, deliveries = _awaited(connection, routes, raised, wait_s)
        _publish(settings, wire, over(raised, now_ms()))
    output.note(f"The test's group is {group.group_id}; it is said to be over.")
    latest = {delivery.message.sink: delivery for delivery in deliveries}
    is_sound = True
    for name in sinks:
        delivery = latest.get(name)
        end = None if delivery is None else delivery.end
        is_sound &= end is AttemptKind.DELIVERED
        tried = "nothing was sent yet" if delivery is None else f"tried {count_text(delivery.sends, 'time')}, goes on"
        said = end or tried
        fields = {"sink": name, "end": end, "sends": 0 if delivery is None else delivery.sends}
        output.record(fields, f"{'ok   ' if end is AttemptKind.DELIVERED else 'WRONG'} {name}: {said}")
    return is_sound


def _publish(settings: Settings, wire: WireFormat, raised: Alert) -> None:
    publisher = AlertPublisher(Appender.of(settings, f"{GROUP}-test").append, wire, settings.topic("alerts.v1"))
    try:
        publisher.publish([raised])
    except BrokerFailed as error:
        raise Failure(f"{error}.", "Is the broker up, and may you write alerts.v1?") from error


def _awaited(connection: Connection, routes: Routes, raised: Alert, wait_s: float) -> tuple[Group, list[Delivery]]:
    """The alert's group and the messages about it, once all have ended or the time is over."""
    wanted = set(routes.told(key_of(raised), routes.route_of(key_of(raised)).sinks))
    deadline = time.monotonic() + wait_s
    group_id: str | None = None
    with failures_named():
        while True:
            group_id = group_id or group_of_alert(connection, raised.alert_id)
            found = [] if group_id is None else read_deliveries_about(connection, group_id)
            ended = {delivery.message.sink for delivery in found if delivery.end is not None}
            if (group_id is not None and wanted <= ended) or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        if group_id is None:
            raise Failure("The test alert was not taken in.", "Does the service run (`fraud alerts run`)?")
        return find_groups(connection, group_id)[0], found
