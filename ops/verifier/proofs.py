"""Proofs of one decision: a signed head includes it, and later heads only added to that one (RFC 9162)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .findings import Kind
from .heads import Head, head_of
from .keys import KeySet, distrusted
from .leaves import Times, leaf_hash, node_hash


def refused(proof_text: str, keys: KeySet) -> str | None:
    """Return why a proof (`fraud audit prove`) does not hold, or None where it does.

    Raises ValueError where it is no proof.
    """
    try:
        proof = json.loads(proof_text)
        head, later = head_of(json.dumps(proof["head"])), head_of(json.dumps(proof["later_head"]))
        record, path = bytes.fromhex(proof["record"]), _hashes(proof["inclusion"])
        partition, offset, index = proof["partition"], proof["offset"], proof["index"]
        consistency = _hashes(proof["consistency"])
        times = Times(int(proof["logged_at_ms"]), int(proof["filed_at_ms"]))
    except (KeyError, TypeError) as error:
        raise ValueError("it is no proof") from error
    for signed in (head, later):
        if (why := distrusted(signed.signed, keys, None, Kind.HEAD_REFUSED)) is not None:
            return f"the head of size {signed.tree_size} does not count: {why[1]}"
        if signed.partition != partition or signed.topic != proof["topic"]:
            return "a head is of another partition"
    if not is_included(leaf_hash(partition, offset, times, record), index, head, path):
        return "the head does not include this record at this place"
    if not is_consistent(head, later, consistency):
        return "the later head is no continuation of the earlier one"
    return None


def is_included(leaf: bytes, index: int, head: Head, path: Sequence[bytes]) -> bool:
    position, last, found = index, head.tree_size - 1, leaf
    if not 0 <= position <= last:
        return False
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while position & 1 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and found == head.root


def is_consistent(head: Head, later: Head, path: Sequence[bytes]) -> bool:
    if not 0 < head.tree_size <= later.tree_size:
        return False
    if head.tree_size == later.tree_size:
        return not path and head.root == later.root
    rest = [head.root, *path] if head.tree_size & (head.tree_size - 1) == 0 else list(path)
    if not rest:
        return False
    position, last = head.tree_size - 1, later.tree_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    start, *siblings = rest
    before = after = start
    for sibling in siblings:
        if last == 0:
            return False
        if position & 1 or position == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while position & 1 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and (before, after) == (head.root, later.root)


def _hashes(texts: Any) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]
