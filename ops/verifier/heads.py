"""The check of one partition's leaf file against its signed heads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .findings import Finding, Kind
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
    text: bytes  # the bytes that are signed
    signature: bytes


def head_of(content: str) -> Head:
    """Read a head from its file, or from a line of anchors.jsonl. Raises ValueError."""
    try:
        read = json.loads(content)
        head, signature = read["head"], bytes.fromhex(read["signature"])
        if head["kind"] != HEAD_KIND:
            raise ValueError("it is of another kind")
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        root, chain, previous = (bytes.fromhex(head[name]) for name in ("root", "chain", "previous"))
        place = head["topic"], head["partition"], head["tree_size"], head["last_offset"]
    except (KeyError, TypeError) as error:
        raise ValueError("it is no head") from error
    return Head(*place, root, chain, previous, text, signature)


def is_signed(head: Head, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(head.signature, head.text)
    except InvalidSignature:
        return False
    return True


def check_heads(topic: str, partition: Partition, heads: Sequence[Head], key: Ed25519PublicKey) -> list[Finding]:
    """Check that each head is signed, names the previous one, and has the leaf file's root and chain at its size.

    Heads of another source (the topic anchors.v1) may be among them; the same head twice counts as one.
    """
    findings, previous = [], ZEROS
    of_size = roots(partition.entries, {head.tree_size for head in heads})
    for text in sorted({head.text for head in heads}, key=lambda text: int(json.loads(text)["tree_size"])):
        theirs = [head for head in heads if head.text == text]
        head = theirs[0]
        is_ours = (head.topic, head.partition) == (topic, partition.number)
        if not is_ours or not all(is_signed(each, key) for each in theirs):
            findings.append(_about(Kind.HEAD_REFUSED, partition, head, "its signature does not hold"))
            continue
        if head.previous != previous:
            findings.append(_about(Kind.HEAD_MISSING, partition, head, "not the one that it names stands before it"))
        if _of_leaves(partition, head, of_size) != (head.root, head.chain, head.last_offset):
            findings.append(_about(Kind.LEAF_FILE_CHANGED, partition, head, "the leaf file gives another root"))
        previous = hashlib.sha256(text).digest()
    return findings


def _of_leaves(partition: Partition, head: Head, of_size: dict[int, bytes]) -> tuple[bytes, bytes, int] | None:
    if head.tree_size not in of_size:
        return None
    last = head.tree_size - 1
    return of_size[head.tree_size], partition.chain[last], partition.entries[last].offset


def _about(kind: Kind, partition: Partition, head: Head, detail: str) -> Finding:
    return Finding(kind, "head", partition.number, None, f"of size {head.tree_size}: {detail}")
