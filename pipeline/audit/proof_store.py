"""The proof of one decision: its record, the path to a signed head that includes it, and from there to the latest one.

Whoever has kept any head of the partition, or has one from anchors.v1, needs no more than this and the public key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.audit.chain import Entry, Times, consistency_proof, inclusion_proof
from pipeline.audit.head import SignedHead, file_text
from pipeline.audit.leaf_files import head_paths, leaf_path, read_entries, read_head
from pipeline.io.postgres import Connection, failures_named, statements


class Unproved(Exception):
    """There is no proof; the message says why, in one sentence."""


class RecordPlace(NamedTuple):
    """Where a decision's record stands on its topic, its times, and the record."""

    partition: int
    offset: int
    times: Times
    record: bytes


def place_of(connection: Connection, decision_id: str) -> RecordPlace:
    """Raises Unproved, DatabaseUnavailable, DatabaseRefused."""
    with failures_named():
        found = connection.execute(statements("pipeline.audit", "audit")["place_of_decision"], [decision_id]).fetchone()
    if found is None:
        raise Unproved(f"the audit log has no decision {decision_id}")
    partition, offset, logged_at_ms, filed_at_ms, record = found
    return RecordPlace(partition, offset, Times(logged_at_ms, filed_at_ms), bytes(record))


def proof(directory: Path, topic: str, place: RecordPlace) -> dict[str, object]:
    """The proof as JSON. Raises Unproved, HeadRefused."""
    heads = [read_head(path) for path in head_paths(directory, topic, place.partition)]
    if not heads:
        raise Unproved(f"partition {place.partition} has no signed head yet")
    latest = heads[-1]
    path = leaf_path(directory, topic, place.partition)
    entries = list(read_entries(path, 0, latest.head.tree_size))
    index = _index(entries, place)
    return {
        "kind": "fraud-audit-proof-v1",
        "topic": topic,
        "partition": place.partition,
        "offset": place.offset,
        "index": index,
        **place.times._asdict(),
        "record": place.record.hex(),
        **head_proof(heads, [entry.leaf for entry in entries], index),
    }


def head_proof(heads: Sequence[SignedHead], leaves: Sequence[bytes], index: int) -> dict[str, object]:
    """The path of a leaf to the first head that includes it, and from there to the latest. Raises Unproved.

    heads: all of the partition, oldest first. leaves: up to the last of them, at least.
    """
    head = next((head for head in heads if head.head.tree_size > index), None)
    if head is None:
        raise Unproved("it is younger than the last signed head")
    latest = heads[-1]
    return {
        "inclusion": [step.hex() for step in inclusion_proof(leaves[: head.head.tree_size], index)],
        "consistency": [step.hex() for step in consistency_proof(leaves[: latest.head.tree_size], head.head.tree_size)],
        "head": _as_json(head),
        "later_head": _as_json(latest),
    }


def _index(entries: list[Entry], place: RecordPlace) -> int:
    for index, entry in enumerate(entries):
        if entry.offset == place.offset:
            return index
    raise Unproved(f"the record at offset {place.offset} is younger than the last signed head")


def _as_json(signed: SignedHead) -> dict[str, object]:
    read: dict[str, object] = json.loads(file_text(signed))
    return read
