"""The first things that every command gathers: its settings, and the wire format that they name.

Imports wait until a command asks: most of a command's start would otherwise go into modules that `--help` never uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.terminal.failures import Failure

if TYPE_CHECKING:
    from pipeline.io.avro.wire import WireFormat
    from pipeline.io.settings import Settings


def settings_from_environment(process: str = "command") -> Settings:
    """The settings of FRAUD_* variables, files and the store of secrets; Failure names what is wrong with them.

    process: one of NEEDS; the production profile asks for what it needs, and its role in the database follows from it.
    """
    from pipeline.io.production import production_faults

    settings = _read_settings(process)
    if faults := production_faults(settings, process):
        what = f"In production this may not start. {'. '.join(faults)}."
        raise Failure(what, "`fraud config check` looks at the rest.")
    _require_addresses(settings)
    return settings


def settings_to_check() -> Settings:
    """The same settings for who looks at them one by one, so that one fault doesn't hide the others.

    Failure says where they can't be read.
    """
    return _read_settings("command")


def _read_settings(process: str) -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from pipeline.io.production import DATABASE_ROLES, READER
    from pipeline.io.secrets import SecretsUnavailable
    from pipeline.io.settings import EnvFileMissing, Settings

    try:
        return Settings().as_role(DATABASE_ROLES.get(process, READER))
    except EnvFileMissing as missing:
        what = f"There is no file {missing}, which FRAUD_ENV_FILE or --env-file names."
        raise Failure(what, "Start the stack that writes it (`fraud stack embedded`), or name none.") from missing
    except SecretsUnavailable as error:
        raise Failure(f"{_sentence(str(error))}.", "Look at FRAUD_SECRETS_FROM, and who may read there.") from error
    except SettingsError as error:  # it quotes no value
        raise Failure(f"{_sentence(str(error))}.", "Write it as JSON, or unset it.") from None
    except ValidationError as error:
        wrong = {_variable(each["loc"]): each["msg"].lower() for each in error.errors(include_url=False)}
        what = " ".join(f"{name} can't be used: {why}." for name, why in wrong.items())
        raise Failure(what, f"Set {', '.join(wrong)} otherwise, or unset it.") from error


def wire_format(settings: Settings) -> WireFormat:
    """Failure where the schema ids of FRAUD_CONFLUENT_IDS don't fit."""
    from pipeline.io.earlier_schemas import wire_of

    try:
        return wire_of(settings)
    except ValueError as error:
        fix = "Set FRAUD_CONFLUENT_IDS to what `fraud schemas register` prints."
        raise Failure(f"FRAUD_CONFLUENT_IDS can't be used: {error}.", fix) from error


def _variable(place: tuple[int | str, ...]) -> str:
    return "FRAUD_" + "_".join(map(str, place)).upper()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _require_addresses(settings: Settings) -> None:
    from pipeline.io.redis.address import AddressRefused, parse_address

    try:
        parse_address(settings.redis_url)
    except AddressRefused as error:
        raise Failure(f"FRAUD_REDIS_URL is no Redis address: {error}.", "Write it as redis://HOST:PORT/0.") from error
    if not settings.bootstrap_servers.strip():
        raise Failure("FRAUD_BOOTSTRAP_SERVERS is empty.", "Write it as HOST:PORT, or unset it.")
