"""`fraud audit`: the service, its keys and heads, exports, proofs, and the offline verifier on an export."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import structlog
from confluent_kafka import KafkaError, Message, Producer
from prometheus_client import start_http_server

from pipeline.audit.anchor_topics import Anchors, Publish
from pipeline.audit.key_files import SigningKey, SigningKeyRefused, create_signing_key
from pipeline.audit.leaf_files import HeadRefused, LeafFileBusy
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import AuditBroken, AuditLog, RecordRefused
from pipeline.audit.service import AnchorFailed, Service, Sources
from pipeline.domain.log import ContentT, RecordUndecodable
from pipeline.domain.refusals import Refusal
from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_scan import client_options
from pipeline.io.kafka.positioned_log import LogUnavailable, PositionedLog, undecoded
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, PositionMoved, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure, without_password

PUBLISH_TIMEOUT_S: Final = 10.0
_logger = structlog.stdlib.get_logger(__name__)
# What ends the service: each names what is wrong, and started again it goes on where it stood.
_ENDING: Final = (
    AuditBroken, DatabaseRefused, DatabaseUnavailable, HeadRefused, LeafFileBusy, LogUnavailable, PositionMoved,
    RecordRefused, RecordUndecodable, OSError,  # the last: a full disk, say
)  # fmt: skip


def run_audit(settings: Settings, wire: WireFormat, *, is_refill: bool = False) -> NoReturn:
    """Until SIGTERM or SIGINT (exit 0), or until what it must not pass over (exit 1). SIGUSR1 anchors at once.

    is_refill: the database was restored from a backup; what the files outside it already have is read again.
    """
    logs.configure(settings.log_level)
    service = _service(settings, wire, is_refill=is_refill)
    sources = Sources(
        _source(settings, "decisions.v1", undecoded, "audit", service.decision_positions, service.release),
        _source(
            settings, "transactions.dead.v1", wire.decode_dead_letter, "audit-dead-letters", service.letter_positions
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


def keygen(path: Path) -> str:
    """The new key's id."""
    try:
        return create_signing_key(path).key_id
    except FileExistsError as error:
        raise Failure(f"{error.filename} exists; a key is never overwritten.", "Give another path.") from error
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Give a path in a folder of yours.") from error


def signing_key(settings: Settings) -> SigningKey:
    try:
        if settings.audit_key is not None:
            return SigningKey.from_text(settings.audit_key)
        if settings.audit_key_file is None:
            raise Failure("The audit log has no key to sign with.", "Set FRAUD_AUDIT_KEY_FILE; `fraud audit keygen`.")
        return SigningKey.from_file(settings.audit_key_file)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", "`fraud audit keygen` makes one.") from refusal


def database_away(settings: Settings) -> Failure:
    return Failure(
        f"PostgreSQL does not answer at {without_password(settings.database_url)}.",
        "Start it and set FRAUD_DATABASE_URL to its address.",
    )


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
        raise database_away(settings) from error


def _source(
    settings: Settings,
    topic: str,
    decode: Callable[[bytes | None], ContentT | Refusal],
    consumer: str,
    positions: Callable[..., dict[int, int]],
    release: Callable[[], None] = lambda: None,
) -> PositionedLog[ContentT]:
    return PositionedLog(
        settings.bootstrap_servers,
        settings.topic(topic),
        decode,
        f"{settings.topic_prefix}fraud-{consumer}",
        slot=settings.worker_slot,
        positions=positions,
        options=settings.kafka_options,
        release=release,
    )


def _publish(settings: Settings) -> Publish:
    producer = Producer({**client_options(settings), "enable.idempotence": True, "acks": "all"})
    topic = settings.topic("anchors.v1")

    def publish(key: bytes, value: bytes) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        producer.produce(topic, value, key, on_delivery=delivered)
        if producer.flush(PUBLISH_TIMEOUT_S) or failures:
            raise AnchorFailed(f"{topic} did not acknowledge a head")

    return publish
