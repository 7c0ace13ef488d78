"""What a person can cause, in a sentence, with the fix; never a traceback."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError
from pydantic_settings import SettingsError
from redis.connection import parse_url

from pipeline.io.avro.wire import WireFormat
from pipeline.io.health import PortUnavailable
from pipeline.io.kafka.client import BrokerAway, BrokerFailed, TopicMissing
from pipeline.io.production import production_faults
from pipeline.io.secrets import SecretsUnavailable
from pipeline.io.settings import Settings

FAILED_CHECK: Final = 1
UNUSABLE: Final = 2
"""Exit code for what stops a command before it could answer: usage, configuration, something out of reach."""


class Failure(Exception):
    """`what` is wrong and how to `fix` it: two short sentences for the person at the keyboard."""

    def __init__(self, what: str, fix: str, exit_code: int = UNUSABLE) -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what, self.fix, self.exit_code = what, fix, exit_code


def settings_from_environment(process: str = "command") -> Settings:
    """The settings of FRAUD_* variables, .env and the store of secrets; Failure names what is wrong with them.

    process: one of NEEDS; the production profile asks for what it needs.
    """
    try:
        settings = Settings()
    except SecretsUnavailable as error:
        raise Failure(f"{_sentence(str(error))}.", "Look at FRAUD_SECRETS_FROM, and who may read there.") from error
    except SettingsError as error:  # it quotes no value
        raise Failure(f"{_sentence(str(error))}.", "Write it as JSON, or unset it.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "FRAUD_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Failure(
            f"{name} can't be used: {first['msg'].lower()}.", f"Set {name} otherwise, or unset it."
        ) from error
    if faults := production_faults(settings, process):
        what = f"In production this may not start. {'. '.join(faults)}."
        raise Failure(what, "`fraud config check` looks at the rest.")
    _require_addresses(settings)
    return settings


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _require_addresses(settings: Settings) -> None:
    try:
        parse_url(settings.redis_url)  # type: ignore[no-untyped-call]  # redis ships it without types
    except ValueError as error:
        raise Failure("FRAUD_REDIS_URL is no Redis address.", "Write it as redis://HOST:PORT/0.") from error
    if not settings.bootstrap_servers.strip():
        raise Failure("FRAUD_BOOTSTRAP_SERVERS is empty.", "Write it as HOST:PORT, or unset it.")


def wire_format(settings: Settings) -> WireFormat:
    try:
        return WireFormat(settings.framing, settings.confluent_ids)
    except ValueError as error:
        fix = "Set FRAUD_CONFLUENT_IDS to what `fraud schemas register` prints."
        raise Failure(f"FRAUD_CONFLUENT_IDS can't be used: {error}.", fix) from error


def failure_of(error: Exception) -> Failure | None:
    """What an exception means for a person; None where it is a bug. The one place where adapters' failures that any
    command may meet become sentences."""
    if isinstance(error, BrokerFailed):
        return _broker_failure(error, Settings().bootstrap_servers)
    if isinstance(error, PortUnavailable):
        return Failure(f"{error}.", f"Set {error.setting} or FRAUD_WEB_HOST to something free.")
    return error if isinstance(error, Failure) else None


def _broker_failure(error: BrokerFailed, bootstrap_servers: str) -> Failure:
    match error:
        case TopicMissing():
            return Failure(f"{_sentence(str(error))}.", "Create the topics with `fraud topics create`.")
        case BrokerAway():
            return Failure(
                f"No Kafka broker answers at {bootstrap_servers}.",
                "Start one (`fraud stack embedded`) and set FRAUD_BOOTSTRAP_SERVERS to its address.",
            )
    return Failure(f"{_sentence(str(error))}.", "Look at the broker's log, and at what this user may do there.")


def redis_away(url: str) -> Failure:
    return Failure(
        f"Redis does not answer at {without_password(url)}.",
        "Start it (`fraud stack embedded`) and set FRAUD_REDIS_URL to its address.",
    )


def without_password(url: str) -> str:
    scheme, found, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else url
