"""`fraud executor run`: the execution service in the foreground, logging JSON to stderr."""

from __future__ import annotations

from functools import partial
from typing import Final, NoReturn

from pipeline.execute.audit_wait_service import AuditWait
from pipeline.execute.batch_service import Executor
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Identity, Rail
from pipeline.execute.service import ExecutionService
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import DatabaseRefused, PositionMoved
from pipeline.io.runner import Terms, run_service
from pipeline.io.secrets import SecretsUnavailable, require_private
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure

PASSING: Final = (DatabaseRefused, PositionMoved)
"""Another executor was faster: begun again from what is stored, the batch finds what that one did."""


def run_executor(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    service = _service(settings, wire)
    service.read_from(
        PositionedLog(
            settings.bootstrap_servers,
            settings.topic("decisions.v1"),
            wire.decode_decision_record,
            f"{settings.topic_prefix}fraud-executor",
            slot=settings.worker_slot,
            positions=service.positions,
            options=settings.kafka_options,
            is_aside=service.is_aside,
        )
    )
    run_service(service, settings, Terms("executor", settings.executor_port, "FRAUD_EXECUTOR_PORT", PASSING))


def _service(settings: Settings, wire: WireFormat) -> ExecutionService:
    ledger = Ledger()
    appender = Appender.of(settings, f"fraud-executor-{settings.worker_slot}")
    notices = Notices(appender, wire, settings.topic("executions.v1"), settings.topic("alerts.v1"))
    rail = _rail(settings)
    topic = settings.topic("decisions.v1")
    execution, audit = Executor(ledger, rail, notices, topic), AuditWait(notices, topic)
    return ExecutionService(
        execution, ledger, audit, partial(service_connection, settings.database_url, "fraud-executor")
    )


def _rail(settings: Settings) -> Rail:
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
        return Rail(settings.rail_url, identity=identity, timeout_s=settings.rail_timeout_s)
    except SecretsUnavailable as error:
        raise Failure(f"The key for the payment rail is no secret: {error}.", "Make it its user's alone.") from error
    except OSError as error:
        raise Failure(
            f"The certificates for the payment rail can't be used: {error.strerror or error}.",
            "Name PEM files that this process may read, a key that belongs to its certificate among them.",
        ) from error
