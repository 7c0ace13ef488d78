"""Proofs of one decision: that a signed head includes it, and that later heads only added to that one (RFC 9162)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .heads import Head, head_of, is_signed
from .leaves import leaf_hash, node_hash


def refused(proof_text: str, key: Ed25519PublicKey) -> str | None:
    """Why the proof (`fraud audit prove`) does not hold; None where it does. Raises ValueError where it is none."""
    try:
        proof = json.loads(proof_text)
        head, later = head_of(json.dumps(proof["head"])), head_of(json.dumps(proof["later_head"]))
        record, path = bytes.fromhex(proof["record"]), _hashes(proof["inclusion"])
        place = proof["partition"], proof["offset"], proof["index"]
        consistency = _hashes(proof["consistency"])
    except (KeyError, TypeError) as error:
        raise ValueError("it is no proof") from error
    for signed in (head, later):
        if not is_signed(signed, key):
            return f"the signature of the head of size {signed.tree_size} does not hold"
        if signed.partition != place[0] or signed.topic != proof["topic"]:
            return "a head is of another partition"
    if not is_included(leaf_hash(place[0], place[1], record), place[2], head, path):
        return "the head does not include this record at this place"
    if not is_consistent(head, later, consistency):
        return "the later head is no continuation of the earlier one"
    return None


def is_included(leaf: bytes, index: int, head: Head, path: Sequence[bytes]) -> bool:
    place, last, found = index, head.tree_size - 1, leaf
    if not 0 <= place <= last:
        return False
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == head.root


def is_consistent(head: Head, later: Head, path: Sequence[bytes]) -> bool:
    if not 0 < head.tree_size <= later.tree_size:
        return False
    if head.tree_size == later.tree_size:
        return not path and head.root == later.root
    rest = [head.root, *path] if head.tree_size & (head.tree_size - 1) == 0 else list(path)
    if not rest:
        return False
    place, last = head.tree_size - 1, later.tree_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and (before, after) == (head.root, later.root)


def _hashes(texts: Any) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]
