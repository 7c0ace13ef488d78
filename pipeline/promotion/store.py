"""Moves of the champion in PostgreSQL, what was refused, and what the stop rule looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg.types.json import Jsonb

from models.versions.aliases import AliasRecord
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.promotion.moves import Move, MoveEvent
from pipeline.promotion.stop_rule import Arm, Trip

_SQL: Final = statements("pipeline.promotion", "promotion")
TRIPPING_EVENTS: Final = ("TRIP", "STILL_BAD", "PROBE_BAD", "FORCE_OPEN")
"""What takes a scope out of the loop because of what it does, or because a person says so. A lost state is nobody's
fault."""
FRAUDS_MAX: Final = 200_000
"""Most frauds that are looked up at once."""


class Refused(NamedTuple):
    asked: str
    version: str
    digest: str | None
    asked_by: str
    reasons: Sequence[str]


def take_turn(connection: Connection) -> None:
    """Wait until nobody else moves the champion; holds until the caller's transaction ends."""
    connection.execute(_SQL["take_turn"])


def draw(connection: Connection, digest: str, champion: str, policy: str) -> str:
    """Return what the seed of a red team rests on, in hexadecimal; the database draws it where nobody asked before.

    All are SHA-256 in hexadecimal. Raises DatabaseUnavailable, DatabaseRefused.
    """
    with failures_named():
        row = connection.execute(_SQL["draw"], {"digest": digest, "champion": champion, "policy": policy}).fetchone()
    assert row is not None, "it is one row"
    return str(row[0])


def drawn(connection: Connection, digest: str, champion: str, policy: str) -> str | None:
    """Return the same; None where nothing was drawn. Raises DatabaseUnavailable, DatabaseRefused."""
    with failures_named():
        row = connection.execute(_SQL["drawn"], {"digest": digest, "champion": champion, "policy": policy}).fetchone()
    return None if row is None else str(row[0])


def append_move(
    connection: Connection, record: AliasRecord, event: MoveEvent, by: str, reason: str, act: str | None
) -> None:
    """Raises psycopg's exceptions."""
    fields = {
        "sequence": record.sequence,
        "event": event.value,
        "version": record.version,
        "digest": record.digest,
        "previous_version": record.previous_version,
        "share_ppm": record.share_ppm,
        "record_sha256": record.sha256,
        "moved_by": by,
        "reason": reason,
        "act": act,
        "at_ms": record.at_ms,
    }
    connection.execute(_SQL["append_move"], fields)


def event_of(connection: Connection, record: AliasRecord) -> MoveEvent | None:
    """Return how a record of the alias stands in the database; None where it doesn't.

    Raises DatabaseRefused, DatabaseUnavailable.
    """
    with failures_named():
        row = connection.execute(_SQL["event_of"], {"record_sha256": record.sha256}).fetchone()
    return None if row is None else MoveEvent(row[0])


def append_refusal(connection: Connection, refused: Refused) -> None:
    """Raises DatabaseRefused, DatabaseUnavailable."""
    with failures_named(), connection.transaction():
        connection.execute(_SQL["append_refusal"], {**refused._asdict(), "reasons": Jsonb(list(refused.reasons))})


def read_moves(connection: Connection, limit: int) -> list[Move]:
    """Return the latest first. Raises DatabaseRefused, DatabaseUnavailable."""
    with failures_named():
        rows = connection.execute(_SQL["read_moves"], {"limit": limit}).fetchall()
    return [Move(row[0], MoveEvent(row[1]), *row[2:]) for row in rows]


def read_arms(
    connection: Connection,
    digests: tuple[str, str],
    *,
    share_since_ms: int,
    began_ms: int,
    frauds: Sequence[str],
) -> tuple[Arm, Arm]:
    """Return what two models answered by themselves, in the order of their digests.

    frauds: the ids of payments that turned out to be fraud. Raises DatabaseRefused, DatabaseUnavailable.
    """
    with failures_named():
        rows = connection.execute(_SQL["arms"], {"digests": list(digests), "since_ms": share_since_ms}).fetchall()
        wanted = {"digests": list(digests), "since_ms": began_ms, "transaction_ids": list(frauds[:FRAUDS_MAX])}
        found = connection.execute(_SQL["frauds"], wanted).fetchall() if frauds else []
    answered = {digest: (payments, stopped) for digest, payments, stopped in rows}
    fraudulent = {digest: (payments, stopped) for digest, payments, stopped in found}
    one, other = (Arm(*answered.get(each, (0, 0)), *fraudulent.get(each, (0, 0))) for each in digests)
    return one, other


def read_trips(connection: Connection, scopes: Sequence[str], since_ms: int) -> list[Trip]:
    """Return what took one of the scopes out of the loop since then. Raises DatabaseRefused, DatabaseUnavailable."""
    wanted = {"scopes": list(scopes), "since_ms": since_ms, "events": list(TRIPPING_EVENTS)}
    with failures_named():
        return [Trip(*row) for row in connection.execute(_SQL["trips"], wanted).fetchall()]
