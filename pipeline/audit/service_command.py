"""`fraud audit run`: the audit service in the foreground, logging JSON to stderr."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final, NoReturn

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.audit.anchor_topics import Anchors, Publish
from pipeline.audit.continuing.check_service import Continuation
from pipeline.audit.continuing.outside_topics import OutsideLog, Topics
from pipeline.audit.continuing.recheck_service import Recheck
from pipeline.audit.continuing.source_topics import SourceTopic
from pipeline.audit.leaf_files import LeafFileBusy
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import CONSUMER, AuditLog, RecordRefused
from pipeline.audit.service import AuditService, Guard, Sources
from pipeline.audit.tables.check_service import TableContinuation
from pipeline.audit.tables.follow_service import TableFollower
from pipeline.audit.tables.log_store import TableLog
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.audit.unproved_service import Noting
from pipeline.domain.log import ContentT, Outgoing, Prove
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import IsAside, PositionedLog, undecoded
from pipeline.io.postgres import PositionMoved
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused, read_key_set, set_path_beside
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, key_set_of, untrusted
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.seal_files import DEAD_LETTERS, seal_check, worker_check
from pipeline.terminal.failures import Failure
from pipeline.traces.processing_service import BatchTraces
from pipeline.traces.tracer_service import Tracer, tracer_of

CREATE_KEY: Final = "Create one with `fraud keys create audit PATH`"
CHECK_GROUP: Final = "fraud-audit-check"
PASSING: Final = (LeafFileBusy, PositionMoved)
# Each names what is wrong; OSError: a full disk, say.
ENDING: Final = (KeySetRefused, LeafFileBusy, RecordRefused, OSError)


def run_audit(settings: Settings, wire: WireFormat, *, is_refill: bool = False) -> NoReturn:
    """Run as a service (pipeline.io.runner); SIGUSR1 anchors at once.

    is_refill: the database was restored from a backup; what the files outside it already have is read again.
    """
    noting = Noting(seal_check(settings).unproved, PassedOver(CONSUMER, settings.topic("decisions.v1")))
    tracer = tracer_of(settings, "audit")
    service = _service(settings, wire, noting, tracer, is_refill=is_refill)
    letters = DEAD_LETTERS, wire.decode_dead_letter, "audit-dead-letters"
    service.read_from(
        Sources(
            _source(
                settings,
                "decisions.v1",
                undecoded,
                "audit",
                service.decision_positions,
                service.release,
                prove=noting.prove,
                is_traced=tracer.is_on,
            ),
            _source(
                settings,
                *letters,
                service.letter_positions,
                is_aside=service.is_letter_aside,
                prove=worker_check(settings).unproved,
            ),
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
    with closing(tracer):
        run_service(service, settings, terms)


def signing_key(settings: Settings) -> SigningKey:
    """The key that signs heads, which the key set must trust now."""
    try:
        key = _private_key(settings)
        why = untrusted(key_set(settings), KeyUse.AUDIT, key.key_id, now_ms(), None)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", f"{CREATE_KEY}.") from refusal
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "Set FRAUD_AUDIT_KEYS_FILE to the key set that verifies the log.") from refusal
    if why is not None:
        what = f"The audit log can't be signed: {why}."
        raise Failure(what, "Rotate to a new key with `fraud keys rotate audit`.")
    return key


def key_set(settings: Settings) -> KeySet:
    """The key set, read anew. Raises KeySetRefused."""
    if settings.audit_keys is not None:
        return key_set_of(settings.audit_keys)
    if settings.audit_keys_file is not None:
        return read_key_set(settings.audit_keys_file)
    if settings.audit_key_file is not None:
        return read_key_set(set_path_beside(settings.audit_key_file))
    raise KeySetRefused("no key set is named")


def continuation(
    settings: Settings, wire: WireFormat, rest: Callable[[], None] = lambda: None, group: str = CHECK_GROUP
) -> Continuation:
    """The check of the log of decisions.v1, with readers of its own."""
    reader = _reader(settings, group)
    topic = settings.topic("decisions.v1")
    return Continuation(
        topic,
        settings.audit_directory,
        partial(key_set, settings),
        OutsideLog(reader, wire, _topics(settings)),
        SourceTopic(reader, topic),
        rest,
    )


def table_continuation(
    settings: Settings, wire: WireFormat, rest: Callable[[], None] = lambda: None, group: str = CHECK_GROUP
) -> TableContinuation:
    """The check of the streams of ledger, reviews and control, with readers of its own."""
    outside = OutsideLog(_reader(settings, group), wire, _topics(settings))
    topic, keys = settings.topic(TABLES_LOG), partial(key_set, settings)
    return TableContinuation(topic, settings.audit_directory, keys, outside, rest)


def _reader(settings: Settings, group: str) -> LogReader:
    return LogReader.of_service(settings, group, is_expiry_expected=True)


def _topics(settings: Settings) -> Topics:
    return Topics(settings.topic("anchors.v1"), settings.topic("witness.v1"))


def _private_key(settings: Settings) -> SigningKey:
    if settings.audit_key is not None:
        return SigningKey.from_text(settings.audit_key, "audit_key")
    if settings.audit_key_file is None:
        raise Failure("The audit log has no key to sign with.", f"{CREATE_KEY}, and set FRAUD_AUDIT_KEY_FILE.")
    return SigningKey.from_file(settings.audit_key_file)


def _service(settings: Settings, wire: WireFormat, noting: Noting, tracer: Tracer, *, is_refill: bool) -> AuditService:
    topic, directory = settings.topic("decisions.v1"), settings.audit_directory
    log = AuditLog(topic, directory, wire, _now_us, is_refill=is_refill)
    connecting = partial(service_connection, settings.database_url, "fraud-audit")
    appender = Appender.of(settings, f"fraud-audit-{settings.worker_slot}")
    alerts = AlertPublisher(appender.append, wire, settings.topic("alerts.v1"))
    key, keys = signing_key(settings), partial(key_set, settings)
    publish = _publish(appender, settings.topic("anchors.v1"))
    tables = TableFollower(
        TableLog(settings.topic(TABLES_LOG), directory, _now_us),
        Anchors(settings.topic(TABLES_LOG), directory, key, keys, wire, publish),
        table_continuation(settings, wire),
        directory,
        is_refill=is_refill,
    )
    rechecked = partial(continuation, settings, wire), lambda: log.trees
    rechecked_tables = partial(table_continuation, settings, wire), lambda: tables.trees
    guard = Guard(
        continuation(settings, wire),
        Recheck(connecting, directory, (rechecked, rechecked_tables)),
        directory,
        lambda alert: alerts.publish([alert]),
        settings.audit_witness_age_max_s,
        is_refill=is_refill,
    )
    return AuditService(
        log,
        Letters(settings.topic(DEAD_LETTERS), PassedOver(CONSUMER, settings.topic(DEAD_LETTERS), alerts.publish).note),
        Anchors(topic, directory, key, keys, wire, publish),
        tables,
        guard,
        noting,
        connecting,
        anchor_interval_s=settings.audit_anchor_interval_s,
        traces=BatchTraces(tracer, "audit", topic, _group(settings, "audit")),
    )


def _source(
    settings: Settings,
    topic: str,
    decode: Callable[[bytes | None], ContentT | Refusal],
    consumer: str,
    positions: Callable[..., dict[int, int]],
    release: Callable[[], None] = lambda: None,
    is_aside: IsAside = lambda *_: False,
    prove: Prove | None = None,
    *,
    is_traced: bool = False,
) -> PositionedLog[ContentT]:
    return PositionedLog(
        settings.bootstrap_servers,
        settings.topic(topic),
        decode,
        _group(settings, consumer),
        slot=settings.worker_slot,
        positions=positions,
        options=settings.kafka_options,
        release=release,
        is_aside=is_aside,
        prove=prove,
        is_traced=is_traced,
    )


def _group(settings: Settings, consumer: str) -> str:
    return f"{settings.topic_prefix}fraud-{consumer}"


def _now_us() -> int:
    return time.time_ns() // 1000


def _publish(appender: Appender, topic: str) -> Publish:
    return lambda key, value: appender.append([Outgoing(topic, key, value)])
