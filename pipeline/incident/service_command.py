"""`fraud incident run`: the incident service in the foreground, logging JSON to stderr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

import structlog

from models.artefact.strict import ModelRefused
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.incident.service import GROUP, IncidentService
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Held, PositionMoved, connect
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.promotion.desk_files import NO_KEY_ID, watching_desk
from pipeline.promotion.gathering_store import limits_of
from pipeline.promotion.watch_service import LateWatch, RolloutWatch
from pipeline.seals.seal_files import worker_check

MINUTE_MS: Final = 60_000
log = structlog.get_logger("incident")


def run_incident(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    # Another service may have stored what this one read; it then reads on from there.
    terms = Terms("incident", settings.incident_port, "FRAUD_INCIDENT_PORT", passing=(PositionMoved,))
    run_service(service_of(settings, wire), settings, terms)


def service_of(settings: Settings, wire: WireFormat) -> IncidentService:
    topic = settings.topic("alerts.v1")
    appender = Appender.of(settings, f"{GROUP}-{settings.worker_slot}")
    alerts = AlertPublisher(appender.append, wire, topic)
    return IncidentService(
        LogReader.of_service(settings, GROUP),
        wire,
        topic,
        Held(partial(connect, settings.database_url, GROUP)),
        alerts.publish,
        settings.incident_lookback_minutes * MINUTE_MS,
        now_ms,
        rollouts_of(settings, wire, alerts.publish),
        prove=worker_check(settings).unproved,
    )


def rollouts_of(settings: Settings, wire: WireFormat, publish: Callable[[Sequence[Alert]], None]) -> LateWatch:
    def begin() -> RolloutWatch | None:
        try:
            desk = watching_desk(settings, wire)
        except ModelRefused as refusal:
            log.error("rollouts_unwatched", why=str(refusal))
            return None
        if desk is None:
            return None
        log.info("rollouts_watched", ends_them=desk.signing.key_id != NO_KEY_ID)
        return RolloutWatch(desk, lambda: limits_of(settings), publish, now_ms)

    return LateWatch(begin)
