"""`fraud bias run`: the monitor of bias and drift in the foreground, logging JSON to stderr."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import structlog

from models.artefact.plain_files import read_plain
from models.versions.registry_files import registry_at
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.bias.counting import scopes_of
from pipeline.bias.drift.reference_files import References
from pipeline.bias.drift.settings import drift_settings_of
from pipeline.bias.label_reader_service import LabelReader
from pipeline.bias.service import CONSUMER, GROUP, SNAPSHOT_S, BiasService, InForce
from pipeline.bias.settings import bias_settings_of
from pipeline.breaker.settings import POLICY_BYTES_MAX, breaker_settings_of
from pipeline.domain.in_force import DecisionRecord
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Connection, Held, PositionMoved, Positions, connect
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.seals.label_files import label_proves
from pipeline.seals.seal_files import seal_check
from pipeline.terminal.failures import Failure

SALT_BYTES: Final = 16
log = structlog.stdlib.get_logger("bias")


def run_bias(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    terms = Terms("bias", settings.bias_port, "FRAUD_BIAS_PORT", passing=(PositionMoved,), ending=(KeySetRefused,))
    run_service(service_of(settings, wire), settings, terms)


def service_of(
    settings: Settings,
    wire: WireFormat,
    clock_ms: Callable[[Connection], int] = server_now_ms,
    snapshot_s: float = SNAPSHOT_S,
) -> BiasService:
    topic, check = settings.topic("decisions.v1"), seal_check(settings)
    held = Held(partial(connect, settings.database_url, GROUP))
    made: list[BiasService] = []
    source: PositionedLog[DecisionRecord] = PositionedLog(
        settings.bootstrap_servers,
        topic,
        wire.decode_decision_record,
        GROUP,
        slot=settings.worker_slot,
        positions=lambda partitions: made[0].positions(list(partitions)),
        options=settings.kafka_options,
        is_aside=lambda *_: True,  # what nobody can decode the audit service stops at; here it counts as nothing
        prove=check.unproved,
    )
    reader = LogReader.of_service(settings, GROUP, is_expiry_expected=True, proves=label_proves(settings))
    appender = Appender.of(settings, f"{GROUP}-{settings.worker_slot}")
    service = BiasService(
        source,
        LabelReader(reader, wire, Positions(CONSUMER, settings.topic("labels.v1"))),
        topic,
        held,
        AlertPublisher(appender.append, wire, settings.topic("alerts.v1")).publish,
        lambda partitions: {each: extent.low for each, extent in reader.extents(topic, partitions).items()},
        policy_reader(settings),
        References(registry_at(settings.model_registry)),
        secrets.token_bytes(SALT_BYTES),
        clock_ms,
        snapshot_s,
    )
    made.append(service)
    return service


def policy_reader(settings: Settings) -> Callable[[], InForce]:
    """Return what reads the policy file. Where it can't be read any more, what it said last holds, and the log says so.

    Raises Failure where it can't be read at first.
    """
    try:
        known = [_in_force(settings)]
    except (OSError, ValueError) as error:
        raise Failure(
            f"The policy can't be read: {error}.", "Give FRAUD_POLICY_PATH a policy that workers take."
        ) from error

    def read() -> InForce:
        try:
            known[0] = _in_force(settings)
        except (OSError, ValueError) as error:
            log.error("policy_unreadable", why=str(error))
        return known[0]

    return read


def _in_force(settings: Settings) -> InForce:
    content = read_plain(settings.policy_path, POLICY_BYTES_MAX)
    scopes = scopes_of(breaker_settings_of(content).segments)
    return InForce(bias_settings_of(content), drift_settings_of(content), scopes, hashlib.sha256(content).digest())
