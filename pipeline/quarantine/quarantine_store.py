"""Quarantines in PostgreSQL: what was proposed to be put aside, and what another person confirmed."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from psycopg import errors

from pipeline.io.postgres import Connection, failures_named, statements

_SQL: Final = statements("pipeline.quarantine", "quarantine")


class QuarantineRefused(Exception):
    """The database refused an act, and says why."""


class Subject(NamedTuple):
    """A record that is to be put aside: its place and its bytes' digest."""

    topic: str
    partition: int
    offset: int
    record_sha256: bytes
    record_length: int


class Quarantine(NamedTuple):
    """A proposal; confirmed_by is None until another person has confirmed it. is_expired: by the database's clock."""

    quarantine_id: str
    subject: Subject
    proposed_by: str
    reason: str
    proposed_at_ms: int
    confirmed_by: str | None
    confirmed_at_ms: int | None
    is_expired: bool


def append_proposal(connection: Connection, quarantine_id: UUID, subject: Subject, by: str, reason: str) -> None:
    """Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    fields = {"quarantine_id": quarantine_id, "by": by, "reason": reason, **subject._asdict()}
    _append(connection, "append_proposal", fields)


def confirm(connection: Connection, quarantine_id: str, by: str) -> None:
    """Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "confirm", {"quarantine_id": quarantine_id, "by": by})


def read_quarantines(connection: Connection, limit: int, wanted: str | None = None) -> list[Quarantine]:
    """The latest first; `wanted`: only that one."""
    with failures_named():
        rows = connection.execute(_SQL["read_proposals"], {"limit": limit, "wanted": wanted}).fetchall()
    return [
        Quarantine(quarantine_id, Subject(topic, partition, offset, bytes(sha256), length), *rest)
        for quarantine_id, topic, partition, offset, sha256, length, *rest in rows
    ]


def _append(connection: Connection, name: str, fields: dict[str, object]) -> None:
    with failures_named():
        try:
            connection.execute(_SQL[name], fields)
        except errors.UniqueViolation:
            raise QuarantineRefused("the record was put aside before") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences name no record; a constraint's message would quote one.
            said = "the reason must have 10 to 2,000 characters" if error.diag.constraint_name else None
            raise QuarantineRefused(said or error.diag.message_primary or "a check failed") from None
