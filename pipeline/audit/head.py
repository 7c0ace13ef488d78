"""A signed head: one partition's audit log at one moment, in a few hundred bytes that are kept outside the database.

Invariants
1. What is signed is one text for one head: sorted names, no spaces, hashes in hexadecimal; and it says what it is, so
   that a signature can't be passed off as one of anything else.
2. Each head names the SHA-256 of the text before it: none between two others can be left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.audit.chain import HASH_BYTES, Tree, root
from pipeline.domain.anchor import Anchor

KIND: Final = "fraud-audit-head-v1"
NO_PREVIOUS: Final = bytes(HASH_BYTES)
_HASHES: Final = frozenset({"root", "chain", "previous"})


class Head(NamedTuple):
    """The signed part of an Anchor: its fields but for the key's id and the signature."""

    topic: str
    partition: int
    tree_size: int
    first_offset: int
    last_offset: int
    root: bytes
    chain: bytes
    previous: bytes
    anchored_at_ms: int


class SignedHead(NamedTuple):
    """frontier: of the tree, so that it can grow on without reading what is below; not signed, for `root` follows."""

    head: Head
    frontier: tuple[bytes, ...]
    key_id: str
    signature: bytes

    def anchor(self, consistency: Sequence[bytes]) -> Anchor:
        """The head as it stands on `anchors.v1`, which doesn't hold the frontier, but the proof since the one before.

        So whoever reads that topic alone sees that each head only added to the one before it.
        """
        return Anchor(*self.head, self.key_id, self.signature, list(consistency))

    @property
    def tree(self) -> Tree:
        return Tree(self.head.tree_size, self.head.last_offset, self.head.chain, self.frontier)


def head_of_anchor(anchor: Anchor) -> Head:
    return Head(
        anchor.topic,
        anchor.partition,
        anchor.tree_size,
        anchor.first_offset,
        anchor.last_offset,
        anchor.root,
        anchor.chain,
        anchor.previous,
        anchor.anchored_at_ms,
    )


def next_head(
    topic: str, partition: int, tree: Tree, first_offset: int, before: Head | None, anchored_at_ms: int
) -> Head:
    """first_offset: of the first record that `before` does not cover."""
    previous = NO_PREVIOUS if before is None else head_hash(before)
    place = (topic, partition, tree.size, first_offset, tree.last_offset)
    return Head(*place, root(tree.frontier), tree.chain, previous, anchored_at_ms)


def signed_text(head: Head) -> bytes:
    """The text that the signature is over."""
    fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in head._asdict().items()}
    return json.dumps({"kind": KIND, **fields}, sort_keys=True, separators=(",", ":")).encode()


def head_hash(head: Head) -> bytes:
    return hashlib.sha256(signed_text(head)).digest()


def file_text(signed: SignedHead) -> str:
    """A head's file: the signed text as it is, and what goes with it."""
    rest = {
        "frontier": [subtree.hex() for subtree in signed.frontier],
        "key_id": signed.key_id,
        "signature": signed.signature.hex(),
    }
    return f'{{"head":{signed_text(signed.head).decode()},{json.dumps(rest)[1:]}\n'


def head_of(text: str) -> SignedHead:
    """From a head's file. Raises ValueError where it is none; whether the signature holds is not asked here."""
    try:
        read = json.loads(text)
        head = Head._make(_from_text(name, read["head"][name]) for name in Head._fields)
        frontier = tuple(bytes.fromhex(subtree) for subtree in read["frontier"])
        signed = SignedHead(head, frontier, read["key_id"], bytes.fromhex(read["signature"]))
    except (KeyError, TypeError) as error:
        raise ValueError("the file is no head of an audit log") from error
    if file_text(signed) != text or root(frontier) != signed.head.root:
        raise ValueError("the file is no head of an audit log as it was written")
    return signed


def _from_text(name: str, written: object) -> object:
    return bytes.fromhex(str(written)) if name in _HASHES else written
