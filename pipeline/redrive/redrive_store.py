"""Redrives in PostgreSQL: the tables control.redrive*, and the decisions of the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.postgres import Connection, statements, turn_of
from pipeline.redrive.selection import Place, place_of

_SQL: Final = statements("pipeline.redrive", "redrive")


class Request(NamedTuple):
    """Who asks for a redrive, why, and for what."""

    by: str
    reason: str
    criteria: Mapping[str, str]


class Sent(NamedTuple):
    """A letter that was sent before. ends: where to look for its payment, unless it `is_published` for certain."""

    is_published: bool
    ends: Mapping[int, int]


def turn_to_redrive(connection: Connection, taken: type[Exception]) -> AbstractContextManager[None]:
    """Letters are redriven by one command at a time; `taken` is raised where another keeps its turn."""
    return turn_of(connection, _SQL, taken)


def append_redrive(
    connection: Connection, redrive_id: UUID, request: Request, ends: Mapping[int, int], letters: Iterable[DeadLetter]
) -> None:
    """Record a sending with its letters, before anything is sent."""
    fields = {
        "redrive_id": redrive_id,
        "requested_by": request.by,
        "reason": request.reason,
        "criteria": Jsonb(dict(request.criteria)),
        "transactions_from": Jsonb({str(partition): end for partition, end in ends.items()}),
    }
    with connection.transaction():
        connection.execute(_SQL["append_redrive"], fields)
        for letter in letters:
            connection.execute(_SQL["append_letter"], {**letter._asdict(), "redrive_id": redrive_id})


def append_published(connection: Connection, letters: Iterable[DeadLetter], by: str) -> None:
    with connection.transaction():
        for letter in letters:
            connection.execute(_SQL["append_published"], {**place_fields(letter), "published_by": by})


def place_fields(letter: DeadLetter) -> dict[str, int]:
    return {"source_partition": letter.source_partition, "source_offset": letter.source_offset}


def read_sent(connection: Connection, letters: Iterable[DeadLetter]) -> dict[Place, Sent]:
    places = [place_of(letter) for letter in letters]
    fields = {"partitions": [place.partition for place in places], "offsets": [place.offset for place in places]}
    rows = connection.execute(_SQL["read_sent"], fields).fetchall()
    return {
        Place(partition, offset): Sent(is_published, {int(name): end for name, end in ends.items()})
        for partition, offset, is_published, ends in rows
    }


def read_decisions(connection: Connection, transaction_ids: Sequence[str], since_ms: int) -> Iterator[bytes]:
    """Yield the records of decisions about these ids that were made since."""
    fields = {"transaction_ids": list(transaction_ids), "since_ms": since_ms}
    for (record,) in connection.execute(_SQL["read_decisions"], fields):
        yield bytes(record)
