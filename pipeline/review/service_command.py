"""`fraud review run`: the service that keeps cases, in the foreground, logging JSON to stderr."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from typing import Final, NoReturn

from pipeline.domain.in_force import DecisionRecord
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms, service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Held, Positions, failures_named
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused, KeyUse
from pipeline.people.stamp_service import PeopleStamper
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.review.desk_command import rules_of
from pipeline.review.service import CONSUMER, GROUP, ReviewService, ReviewTopics, Seals
from pipeline.review.trace_service import ReviewTraces
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.seal_files import seal_check, seal_key, sealer_of
from pipeline.traces.processing_service import BatchTraces
from pipeline.traces.tracer_service import Tracer, tracer_of

HOUR_MS: Final = 3_600_000


class Reviewing:
    """The review service on one connection."""

    def __init__(
        self,
        service: ReviewService,
        source: PositionedLog[DecisionRecord],
        held: Held,
        stamper: PeopleStamper | None,
    ) -> None:
        self._service, self._source, self._held, self._stamper = service, source, held, stamper

    def step(self, _stopping: threading.Event) -> str | None:
        if self._stamper is not None:
            with failures_named():
                self._stamper.step(self._held.connection())
        held = self._service.step(self._held.connection())
        return held if self._stamper is None or held is not None else self._stamper.lost

    def begin_again(self) -> None:
        """Read again what was read but not stored."""
        self._held.drop()
        self._source.rewind()

    def close(self) -> None:
        self._source.close()
        self._held.drop()


def run_review(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    topic, check, tracer = settings.topic("decisions.v1"), seal_check(settings), tracer_of(settings, "review")
    held, positions = Held(partial(service_connection, settings.database_url, GROUP)), Positions(CONSUMER, topic)
    source: PositionedLog[DecisionRecord] = PositionedLog(
        settings.bootstrap_servers,
        topic,
        wire.decode_decision_record,
        GROUP,
        slot=settings.worker_slot,
        positions=lambda partitions: positions.read(held.connection(), partitions),
        options=settings.kafka_options,
        is_aside=lambda *where: is_put_aside(held.connection(), topic, *where),
        prove=check.unproved,
        is_traced=tracer.is_on,
    )
    appender = Appender.of(settings, f"{GROUP}-{settings.worker_slot}")
    expiry_ms = settings.review_expiry_hours * HOUR_MS
    seals = Seals(sealer_of(settings, KeyUse.REVIEWS).seal, PassedOver(CONSUMER, topic))  # the executor tells
    topics = ReviewTopics(topic, settings.topic("alerts.v1"))
    service = ReviewService(
        source, appender, wire, topics, expiry_ms, server_now_ms, rules_of(settings), seals, _traces(settings, tracer)
    )
    terms = Terms("review", settings.review_port, "FRAUD_REVIEW_PORT", ending=(KeySetRefused,))
    with closing(tracer):
        run_service(Reviewing(service, source, held, _stamper(settings)), settings, terms)


def _stamper(settings: Settings) -> PeopleStamper | None:
    if settings.people_file is None:
        return None
    key = seal_key(settings, KeyUse.REVIEWS)
    return PeopleStamper(settings.people_file, key.key_id, key.sign)


def _traces(settings: Settings, tracer: Tracer) -> ReviewTraces:
    topic = settings.topic("decisions.v1")
    reader = LogReader.of_service(settings, GROUP, is_expiry_expected=True)
    return ReviewTraces(
        tracer, BatchTraces(tracer, "review", topic, GROUP), topic, partial(reader.traceparent_at, topic)
    )
