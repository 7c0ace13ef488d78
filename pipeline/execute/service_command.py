"""`fraud executor`: the execution service in the foreground, logging JSON to stderr."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from functools import partial
from typing import Final, NoReturn

import structlog

from pipeline.domain.decision_records import DecisionRecord
from pipeline.domain.log import RecordUndecodable
from pipeline.execute.batch_service import Execution
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail
from pipeline.execute.service import Service
from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.health import health_pages
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import LogUnavailable, PositionedLog
from pipeline.io.kafka.transaction_log import BrokerFailed
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, PositionMoved, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure, without_password

_logger = structlog.get_logger("executor")
# What ends the service: each says what is wrong, and started again it goes on where it stood.
_ENDING: Final = (
    BrokerFailed, DatabaseRefused, DatabaseUnavailable, LogUnavailable, PositionMoved, RecordUndecodable,
)  # fmt: skip


def run_executor(settings: Settings, wire: WireFormat) -> NoReturn:
    """Until SIGTERM or SIGINT (exit 0), or until what it must not pass over (exit 1)."""
    logs.configure(settings.log_level)
    service = _service(settings, wire)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    source: PositionedLog[DecisionRecord] = PositionedLog(
        settings.bootstrap_servers,
        settings.topic("decisions.v1"),
        wire.decode_decision_record,
        f"{settings.topic_prefix}fraud-executor",
        slot=settings.worker_slot,
        positions=service.positions,
        options=settings.kafka_options,
    )
    try:
        with ExitStack() as pages:
            _open_pages(pages, settings, service)
            service.run(source)
    except _ENDING as error:
        _logger.critical("executor_ended", error=type(error).__name__, why=str(error))
        raise SystemExit(FAILED_CHECK) from error
    finally:
        source.close()
        service.close()
    raise SystemExit(0)


def _open_pages(pages: ExitStack, settings: Settings, service: Service) -> None:
    try:
        pages.enter_context(health_pages(settings.web_host, settings.executor_port, lambda: service.is_ready))
    except OSError as error:
        what = f"{settings.web_host}:{settings.executor_port}, for the health pages, can't be had ({error.strerror})."
        raise Failure(what, "Set FRAUD_EXECUTOR_PORT to a free one.") from error


def _service(settings: Settings, wire: WireFormat) -> Service:
    ledger = Ledger()
    appender = Appender(settings.bootstrap_servers, f"fraud-executor-{settings.worker_slot}", settings.kafka_options)
    notices = Notices(appender, wire, settings.topic("executions.v1"), settings.topic("alerts.v1"))
    rail = Rail(settings.rail_url, timeout_s=settings.rail_timeout_s)
    execution = Execution(ledger, rail, notices, settings.topic("decisions.v1"))
    try:
        return Service(
            execution,
            ledger,
            partial(connect, settings.database_url, "fraud-executor", patience_s=settings.database_patience_s),
        )
    except DatabaseUnavailable as error:
        raise Failure(
            f"PostgreSQL does not answer at {without_password(settings.database_url)}.",
            "Start it and set FRAUD_DATABASE_URL to its address.",
        ) from error
