"""Witness statements: what the witness, a process of another role, has seen of the audit log's heads, and when.

Invariants
1. What is signed is one text for one statement, which says what it is.
2. Each statement names the SHA-256 of the text before it and its own number: none between two others can be left out.
3. A statement holds the latest head of every partition ever seen, so the last one alone says where each stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.audit.chain import HASH_BYTES
from pipeline.audit.head import Head, head_hash
from pipeline.domain.anchor import Witnessed

KIND: Final = "fraud-audit-witness-v1"
NO_PREVIOUS: Final = bytes(HASH_BYTES)
HEADS_MAX: Final = 10_000
"""Most partitions of all topics that a statement can be about; at 250 bytes each they stay below a record's limit."""


class SeenHead(NamedTuple):
    """A head that the witness has seen. head: the SHA-256 of its signed text."""

    topic: str
    partition: int
    tree_size: int
    root: bytes
    head: bytes


class Statement(NamedTuple):
    """heads: one a partition, in the order of topic and partition. number: counts from 1.

    read_to: the next offset of each partition of anchors.v1, so that whoever goes on knows where.
    """

    number: int
    previous: bytes
    witnessed_at_ms: int
    heads: tuple[SeenHead, ...]
    read_to: tuple[tuple[int, int], ...] = ()


def seen_head(head: Head) -> SeenHead:
    return SeenHead(head.topic, head.partition, head.tree_size, head.root, head_hash(head))


def next_statement(
    before: Statement | None,
    heads: Iterable[SeenHead],
    witnessed_at_ms: int,
    read_to: Mapping[int, int] = MappingProxyType({}),
) -> Statement:
    """`heads`: what was seen since; the others are taken over from the statement before."""
    latest = {} if before is None else by_partition(before)
    latest |= {(each.topic, each.partition): each for each in heads}
    number, previous = (1, NO_PREVIOUS) if before is None else (before.number + 1, statement_hash(before))
    in_order = tuple(latest[place] for place in sorted(latest))
    return Statement(number, previous, witnessed_at_ms, in_order, tuple(sorted(read_to.items())))


def by_partition(statement: Statement) -> dict[tuple[str, int], SeenHead]:
    return {(each.topic, each.partition): each for each in statement.heads}


def statement_text(statement: Statement) -> str:
    """The text that is signed: JSON with sorted names, no spaces, hashes in hexadecimal."""
    fields = {
        "kind": KIND,
        "number": statement.number,
        "previous": statement.previous.hex(),
        "witnessed_at_ms": statement.witnessed_at_ms,
        "heads": [_head_fields(each) for each in statement.heads],
        "read_to": [list(each) for each in statement.read_to],
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def statement_hash(statement: Statement) -> bytes:
    return hashlib.sha256(statement_text(statement).encode()).digest()


def statement_of(text: str) -> Statement:
    """Raises ValueError where the text is none, or another text stands for the same statement."""
    try:
        read = json.loads(text)
        heads = tuple(map(_head, read["heads"]))
        numbers = read["number"], read["witnessed_at_ms"]
        read_to = tuple((int(partition), int(offset)) for partition, offset in read["read_to"])
        statement = Statement(numbers[0], bytes.fromhex(read["previous"]), numbers[1], heads, read_to)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the text is no witness statement") from error
    if not all(type(number) is int for number in numbers) or statement_text(statement) != text:
        raise ValueError("the text is no witness statement as it was written")
    return statement


def statement_line(witnessed: Witnessed) -> str:
    """A statement as a line of the witness's file, and of an export."""
    stamped = None if witnessed.timestamp is None else witnessed.timestamp.hex()
    fields = {**witnessed._asdict(), "signature": witnessed.signature.hex(), "timestamp": stamped}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n"


def witnessed_of(line: str) -> Witnessed:
    """From a line of the witness's file. Raises ValueError."""
    try:
        read = json.loads(line)
        stamped = None if read["timestamp"] is None else bytes.fromhex(read["timestamp"])
        return Witnessed(str(read["statement"]), str(read["key_id"]), bytes.fromhex(read["signature"]), stamped)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the line is no witness statement") from error


def _head(written: Mapping[str, object]) -> SeenHead:
    partition, tree_size = written["partition"], written["tree_size"]
    if type(partition) is not int or type(tree_size) is not int:
        raise ValueError("a partition or size is no number")
    hashes = bytes.fromhex(str(written["root"])), bytes.fromhex(str(written["head"]))
    return SeenHead(str(written["topic"]), partition, tree_size, *hashes)


def _head_fields(head: SeenHead) -> dict[str, object]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in head._asdict().items()}
