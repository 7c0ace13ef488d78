"""The database's migrations: `ops/migrations/NNNN_name.sql`, each applied once, in order, in a transaction of its own.

control.migration records each applied file with its SHA-256. A file that was changed after it was applied, or that was
added before one that is applied, is refused, because the schemas of two databases would differ unnoticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

from pipeline.io.postgres import opened

MONTHS_AHEAD: Final = 2
FOLDER: Final = Path(__file__).parent
_BOOTSTRAP: Final = "bootstrap.sql"
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_ONE_AT_A_TIME: Final = "LOCK TABLE control.migration IN SHARE ROW EXCLUSIVE MODE"
"""Lets one migration run at a time. Only the owner may take this lock, so no other role keeps a migration waiting."""
_LOCK_WAIT: Final = "10s"
"""A migration gives up when somebody has used a table for so long: services wait behind it meanwhile."""


class MigrationRefused(Exception):
    """The files don't fit what was applied, or a statement failed; in that case nothing of its file was kept."""


class Migration(NamedTuple):
    version: int
    name: str
    sql: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.sql).digest()


def migrate(url: str, folder: Path = FOLDER) -> list[Migration]:
    """Apply the migrations that are missing, and return them.

    Raises MigrationRefused, and psycopg.OperationalError when the server is out of reach.
    """
    wanted = migrations(folder)
    with opened(url, autocommit=True) as connection:
        if connection.info.encoding != "utf-8" or connection.info.parameter_status("server_encoding") != "UTF8":
            raise MigrationRefused("the database's encoding is not UTF8, so its texts could not be read")
        connection.execute(f"SET lock_timeout = '{_LOCK_WAIT}'".encode())
        _bootstrap(connection, (folder / _BOOTSTRAP).read_bytes())
        applied = []
        while (migration := _apply_next(connection, wanted)) is not None:
            applied.append(migration)
        connection.execute("SELECT control.ensure_all_partitions(%s)", [MONTHS_AHEAD])
    return applied


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """Read every file, in the order of their numbers. Raises MigrationRefused where two have the same number."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        if path.name == _BOOTSTRAP:
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationRefused(f"{path.name} is not named NNNN_name.sql")
        found.append(Migration(int(match[1]), match[2], path.read_bytes()))
    versions = [migration.version for migration in found]
    if len(set(versions)) < len(versions):
        raise MigrationRefused("two migrations have the same number")
    return found


def _applied(connection: psycopg.Connection) -> dict[int, bytes]:
    rows = connection.execute("SELECT version, sha256 FROM control.migration").fetchall()
    return {version: bytes(sha256) for version, sha256 in rows}


def _due(wanted: Sequence[Migration], applied: Mapping[int, bytes]) -> list[Migration]:
    last = max(applied, default=0)
    due = []
    for migration in wanted:
        if migration.version not in applied:
            if migration.version < last:
                raise MigrationRefused(f"{migration.version:04} is new, but {last:04} is applied already")
            due.append(migration)
        elif applied[migration.version] != migration.sha256:
            raise MigrationRefused(f"{migration.version:04}_{migration.name}.sql was changed after it was applied")
    if gone := applied.keys() - {migration.version for migration in wanted}:
        raise MigrationRefused(f"{min(gone):04} is applied, but its file is gone")
    return due


def _bootstrap(connection: psycopg.Connection, statements: bytes) -> None:
    for is_last in (False, True):
        try:
            with connection.transaction():
                connection.execute(statements)
            return
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject):
            if is_last:  # the first time, somebody else made the same objects at the same moment
                raise


def _apply_next(connection: psycopg.Connection, wanted: Sequence[Migration]) -> Migration | None:
    with connection.transaction():
        connection.execute(_ONE_AT_A_TIME)
        due = _due(wanted, _applied(connection))
        if due:
            _apply(connection, due[0])
        return due[0] if due else None


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    named = f"{migration.version:04}_{migration.name}.sql"
    try:
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO control.migration (version, name, sha256) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.sha256],
        )
    except psycopg.errors.LockNotAvailable as error:
        what = f"{named} waited {_LOCK_WAIT} for a table that somebody uses; end that session, and run it again"
        raise MigrationRefused(what) from error
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        raise MigrationRefused(f"{named} failed: {error}") from error
