"""`fraud access apply` and `fraud database roles`: who may do what, and the passwords that prove who it is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

import psycopg

from ops.roles import PASSWORD_CHARACTERS_MIN, ROLES, RolesRefused, set_passwords
from ops.stack.access import AccessFailed, AccessReport, Principal, apply_access
from pipeline.adapters.secrets import SecretFiles, SecretsUnavailable
from pipeline.commands.failures import Failure, without_password
from pipeline.commands.output import Output
from pipeline.settings import Settings

PASSWORD_BYTES: Final = 24
Name = TypeVar("Name", bound=str)


def kafka_password_file(principal: Principal) -> str:
    return f"kafka_password_{principal}"


def database_password_file(role: str) -> str:
    return f"postgres_password_{role}"


def make_passwords(folder: Path) -> list[str]:
    """The names of the files that were missing and are now there, each readable by its owner only."""
    wanted = [*map(kafka_password_file, Principal), *map(database_password_file, ROLES)]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [name for name in wanted if _is_made(folder / name)]
    except OSError as error:
        raise Failure(f"{folder} can't be written ({error.strerror}).", "Give a folder of yours.") from error


def applied_access(settings: Settings, folder: Path | None) -> list[AccessReport]:
    """folder: of the passwords to set; None to leave them as they are."""
    passwords = {} if folder is None else _read(folder, {each: kafka_password_file(each) for each in Principal})
    options = {**settings.kafka_options, "log_level": "2"}
    try:
        return apply_access(settings.bootstrap_servers, options, passwords=passwords, prefix=settings.topic_prefix)
    except AccessFailed as failure:
        fix = "Is the broker up, does it have an authorizer, and are you its administrator?"
        raise Failure(str(failure).rstrip(".") + ".", fix) from failure


def show_access(output: Output, reports: Iterable[AccessReport]) -> None:
    for report in reports:
        fields = {
            "principal": report.principal,
            "granted": report.granted,
            "revoked": report.revoked,
            "kept": report.kept,
            "has_new_password": report.has_new_password,
        }
        password = ", password set" if report.has_new_password else ""
        line = (
            f"{report.principal:<16} {report.granted} granted, {report.revoked} revoked, {report.kept} kept{password}"
        )
        output.record(fields, line)


def set_role_passwords(settings: Settings, folder: Path) -> tuple[str, ...]:
    """The roles whose password was set."""
    passwords = _read(folder, {role: database_password_file(role) for role in ROLES})
    try:
        set_passwords(settings.database_url, passwords)
    except RolesRefused as refusal:
        fix = "Run `fraud database migrate` first, and both as the owner."
        raise Failure(f"{str(refusal).capitalize()}.", fix) from refusal
    except psycopg.OperationalError as error:
        what = f"PostgreSQL does not answer at {without_password(settings.database_url)}, or not to this role."
        raise Failure(what, "Start it, and give its address as the owner.") from error
    return ROLES


def _is_made(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    return True


def _read(folder: Path, files: dict[Name, str]) -> dict[Name, str]:
    try:
        store = SecretFiles(folder)
        found = {name: store.read(file) for name, file in files.items()}
    except SecretsUnavailable as error:
        raise Failure(f"{error}.", "`fraud access passwords FOLDER` makes one of passwords.") from error
    for name, password in found.items():
        if password is None or len(password) < PASSWORD_CHARACTERS_MIN:
            what = f"{folder / files[name]} holds no password of {PASSWORD_CHARACTERS_MIN} characters or more."
            raise Failure(what, "`fraud access passwords FOLDER` makes what is missing.")
    return {name: password for name, password in found.items() if password is not None}
