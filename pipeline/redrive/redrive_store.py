"""Redrives in PostgreSQL: the tables control.redrive*, and the decisions of the audit log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.postgres import Connection, statements, turn_of
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.acts import ActKind
from pipeline.people.key_files import Identity
from pipeline.people.roles import Role
from pipeline.people.store import person_of
from pipeline.redrive.selection import About, Place, record_of

_SQL: Final = statements("pipeline.redrive", "redrive")


class Request(NamedTuple):
    """Who asks for a redrive, why, and for what. `by`: None of a dry run."""

    by: Identity | None
    reason: str
    criteria: Mapping[str, str]

    @property
    def name(self) -> str:
        assert self.by is not None, "a dry run has no author"
        return self.by.name


class Sent(NamedTuple):
    """A letter that was sent before. ends: from where to look for what was sent. published: where that is."""

    ends: Mapping[int, int]
    published: frozenset[Place]


def turn_to_redrive(connection: Connection, taken: type[Exception]) -> AbstractContextManager[None]:
    """Letters are redriven by one command at a time; `taken` is raised where another keeps its turn."""
    return turn_of(connection, _SQL, taken)


def append_redrive(
    connection: Connection, redrive_id: UUID, request: Request, ends: Mapping[int, int], letters: Sequence[DeadLetter]
) -> None:
    """Record a sending with its letters, before anything is sent. Its author signs it."""
    assert request.by is not None, "a dry run records nothing"
    subject = {"redrive_id": str(redrive_id), "reason": request.reason, "letters_sha256": _digest_of(letters)}
    fields = {
        "redrive_id": redrive_id,
        "requested_by": request.by.name,
        "reason": request.reason,
        "criteria": Jsonb(dict(request.criteria)),
        "transactions_from": Jsonb({str(partition): end for partition, end in ends.items()}),
    }
    with connection.transaction():
        act = sign_act(connection, request.by, ActKind.LETTERS_REDRIVEN, subject, read_registry(connection))
        connection.execute(_SQL["append_redrive"], {**fields, "act": act})
        for letter in letters:
            connection.execute(_SQL["append_letter"], {**letter._asdict(), "redrive_id": redrive_id})


def may_redrive(connection: Connection, by: Identity) -> bool:
    return person_of(read_registry(connection), by).holds(Role.OPERATOR)


def append_published(connection: Connection, found: Mapping[About, Iterable[Place]], by: str) -> None:
    """Record where the payments of letters stand; `found` has their places by what the letter is about."""
    with connection.transaction():
        for source, places in found.items():
            for place in places:
                fields = {
                    "published_partition": place.partition,
                    "published_offset": place.offset,
                    "source_topic": source.topic,
                    "source_partition": source.partition,
                    "source_offset": source.offset,
                    "payload_sha256": source.payload_sha256,
                    "published_by": by,
                }
                connection.execute(_SQL["append_published"], fields)


def read_sent(connection: Connection, letters: Iterable[DeadLetter]) -> dict[About, Sent]:
    sent: dict[About, Sent] = {}
    wanted = [record_of(letter) for letter in letters]
    fields = {
        **_place_fields(each.place for each in wanted),
        "topics": [each.topic for each in wanted],
        "payloads": [each.payload_sha256 for each in wanted],
    }
    for topic, partition, offset, payload, ends, *published in connection.execute(_SQL["read_sent"], fields).fetchall():
        about = About(topic, partition, offset, bytes(payload))
        known = sent.get(about, Sent({int(name): end for name, end in ends.items()}, frozenset()))
        places = frozenset() if None in published else frozenset({Place(*published)})
        sent[about] = known._replace(published=known.published | places)
    return sent


def read_refusals(connection: Connection, topic: str, places: Iterable[Place]) -> dict[Place, str]:
    """Return by which codes the records at these places became dead letters, as far as the audit log has heard."""
    rows = connection.execute(_SQL["read_refusals"], {**_place_fields(places), "topic": topic})
    return {Place(partition, offset): code for partition, offset, code in rows}


def read_decisions(connection: Connection, transaction_ids: Sequence[str]) -> Iterator[bytes]:
    """Yield the records of all decisions about these ids."""
    for (record,) in connection.execute(_SQL["read_decisions"], {"transaction_ids": list(transaction_ids)}):
        yield bytes(record)


def read_audited(connection: Connection, decisions_topic: str) -> dict[int, int]:
    """Return the offset of each partition of decisions.v1 below which the audit log has taken in all."""
    return dict(connection.execute(_SQL["read_audited"], {"topic": decisions_topic}).fetchall())


def read_reach_ms(connection: Connection, partitions: Iterable[int]) -> int | None:
    """Return since when the audit log holds all decisions; None where it holds them from the first on."""
    ((since,),) = connection.execute(_SQL["read_reach"], {"partitions": list(partitions)}).fetchall()
    return None if since is None else int(since.timestamp() * 1000)


def _digest_of(letters: Iterable[DeadLetter]) -> str:
    """Return the digest of places, codes and payloads of a sending's letters, in the order of what they are about."""
    digest = hashlib.sha256()
    for letter in sorted(letters, key=record_of):
        topic, partition, offset, payload_sha256 = record_of(letter)
        digest.update(f"{topic}:{partition}:{offset}:{letter.code}:{payload_sha256.hex()}\n".encode())
    return digest.hexdigest()


def _place_fields(places: Iterable[Place]) -> dict[str, list[int]]:
    wanted = list(places)
    return {"partitions": [place.partition for place in wanted], "offsets": [place.offset for place in wanted]}
