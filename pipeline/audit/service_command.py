"""`fraud audit run`: the audit service in the foreground, logging JSON to stderr."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

from pipeline.audit.anchor_topics import Anchors, Publish
from pipeline.audit.key_files import SigningKey, SigningKeyRefused
from pipeline.audit.leaf_files import HeadRefused, LeafFileBusy
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import AuditBroken, AuditLog, RecordRefused
from pipeline.audit.service import AuditService, Sources
from pipeline.domain.log import ContentT, Outgoing
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import PositionedLog, undecoded
from pipeline.io.postgres import PositionMoved, connect
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure

CREATE_KEY: Final = "Create one with `fraud keys create audit PATH`"
PASSING: Final = (LeafFileBusy, PositionMoved)
# Each names what is wrong; OSError: a full disk, say.
ENDING: Final = (AuditBroken, HeadRefused, LeafFileBusy, RecordRefused, OSError)


def run_audit(settings: Settings, wire: WireFormat, *, is_refill: bool = False) -> NoReturn:
    """Run as a service (pipeline.io.runner); SIGUSR1 anchors at once.

    is_refill: the database was restored from a backup; what the files outside it already have is read again.
    """
    service = _service(settings, wire, is_refill=is_refill)
    letters = "transactions.dead.v1", wire.decode_dead_letter, "audit-dead-letters"
    service.read_from(
        Sources(
            _source(settings, "decisions.v1", undecoded, "audit", service.decision_positions, service.release),
            _source(settings, *letters, service.letter_positions),
        )
    )
    terms = Terms(
        "audit",
        settings.audit_port,
        "FRAUD_AUDIT_PORT",
        PASSING,
        ENDING,
        {signal.SIGUSR1: service.want_anchor},
    )
    run_service(service, settings, terms)


def signing_key(settings: Settings) -> SigningKey:
    try:
        if settings.audit_key is not None:
            return SigningKey.from_text(settings.audit_key)
        if settings.audit_key_file is None:
            raise Failure("The audit log has no key to sign with.", f"{CREATE_KEY}, and set FRAUD_AUDIT_KEY_FILE.")
        return SigningKey.from_file(settings.audit_key_file)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", f"{CREATE_KEY}.") from refusal


def _service(settings: Settings, wire: WireFormat, *, is_refill: bool) -> AuditService:
    topic, directory = settings.topic("decisions.v1"), settings.audit_directory
    return AuditService(
        AuditLog(topic, directory, wire, lambda: time.time_ns() // 1000, is_refill=is_refill),
        Letters(settings.topic("transactions.dead.v1")),
        Anchors(topic, directory, signing_key(settings), wire, _publish(settings)),
        partial(connect, settings.database_url, "fraud-audit"),
        anchor_interval_s=settings.audit_anchor_interval_s,
    )


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
    appender = Appender.of(settings, f"fraud-audit-{settings.worker_slot}")
    topic = settings.topic("anchors.v1")
    return lambda key, value: appender.append([Outgoing(topic, key, value)])
