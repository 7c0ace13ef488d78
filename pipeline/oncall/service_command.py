"""`fraud alerts run`: the service that delivers alerts, in the foreground, logging JSON to stderr."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.domain.log import Presented, Prove, Unproved
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Held, Positions
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.oncall.groups import bounded, is_workers_to_tell, is_workers_word
from pipeline.oncall.routes_files import RoutesRefused, routes_of
from pipeline.oncall.routing import Routes
from pipeline.oncall.service import CONSUMER, GROUP, AlertService, Clients, Content, readable
from pipeline.oncall.sinks.kinds_client import SinkUnusable, client_of
from pipeline.oncall.sinks.senders_client import SendsStuck
from pipeline.oncall.store import Turn
from pipeline.seals.seal_files import worker_check
from pipeline.terminal.failures import Failure

FIX: Final = "Correct the file of FRAUD_ALERT_ROUTES_PATH, or the secret alert_secrets; docs/alerting.md shows how."


def run_alerts(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    terms = Terms("alerts", settings.alerts_port, "FRAUD_ALERTS_PORT", ending=(SendsStuck,))
    run_service(alert_service(settings, wire), settings, terms)


def alert_service(settings: Settings, wire: WireFormat) -> AlertService:
    """Compose the service. Failure where its routes can't be used."""
    routes, topic = checked_routes(settings), settings.topic("alerts.v1")
    held = Held(partial(service_connection, settings.database_url, GROUP))
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, topic)
    try:
        clients = Clients(routes, lambda name: client_of(routes.sinks[name], routes))
    except SinkUnusable as error:
        raise Failure(f"{str(error)[:1].upper()}{str(error)[1:]}.", FIX) from error
    decode, prove = _decoder(wire), prove_workers(wire, worker_check(settings).unproved)
    source, turn = partial(_source, settings, decode, topic, held, prove), Turn(settings.database_url, GROUP)
    return AlertService(source, held, turn, publisher.publish, routes, clients, topic, decode)


def checked_routes(settings: Settings) -> Routes:
    """Read the routes. Failure says what is wrong with them."""
    try:
        return routes_of(settings)
    except RoutesRefused as refusal:
        raise Failure(f"The routes of alerts are refused: {refusal}.", FIX) from refusal


def prove_workers(wire: WireFormat, prove_worker: Prove) -> Prove:
    """Return what asks for a worker's seal on what workers alone know, and on nothing else."""

    def prove(record: Presented) -> Unproved | None:
        read = wire.decode_alert(record.value)
        told = bounded(read) if isinstance(read, Alert) else None
        is_workers = told is not None and (is_workers_word(told) or is_workers_to_tell(told))
        return prove_worker(record) if is_workers else None

    return prove


def _decoder(wire: WireFormat) -> Callable[[bytes | None], Content]:
    return lambda value: readable(wire.decode_alert(value))


def _source(
    settings: Settings, decode: Callable[[bytes | None], Content], topic: str, held: Held, prove: Prove
) -> PositionedLog[Content]:
    positions = Positions(CONSUMER, topic)
    return PositionedLog(
        settings.bootstrap_servers,
        topic,
        decode,
        GROUP,
        slot=settings.worker_slot,
        positions=lambda partitions: positions.read(held.connection(), partitions),
        options=settings.kafka_options,
        prove=prove,
    )
