"""`fraud executor run`: the execution service in the foreground, logging JSON to stderr."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Final, NoReturn

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.execute.audit_wait_service import AuditWait
from pipeline.execute.batch_service import Executor
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Identity, Rail
from pipeline.execute.restoring.continuity_service import Continuity
from pipeline.execute.restoring.told_topics import Told
from pipeline.execute.service import ExecutionService
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.garbage import calm_garbage_collector
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import DatabaseRefused, PositionMoved
from pipeline.io.runner import Terms, run_service
from pipeline.io.secrets import SecretsUnavailable, require_private
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.seal_files import EXECUTIONS, execution_proves, execution_sealer, seal_check
from pipeline.terminal.failures import Failure
from pipeline.traces.processing_service import BatchTraces
from pipeline.traces.tracer_service import Tracer, tracer_of

PASSING: Final = (DatabaseRefused, PositionMoved)
"""Another executor was faster: begun again from what is stored, the batch finds what that one did."""


def run_executor(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    check = seal_check(settings)
    tracer = tracer_of(settings, "executor")
    service = _service(settings, wire, tracer)
    service.read_from(
        PositionedLog(
            settings.bootstrap_servers,
            settings.topic("decisions.v1"),
            wire.decode_decision_record,
            _group(settings),
            slot=settings.worker_slot,
            positions=service.positions,
            options=settings.kafka_options,
            is_aside=service.is_aside,
            prove=check.unproved,
            is_traced=tracer.is_on,
        )
    )
    ending = (KeySetRefused,)
    terms = Terms("executor", settings.executor_port, "FRAUD_EXECUTOR_PORT", PASSING, ending)
    calm_garbage_collector()
    with closing(tracer):
        run_service(service, settings, terms)


def _group(settings: Settings) -> str:
    return f"{settings.topic_prefix}fraud-executor"


def _service(settings: Settings, wire: WireFormat, tracer: Tracer) -> ExecutionService:
    ledger, topic = Ledger(), settings.topic("decisions.v1")
    appender = Appender.of(settings, f"fraud-executor-{settings.worker_slot}")
    notices = notices_of(settings, appender, wire)
    heard = LogReader.of_service(settings, "fraud-executor-heard", is_expiry_expected=True)
    rail, header_at = rail_of(settings, tracer), partial(heard.traceparent_at, topic)
    traces = BatchTraces(tracer, "execute", topic, _group(settings), header_at)
    keys_kept_s = settings.rail_keeps_keys_hours * 3600
    execution = Executor(ledger, rail, notices, topic, rail_keeps_keys_s=keys_kept_s, traces=traces)
    reader = LogReader.of_service(settings, "fraud-executor-told", proves=execution_proves(settings))
    continuity = Continuity(Told(reader, wire, settings.topic(EXECUTIONS)).latest, notices)
    alerts = AlertPublisher(appender.append, wire, settings.topic("alerts.v1"))
    return ExecutionService(
        execution,
        ledger,
        AuditWait(notices, topic),
        continuity,
        partial(service_connection, settings.database_url, "fraud-executor"),
        PassedOver("executor", topic, alerts.publish),
    )


def notices_of(settings: Settings, appender: Appender, wire: WireFormat) -> Notices:
    """Return what tells people and decision workers, under a seal where there is a key for it. Raises Failure."""
    sealer = execution_sealer(settings)
    topics = settings.topic(EXECUTIONS), settings.topic("alerts.v1")
    return Notices(appender, wire, *topics, None if sealer is None else sealer.seal)


def rail_of(settings: Settings, tracer: Tracer | None = None) -> Rail:
    """Raises Failure where the certificates can't be used."""
    files = settings.rail_authority_file, settings.rail_certificate_file, settings.rail_key_file
    authority, certificate, key = files
    identity = Identity(authority, certificate, key) if authority and certificate and key else None
    if identity is None and settings.rail_url.startswith("https"):
        raise Failure(
            "With https, the payment rail and the executor prove who they are, and a file for that isn't named.",
            "Set FRAUD_RAIL_AUTHORITY_FILE, FRAUD_RAIL_CERTIFICATE_FILE and FRAUD_RAIL_KEY_FILE.",
        )
    try:
        if key is not None:
            require_private(key, key.stat())
        return Rail(settings.rail_url, identity=identity, timeout_s=settings.rail_timeout_s, tracer=tracer)
    except SecretsUnavailable as error:
        raise Failure(f"The key for the payment rail is no secret: {error}.", "Make it its user's alone.") from error
    except OSError as error:
        raise Failure(
            f"The certificates for the payment rail can't be used: {error.strerror or error}.",
            "Name PEM files that this process may read, a key that belongs to its certificate among them.",
        ) from error
