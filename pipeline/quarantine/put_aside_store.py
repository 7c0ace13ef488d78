"""Records that two people have put aside: whoever would pass one over proves first that both have signed that."""

from __future__ import annotations

import hashlib
from typing import Final

import structlog

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.io.quarantine import PASSED_OVER
from pipeline.people.act_store import read_registry, unproved
from pipeline.people.registry import Expected, Registry
from pipeline.people.roles import is_same
from pipeline.quarantine.acts import QuarantineSubject, confirmation, proposal

ROWS_A_READ: Final = 500
"""Quarantines of one record that are read at once, of as many as somebody has written who has the role's credential."""
_SQL: Final = statements("pipeline.quarantine", "put_aside")
_log = structlog.stdlib.get_logger("quarantine")


def statement_of(connection: Connection, topic: str, partition: int, offset: int, value: bytes) -> str | None:
    """Return by whom a record was put aside and why, as JSON; None where it was not. `value`: its bytes."""
    return proved_statement(connection, topic, partition, offset, hashlib.sha256(value).digest())


def proved_statement(
    connection: Connection, topic: str, partition: int, offset: int, record_sha256: bytes
) -> str | None:
    """As `statement_of`, by the digest of the record's bytes.

    The first quarantine that is proved counts, so what it says stays. One that nobody proved is none, which is told.
    """
    wanted = {"topic": topic, "partition": partition, "offset": offset, "record_sha256": record_sha256}
    passed, fault = 0, ""
    registry: Registry | None = None
    with failures_named():
        while rows := connection.execute(
            _SQL["put_aside"], {**wanted, "limit": ROWS_A_READ, "passed": passed}
        ).fetchall():
            registry = read_registry(connection) if registry is None else registry
            for (
                statement,
                quarantine_id,
                sha256,
                length,
                reason,
                proposed_by,
                proposed,
                confirmed_by,
                confirmed,
            ) in rows:
                subject = QuarantineSubject(quarantine_id, topic, partition, offset, sha256)
                claims = {
                    proposed: proposal(subject, length, reason, proposed_by),
                    confirmed: confirmation(subject, confirmed_by),
                }
                found = _fault(connection, registry, claims, proposed_by, confirmed_by)
                if found is None:
                    return str(statement)
                fault = found
            passed += len(rows)
    if passed:
        _log.error("quarantine_unproved", topic=topic, partition=partition, offset=offset, rows=passed, why=fault)
    return None


def places_put_aside(connection: Connection, topic: str) -> set[tuple[int, int]]:
    """Return the partition and offset of each record of the topic that is said to be put aside."""
    with failures_named():
        rows = connection.execute(_SQL["put_aside_places"], [topic]).fetchall()
    return {(partition, offset) for partition, offset in rows}


def is_put_aside(connection: Connection, topic: str, partition: int, offset: int, value: bytes) -> bool:
    """Return whether a record that can't be used was put aside; tells it, since from here on it is passed over."""
    if statement_of(connection, topic, partition, offset, value) is None:
        return False
    PASSED_OVER.labels(topic).inc()
    _log.error("quarantined_passed_over", topic=topic, partition=partition, offset=offset)
    return True


def _fault(
    connection: Connection,
    registry: Registry,
    claims: dict[str | None, Expected],
    proposed_by: str,
    confirmed_by: str,
) -> str | None:
    if is_same(proposed_by, confirmed_by):
        return "one person has signed twice"
    return unproved(connection, registry, claims, is_pending=False)
