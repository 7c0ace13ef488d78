"""People who may put records aside, and records that nothing can use."""

from __future__ import annotations

import hashlib
from uuid import uuid4

from pipeline.io.postgres import Connection
from pipeline.quarantine.quarantine_store import Subject, append_proposal, confirm, read_quarantines
from tests import known
from tests.known import identity

REASON = "its summary is empty, by a fault of a worker that was mended"


def appoint(owner: Connection) -> None:
    """Ana is ADMIN, Rob proposes, Ada confirms."""
    known.appoint(owner, {"rob": "ROLLBACK_REQUESTER", "ada": "ROLLBACK_APPROVER"}, admin="ana")


def subject(topic: str, partition: int, offset: int, value: bytes) -> Subject:
    return Subject(topic, partition, offset, hashlib.sha256(value).digest(), len(value))


def put_aside(connection: Connection, what: Subject) -> str:
    """By fraud_rollback's connection, or the owner's."""
    quarantine_id = uuid4()
    append_proposal(connection, quarantine_id, what, identity("rob"), REASON)
    confirm(connection, read_quarantines(connection, 1, str(quarantine_id))[0], identity("ada"))
    return str(quarantine_id)
