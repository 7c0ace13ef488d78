"""Quarantines in PostgreSQL: what was proposed to be put aside, and what another person confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import errors

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import proved, read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected
from pipeline.people.roles import UNKNOWN_KEY, is_same
from pipeline.people.store import is_known
from pipeline.quarantine.acts import QuarantineSubject, confirmation, proposal
from pipeline.quarantine.put_aside_store import proved_statement

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
    """A proposal; confirmed_by is None until another person has confirmed it. is_expired: by the database's clock.

    is_proved: both have signed it, as far as anybody has; what nobody signed puts nothing aside.
    """

    quarantine_id: str
    subject: Subject
    proposed_by: str
    reason: str
    proposed_at_ms: int
    confirmed_by: str | None
    confirmed_at_ms: int | None
    is_expired: bool
    is_proved: bool = False


def append_proposal(connection: Connection, quarantine_id: UUID, subject: Subject, by: Identity, reason: str) -> None:
    """Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    expected = proposal(_signed_subject(str(quarantine_id), subject), subject.record_length, reason, by.name)
    fields = {"quarantine_id": quarantine_id, "by": by.name, "reason": reason, **subject._asdict()}
    _append(connection, "append_proposal", by, expected, fields)


def confirm(connection: Connection, quarantine: Quarantine, by: Identity) -> None:
    """Confirm what was proposed. Raises QuarantineRefused, DatabaseRefused, DatabaseUnavailable."""
    subject = quarantine.subject
    if (
        proved_statement(connection, subject.topic, subject.partition, subject.offset, subject.record_sha256)
        is not None
    ):
        raise QuarantineRefused("the record was put aside before")
    expected = confirmation(_signed_subject(quarantine.quarantine_id, subject), by.name)
    fields: dict[str, object] = {"quarantine_id": quarantine.quarantine_id, "by": by.name}
    _append(connection, "confirm", by, expected, fields)


def read_quarantines(connection: Connection, limit: int, wanted: str | None = None) -> list[Quarantine]:
    """The latest first; `wanted`: only that one."""
    with failures_named():
        rows = connection.execute(_SQL["read_proposals"], {"limit": limit, "wanted": wanted}).fetchall()
        found = [
            (
                Quarantine(quarantine_id, Subject(topic, partition, offset, bytes(sha256), length), *rest),
                (proposed, confirmed),
            )
            for quarantine_id, topic, partition, offset, sha256, length, *rest, proposed, confirmed in rows
        ]
        return _with_proofs(connection, found)


def _with_proofs(
    connection: Connection, found: Sequence[tuple[Quarantine, tuple[str | None, str | None]]]
) -> list[Quarantine]:
    """What was found, each with its acts: that of its proposal, and that of its confirmation, if it has one."""
    claims: dict[str | None, Expected] = {}
    for each, (proposed, confirmed) in found:
        signed = _signed_subject(each.quarantine_id, each.subject)
        claims[proposed] = proposal(signed, each.subject.record_length, each.reason, each.proposed_by)
        if each.confirmed_by is not None:
            claims[confirmed] = confirmation(signed, each.confirmed_by)
    counting = proved(connection, read_registry(connection), claims) if claims else set()
    return [
        each._replace(
            is_proved=proposed in counting
            and (
                each.confirmed_by is None
                or (confirmed in counting and not is_same(each.proposed_by, each.confirmed_by))
            )
        )
        for each, (proposed, confirmed) in found
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
            raise QuarantineRefused("somebody is said to have confirmed this proposal; propose it anew") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences name no record; a constraint's message would quote one.
            said = "the reason must have 10 to 2,000 characters" if error.diag.constraint_name else None
            raise QuarantineRefused(said or error.diag.message_primary or "a check failed") from None
