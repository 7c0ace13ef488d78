"""Proofs of a decision, or of a table's row: a signed head includes it, and later heads only added to that one.

RFC 9162.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .findings import Kind
from .heads import Head, head_of
from .keys import KeySet, distrusted
from .leaves import Times, leaf_hash, node_hash
from .lines import fields_of, key_of, leaf_of_row, leaf_of_shape, shape_of, shown

ROW_PROOF_KIND: Final = "fraud-audit-row-proof-v1"


def refused(proof_text: str, keys: KeySet) -> str | None:
    """Return why a proof (`fraud audit prove`) does not hold, or None where it does.

    Raises ValueError where it is no proof.
    """
    try:
        proof = json.loads(proof_text)
        if proof["kind"] == ROW_PROOF_KIND:
            return _row_refused(proof, keys)
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


def _row_refused(proof: Mapping[str, Any], keys: KeySet) -> str | None:
    """Like `refused`, about a table's row: its line is included, and that of its shape, which names its fields."""
    written = proof["shape"]
    at, text, row = int(written["at"]), str(written["text"]).encode(), bytes.fromhex(proof["row"])
    shape = shape_of(text)
    if len(fields_of(row)) != len(shape.columns):
        return "the row has other fields than its shape"
    leaf = leaf_of_row(at, int(proof["xid"]), row, key_of(row, shape.key))
    for what, part, part_leaf in (("row", proof, leaf), ("shape", written, leaf_of_shape(at, text))):
        head, later = head_of(json.dumps(part["head"])), head_of(json.dumps(part["later_head"]))
        for signed in (head, later):
            if (why := distrusted(signed.signed, keys, None, Kind.HEAD_REFUSED)) is not None:
                return f"the head of size {signed.tree_size} does not count: {why[1]}"
            if signed.partition != proof["partition"] or signed.topic != proof["topic"]:
                return "a head is of another partition"
        if not is_included(part_leaf, part["index"], head, _hashes(part["inclusion"])):
            return f"the head does not include this {what} at this place"
        if not is_consistent(head, later, _hashes(part["consistency"])):
            return "the later head is no continuation of the earlier one"
    if written["later_head"] != proof["later_head"]:
        return "the shape is of another history than the row"
    return None


def shown_row(proof_text: str) -> str | None:
    """The row that a proof is of, as text; None where it is of a decision. Raises ValueError."""
    proof = json.loads(proof_text)
    if proof.get("kind") != ROW_PROOF_KIND:
        return None
    shape = shape_of(str(proof["shape"]["text"]).encode())
    fields = shown(shape, bytes.fromhex(proof["row"]))
    return f"{shape.table}: " + ", ".join(f"{name}={value}" for name, value in fields.items())


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
