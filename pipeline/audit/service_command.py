"""`fraud audit run`: the audit service in the foreground, logging JSON to stderr."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import structlog
from prometheus_client import start_http_server

from pipeline.audit.anchor_topics import Anchors, Publish
from pipeline.audit.key_files import SigningKey, SigningKeyRefused
from pipeline.audit.leaf_files import HeadRefused, LeafFileBusy
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import AuditBroken, AuditLog, RecordRefused
from pipeline.audit.service import Service, Sources
from pipeline.domain.log import Outgoing
from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.positioned_log import PositionedLog, RecordUndecodable
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, PositionMoved, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure, database_away

CREATE_KEY: Final = "Create one with `fraud keys create audit PATH`"
_logger = structlog.stdlib.get_logger(__name__)
# What ends the service: each names what is wrong, and started again it goes on where it stood.
_ENDING: Final = (
    AuditBroken, DatabaseRefused, DatabaseUnavailable, HeadRefused, LeafFileBusy, BrokerFailed, PositionMoved,
    RecordRefused, RecordUndecodable, OSError,  # the last: a full disk, say
)  # fmt: skip


def run_audit(settings: Settings, wire: WireFormat, *, is_refill: bool = False) -> NoReturn:
    """Until SIGTERM or SIGINT (exit 0), or until what it must not pass over (exit 1). SIGUSR1 anchors at once.

    is_refill: the database was restored from a backup; what the files outside it already have is read again.
    """
    logs.configure(settings.log_level)
    service = _service(settings, wire, is_refill=is_refill)
    sources = Sources(
        _source(settings, wire, "decisions.v1", None, "audit", service.decision_positions, service.release),
        _source(
            settings, wire, "transactions.dead.v1", "dead_letter.v1", "audit-dead-letters", service.letter_positions
        ),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGUSR1, lambda *_: service.want_anchor())
    _serve_metrics(settings)
    try:
        service.run(sources)
    except _ENDING as error:
        _logger.critical("audit_ended", error=type(error).__name__, why=str(error))
        raise SystemExit(FAILED_CHECK) from error
    finally:
        sources.decisions.close()
        sources.letters.close()
        service.close()
    raise SystemExit(0)


def signing_key(settings: Settings) -> SigningKey:
    try:
        if settings.audit_key is not None:
            return SigningKey.from_text(settings.audit_key)
        if settings.audit_key_file is None:
            raise Failure("The audit log has no key to sign with.", f"{CREATE_KEY}, and set FRAUD_AUDIT_KEY_FILE.")
        return SigningKey.from_file(settings.audit_key_file)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", f"{CREATE_KEY}.") from refusal


def _serve_metrics(settings: Settings) -> None:
    if not settings.audit_port:
        return
    try:
        start_http_server(settings.audit_port, settings.web_host)
    except OSError as error:
        what = f"{settings.web_host}:{settings.audit_port}, for metrics, can't be had ({error.strerror})."
        raise Failure(what, "Set FRAUD_AUDIT_PORT to something free, or to 0 for none.") from error


def _service(settings: Settings, wire: WireFormat, *, is_refill: bool) -> Service:
    topic, directory = settings.topic("decisions.v1"), settings.audit_directory
    anchors = Anchors(topic, directory, signing_key(settings), wire, _publish(settings))
    try:
        return Service(
            AuditLog(topic, directory, wire, lambda: time.time_ns() // 1000, is_refill=is_refill),
            Letters(settings.topic("transactions.dead.v1")),
            anchors,
            partial(connect, settings.database_url, "fraud-audit"),
            patience_s=settings.database_patience_s,
            anchor_interval_s=settings.audit_anchor_interval_s,
        )
    except DatabaseUnavailable as error:
        raise database_away(settings.database_url) from error


def _source(
    settings: Settings,
    wire: WireFormat,
    topic: str,
    schema: str | None,
    consumer: str,
    positions: Callable[..., dict[int, int]],
    release: Callable[[], None] = lambda: None,
) -> PositionedLog:
    return PositionedLog(
        settings.bootstrap_servers,
        settings.topic(topic),
        schema,
        f"{settings.topic_prefix}fraud-{consumer}",
        slot=settings.worker_slot,
        wire=wire,
        positions=positions,
        options=settings.kafka_options,
        release=release,
    )


def _publish(settings: Settings) -> Publish:
    appender = Appender(settings.bootstrap_servers, f"fraud-audit-{settings.worker_slot}", settings.kafka_options)
    topic = settings.topic("anchors.v1")
    return lambda key, value: appender.append([Outgoing(topic, key, value)])
