"""Quarantines in PostgreSQL: what was proposed to be put aside, and what another person confirmed."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from psycopg import errors

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known
from pipeline.quarantine.acts import QuarantineSubject, confirmation, proposal

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


def append_proposal(connection: Connection, quarantine_id: UUID, subject: Subject, by: Identity, reason: str) -> None:
    """Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    expected = proposal(_signed_subject(str(quarantine_id), subject), subject.record_length, reason, by.name)
    fields = {"quarantine_id": quarantine_id, "by": by.name, "reason": reason, **subject._asdict()}
    _append(connection, "append_proposal", by, expected, fields)


def confirm(connection: Connection, quarantine: Quarantine, by: Identity) -> None:
    """Confirm what was proposed. Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    expected = confirmation(_signed_subject(quarantine.quarantine_id, quarantine.subject), by.name)
    fields: dict[str, object] = {"quarantine_id": quarantine.quarantine_id, "by": by.name}
    _append(connection, "confirm", by, expected, fields)


def read_quarantines(connection: Connection, limit: int, wanted: str | None = None) -> list[Quarantine]:
    """The latest first; `wanted`: only that one."""
    with failures_named():
        rows = connection.execute(_SQL["read_proposals"], {"limit": limit, "wanted": wanted}).fetchall()
    return [
        Quarantine(quarantine_id, Subject(topic, partition, offset, bytes(sha256), length), *rest)
        for quarantine_id, topic, partition, offset, sha256, length, *rest in rows
    ]


def _signed_subject(quarantine_id: str, subject: Subject) -> QuarantineSubject:
    place = subject.topic, subject.partition, subject.offset
    return QuarantineSubject(quarantine_id, *place, subject.record_sha256.hex())


def _append(connection: Connection, name: str, by: Identity, expected: Expected, fields: dict[str, object]) -> None:
    with failures_named():
        registry = read_registry(connection)
        if not is_known(registry, by):
            raise QuarantineRefused(UNKNOWN_KEY)
        try:
            with connection.transaction():
                act = sign_act(connection, by, expected.kind, expected.subject, registry)
                connection.execute(_SQL[name], {**fields, "act": act})
        except errors.UniqueViolation:
            raise QuarantineRefused("the record was put aside before") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences name no record; a constraint's message would quote one.
            said = "the reason must have 10 to 2,000 characters" if error.diag.constraint_name else None
            raise QuarantineRefused(said or error.diag.message_primary or "a check failed") from None
