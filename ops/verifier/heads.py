"""The check of one partition's leaf file against its signed heads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from .findings import Finding, Kind
from .keys import AUDIT, KeySet, Signed, distrusted
from .leaves import ZEROS, roots
from .rows import Partition

HEAD_KIND: Final = "fraud-audit-head-v1"


class Head(NamedTuple):
    topic: str
    partition: int
    tree_size: int
    last_offset: int
    root: bytes
    chain: bytes
    previous: bytes
    anchored_at_ms: int
    text: bytes  # the bytes that are signed
    key_id: str
    signature: bytes

    @property
    def signed(self) -> Signed:
        return Signed(self.text, self.key_id, self.signature, AUDIT, self.anchored_at_ms)

    @property
    def hashed(self) -> str:
        return hashlib.sha256(self.text).hexdigest()


def head_of(content: str) -> Head:
    """Read a head from its file, or from a line of anchors.jsonl. Raises ValueError."""
    try:
        read = json.loads(content)
        head, signature = read["head"], bytes.fromhex(read["signature"])
        if head["kind"] != HEAD_KIND:
            raise ValueError("it is of another kind")
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        root, chain, previous = (bytes.fromhex(head[name]) for name in ("root", "chain", "previous"))
        place = head["topic"], int(head["partition"]), int(head["tree_size"]), int(head["last_offset"])
        at_ms, key_id = int(head["anchored_at_ms"]), str(read["key_id"])
    except (KeyError, TypeError) as error:
        raise ValueError("it is no head") from error
    return Head(*place, root, chain, previous, at_ms, text, key_id, signature)


SeenAt = Callable[[int, int], int | None]
"""Gives when somebody outside saw the head of a partition and size, or one after it, first; None: nobody did."""


def check_heads(
    topic: str, partition: Partition, heads: Sequence[Head], keys: KeySet, seen_at: SeenAt
) -> list[Finding]:
    """Check that each head is signed, names the previous one, and has the leaf file's root and chain at its size.

    Heads of another source (the topic anchors.v1) may be among them; the same head twice counts as one.
    """
    findings, previous = [], ZEROS
    of_size = roots(partition.entries, {head.tree_size for head in heads})
    for text in sorted({head.text for head in heads}, key=lambda text: int(json.loads(text)["tree_size"])):
        theirs = [head for head in heads if head.text == text]
        head = theirs[0]
        if (head.topic, head.partition) != (topic, partition.number):
            findings.append(_about(Kind.HEAD_REFUSED, partition, head, "it is of another partition"))
            continue
        whys = {_distrusted(each, keys, seen_at) for each in theirs} - {None}
        findings += [_about(why[0], partition, head, why[1]) for why in sorted(filter(None, whys))]
        if any(why is not None and why[0] is not Kind.KEY_REVOKED for why in whys):
            continue
        if head.previous != previous:
            findings.append(_about(Kind.HEAD_MISSING, partition, head, "not the one that it names stands before it"))
        if _of_leaves(partition, head, of_size) != (head.root, head.chain, head.last_offset):
            findings.append(_about(Kind.LEAF_FILE_CHANGED, partition, head, "the leaf file gives another root"))
        previous = hashlib.sha256(text).digest()
    return findings


def check_published(partition: Partition, files: Sequence[Head], topic: Sequence[Head], since_ms: int) -> list[Finding]:
    """Check that files and topic hold the same heads; one that was signed after since_ms may be on its way."""
    written, published = {head.text: head for head in files}, {head.text: head for head in topic}
    findings = []
    for text, head in written.items():
        if text not in published and head.anchored_at_ms <= since_ms:
            findings.append(_about(Kind.ANCHOR_MISSING, partition, head, "it is not on anchors.v1"))
    for text, head in published.items():
        if text not in written:
            findings.append(_about(Kind.HEAD_MISSING, partition, head, "it is on anchors.v1, but not among the files"))
    return findings


def _distrusted(head: Head, keys: KeySet, seen_at: SeenAt) -> tuple[Kind, str] | None:
    return distrusted(head.signed, keys, seen_at(head.partition, head.tree_size), Kind.HEAD_REFUSED)


def _of_leaves(partition: Partition, head: Head, of_size: dict[int, bytes]) -> tuple[bytes, bytes, int] | None:
    if head.tree_size not in of_size:
        return None
    last = head.tree_size - 1
    return of_size[head.tree_size], partition.chain[last], partition.entries[last].offset


def _about(kind: Kind, partition: Partition, head: Head, detail: str) -> Finding:
    return Finding(kind, "head", partition.number, None, f"of size {head.tree_size}: {detail}")
