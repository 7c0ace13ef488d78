"""Acts that put a record aside: two people sign its place and exactly its bytes."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.people.acts import ActKind
from pipeline.people.registry import Expected
from pipeline.people.roles import Role


class QuarantineSubject(NamedTuple):
    """The record, and the id of the quarantine. `record_sha256` in hexadecimal."""

    quarantine_id: str
    topic: str
    partition: int
    offset: int
    record_sha256: str


def proposal(subject: QuarantineSubject, record_length: int, reason: str, name: str) -> Expected:
    fields = {**subject._asdict(), "record_length": record_length, "reason": reason}
    return Expected(ActKind.QUARANTINE_PROPOSED, name, fields, (Role.ROLLBACK_REQUESTER,))


def confirmation(subject: QuarantineSubject, name: str) -> Expected:
    return Expected(ActKind.QUARANTINE_CONFIRMED, name, subject._asdict(), (Role.ROLLBACK_APPROVER,))
