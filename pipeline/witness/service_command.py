"""`fraud witness run`: the witness in the foreground, logging JSON to stderr."""

from __future__ import annotations

from functools import partial
from typing import Final, NoReturn

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.audit.service_command import key_set
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.keys.key_sets import KeySetRefused, KeyUse, untrusted
from pipeline.terminal.failures import Failure
from pipeline.witness.service import Place, WitnessBroken, WitnessService
from pipeline.witness.statement_files import StatementFile, StatementFileBroken
from pipeline.witness.timestamp_client import Authority

GROUP: Final = "fraud-witness"
CREATE_KEY: Final = "Create one with `fraud keys create witness PATH --set KEYS`"
ENDING: Final = (KeySetRefused, OSError, StatementFileBroken, WitnessBroken)


def run_witness(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    terms = Terms("witness", settings.witness_port, "FRAUD_WITNESS_PORT", ending=ENDING)
    run_service(_service(settings, wire), settings, terms)


def _service(settings: Settings, wire: WireFormat) -> WitnessService:
    key, authority = _signing_key(settings), _authority(settings)
    appender = Appender.of(settings, f"{GROUP}-{settings.worker_slot}")
    alerts = AlertPublisher(appender.append, wire, settings.topic("alerts.v1"))
    place = Place(
        settings.topic("anchors.v1"), settings.topic("witness.v1"), _file(settings), key, partial(key_set, settings)
    )
    return WitnessService(
        LogReader.of_service(settings, GROUP),
        appender.append,
        lambda alert: alerts.publish([alert]),
        wire,
        place,
        authority,
        settings.witness_interval_s,
    )


def _signing_key(settings: Settings) -> SigningKey:
    try:
        if settings.witness_key is not None:
            key = SigningKey.from_text(settings.witness_key, "witness_key")
        elif settings.witness_key_file is not None:
            key = SigningKey.from_file(settings.witness_key_file)
        else:
            raise Failure("The witness has no key to sign with.", f"{CREATE_KEY}, and set FRAUD_WITNESS_KEY_FILE.")
        why = untrusted(key_set(settings), KeyUse.WITNESS, key.key_id, now_ms(), None)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", f"{CREATE_KEY}.") from refusal
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "Set FRAUD_AUDIT_KEYS_FILE to the key set that verifies the log.") from refusal
    if why is not None:
        raise Failure(f"The witness can't sign: {why}.", f"{CREATE_KEY}, or rotate with `fraud keys rotate witness`.")
    return key


def _file(settings: Settings) -> StatementFile | None:
    if settings.witness_directory is None:
        return None
    try:
        return StatementFile(settings.witness_directory)
    except (OSError, StatementFileBroken) as error:
        raise Failure(f"The witness's file can't be used: {error}.", "Look at FRAUD_WITNESS_DIRECTORY.") from error


def _authority(settings: Settings) -> Authority | None:
    if settings.timestamp_url is None:
        return None
    if settings.timestamp_ca_file is None:
        what = "The timestamp authority's certificate is not named, so no timestamp of it could be verified."
        raise Failure(what, "Set FRAUD_TIMESTAMP_CA_FILE.")
    try:
        return Authority(settings.timestamp_url, settings.timestamp_ca_file)
    except (OSError, ValueError) as error:
        raise Failure(f"The timestamp authority can't be used: {error}.", "Look at FRAUD_TIMESTAMP_*.") from error
