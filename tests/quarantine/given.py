"""People who may put records aside, and records that nothing can use."""

from __future__ import annotations

import hashlib
from uuid import uuid4

from pipeline.io.postgres import Connection
from pipeline.people.roles import Role
from pipeline.people.store import change_role
from pipeline.quarantine.quarantine_store import Subject, append_proposal, confirm

REASON = "its summary is empty, by a fault of a worker that was mended"


def appoint(owner: Connection) -> None:
    """Ana is ADMIN, Rob proposes, Ada confirms."""
    assert change_role(owner, "ana", Role.ADMIN, "ana", is_held=True) is None
    assert change_role(owner, "rob", Role.ROLLBACK_REQUESTER, "ana", is_held=True) is None
    assert change_role(owner, "ada", Role.ROLLBACK_APPROVER, "ana", is_held=True) is None


def subject(topic: str, partition: int, offset: int, value: bytes) -> Subject:
    return Subject(topic, partition, offset, hashlib.sha256(value).digest(), len(value))


def put_aside(connection: Connection, what: Subject) -> str:
    """By fraud_rollback's connection, or the owner's."""
    quarantine_id = uuid4()
    append_proposal(connection, quarantine_id, what, "rob", REASON)
    confirm(connection, str(quarantine_id), "ada")
    return str(quarantine_id)
