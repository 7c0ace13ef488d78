"""`fraud access apply` and `fraud database set-passwords`: who may do what, and the passwords that prove who it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import psycopg

from ops.access.foreign import foreign_access
from ops.access.foreign_database import foreign_rights
from ops.access.rights import AccessFailed, AccessReport, Principal, apply_access
from ops.access.roles import PASSWORD_CHARACTERS_MIN, ROLES, RolesRefused, set_passwords
from ops.access.secret_folder import database_password_file, kafka_password_file
from pipeline.io.postgres import DatabaseRefused
from pipeline.io.secrets import SecretFiles, SecretsUnavailable
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure, owner_refused
from pipeline.terminal.output import Output, coloured

Name = TypeVar("Name", bound=str)


def applied_access(settings: Settings, folder: Path | None) -> list[AccessReport]:
    """folder: of the passwords to set; None to leave them as they are."""
    passwords = {} if folder is None else _read(folder, {each: kafka_password_file(each) for each in Principal})
    options = {**settings.kafka_options, "log_level": "2"}
    try:
        return apply_access(settings.bootstrap_servers, options, passwords=passwords, prefix=settings.topic_prefix)
    except AccessFailed as failure:
        fix = "Is the broker up, does it have an authorizer, and are you its administrator?"
        raise Failure(str(failure).rstrip(".") + ".", fix) from failure


def foreign_findings(settings: Settings, expected: Sequence[str]) -> list[str]:
    """Sentences about what reaches beyond the table, which nobody of ours granted."""
    if any("*" in user or not user.startswith("User:") for user in expected):
        raise Failure("Only a named user can be expected.", "Give --expected User:NAME.")
    options = {**settings.kafka_options, "log_level": "2"}
    try:
        return foreign_access(settings.bootstrap_servers, options, prefix=settings.topic_prefix, expected=expected)
    except AccessFailed as failure:
        raise Failure(f"{failure}.", "Does the broker have an authorizer, and are you its administrator?") from failure


def show_findings(output: Output, findings: Iterable[str]) -> bool:
    """Whether there are none."""
    is_clean = True
    for finding in findings:
        is_clean = False
        line = f"{coloured('FOUND', 'red', is_bold=True)} {finding}; no process needs it"
        output.record({"found": finding}, line)
    return is_clean


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
    except (psycopg.OperationalError, DatabaseRefused) as error:
        raise owner_refused(settings.database_url) from error
    return ROLES


def database_findings(settings: Settings, expected: Sequence[str] = ()) -> list[str]:
    """Sentences about rights in PostgreSQL that reach beyond one role for each process."""
    try:
        return foreign_rights(settings.database_url, expected)
    except (psycopg.OperationalError, DatabaseRefused) as error:
        raise owner_refused(settings.database_url) from error


def _read(folder: Path, files: dict[Name, str]) -> dict[Name, str]:
    try:
        store = SecretFiles(folder)
        found = {name: store.read(file) for name, file in files.items()}
    except SecretsUnavailable as error:
        raise Failure(f"{error}.", "`fraud passwords create FOLDER` makes one of passwords.") from error
    for name, password in found.items():
        if password is None or len(password) < PASSWORD_CHARACTERS_MIN:
            what = f"{folder / files[name]} holds no password of {PASSWORD_CHARACTERS_MIN} characters or more."
            raise Failure(what, "`fraud passwords create FOLDER` makes what is missing.")
    return {name: password for name, password in found.items() if password is not None}
