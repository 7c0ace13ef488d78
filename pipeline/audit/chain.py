"""The audit log's proofs: leaves, the chain through them, and Merkle trees over them (RFC 6962).

Each partition of a topic has a log of its own: its records in the order of their offsets.

Invariants
1. A leaf binds a record's bytes to its place and its times: no other record, partition, offset or time has the same
   leaf. That of a record that was put aside binds why, too, and is never that of one that was stored.
2. A chain value binds every entry up to it: what is changed, left out, put in or moved before it changes it.
3. A frontier's root is the root of the tree over all leaves added, whatever the batches they came in.
4. An inclusion proof holds for its leaf and index alone; a consistency proof holds only where the smaller tree is a
   prefix of the larger one.
The kinds of hash start with different bytes, so that none can be passed off as another.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
CHAIN_START: Final = bytes(HASH_BYTES)
EMPTY_ROOT: Final = hashlib.sha256().digest()
ENTRY_BYTES: Final = 48
_PLACE: Final = struct.Struct(">IQqq")
_ENTRY: Final = struct.Struct(">Qq32s")


class Times(NamedTuple):
    """When a record came by the broker's clock, and the time under which it is filed; milliseconds since 1970."""

    logged_at_ms: int
    filed_at_ms: int


class Entry(NamedTuple):
    """A record's line in the leaf file."""

    offset: int
    recorded_at_us: int  # microseconds since 1970: when the audit log stored it
    leaf: bytes


class Tree(NamedTuple):
    """A partition's log so far: its size, the offset of its last record (-1: none), chain value and frontier.

    frontier: the roots of the perfect subtrees that the leaves fall into, largest first; one for each 1 in the size.
    """

    size: int = 0
    last_offset: int = -1
    chain: bytes = CHAIN_START
    frontier: tuple[bytes, ...] = ()


def leaf_hash(partition: int, offset: int, times: Times, record: bytes) -> bytes:
    """`record`: the value as it stood on the topic. RFC 6962's leaf hash, of the place, the times and the record."""
    return hashlib.sha256(b"\0" + _PLACE.pack(partition, offset, *times) + record).digest()


def aside_leaf_hash(partition: int, offset: int, times: Times, statement: bytes, record: bytes) -> bytes:
    """The leaf of a record that was put aside. `statement`: who put it aside and why."""
    why = hashlib.sha256(statement).digest()
    return hashlib.sha256(b"\3" + _PLACE.pack(partition, offset, *times) + why + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def chain_hash(previous: bytes, entry: bytes) -> bytes:
    """`entry` as `entry_bytes` gives it."""
    return hashlib.sha256(b"\2" + previous + entry).digest()


def entry_bytes(entry: Entry) -> bytes:
    return _ENTRY.pack(*entry)


def entries_of(content: bytes) -> Iterator[Entry]:
    """`content`: whole entries, one after the other."""
    return (Entry(*fields) for fields in _ENTRY.iter_unpack(content))


def grown(tree: Tree, entries: Iterable[Entry]) -> Tree:
    """The tree after `entries`, whose offsets must rise."""
    return chained(tree, entries)[1]


def chained(tree: Tree, entries: Iterable[Entry]) -> tuple[list[bytes], Tree]:
    """The chain value after each of `entries`, and the tree after all. 3 µs an entry."""
    size, last_offset, chain, _ = tree
    frontier, chain_values = list(tree.frontier), []
    for entry in entries:
        assert entry.offset > last_offset, "a log is written in the order of its offsets"
        last_offset, chain = entry.offset, chain_hash(chain, entry_bytes(entry))
        chain_values.append(chain)
        _append_leaf(frontier, size, entry.leaf)
        size += 1
    return chain_values, Tree(size, last_offset, chain, tuple(frontier))


def root(frontier: Sequence[bytes]) -> bytes:
    """The Merkle root of the tree over all leaves."""
    if not frontier:
        return EMPTY_ROOT
    found = frontier[-1]
    for subtree in reversed(frontier[:-1]):
        found = node_hash(subtree, found)
    return found


def is_frontier_of(frontier: Sequence[bytes], size: int) -> bool:
    return len(frontier) == size.bit_count()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962, section 2.1."""
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        # A node without a partner goes up as it is: the same as splitting at the largest power of two.
        level = paired + level[len(paired) * 2 :]
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of RFC 6962, section 2.1.1: nearest sibling first."""
    assert 0 <= index < len(leaves), "the leaf is in the tree"
    path, begin, end = [], 0, len(leaves)
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(tree_root(leaves[middle:end]))
            end = middle
        else:
            path.append(tree_root(leaves[begin:middle]))
            begin = middle
    return path[::-1]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
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
    return last == 0 and found == root


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """RFC 6962, section 2.1.2: that the tree over the first `old_size` leaves is a prefix of the one over all."""
    assert 0 < old_size <= len(leaves), "both trees have leaves"
    path, begin, end, is_whole = [], 0, len(leaves), True
    while old_size != end:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            path.append(tree_root(leaves[middle:end]))
            end = middle
        else:
            path.append(tree_root(leaves[begin:middle]))
            begin, is_whole = middle, False
    if not is_whole:
        path.append(tree_root(leaves[begin:end]))
    return path[::-1]


def continued_proof(frontier: Sequence[bytes], old_size: int, added: Sequence[bytes]) -> list[bytes]:
    """The consistency proof from the tree of `old_size` leaves, whose frontier this is, to that with `added` leaves.

    It is what `consistency_proof` gives, at the cost of the added leaves alone: the proof's nodes are the frontier's
    subtrees, for the leaves that were there, and roots over added leaves only.
    """
    assert is_frontier_of(frontier, old_size), "the frontier is the old tree's"
    size = old_size + len(added)
    path, begin, end, subtree = [], 0, size, 0
    while old_size != end:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            path.append(tree_root(added[middle - old_size : end - old_size]))
            end = middle
        else:
            path.append(frontier[subtree])  # [begin, middle) is a whole subtree of the old tree, the next largest
            begin, subtree = middle, subtree + 1
    if begin:
        path.append(frontier[subtree])
    return path[::-1]


def is_consistent(old_size: int, size: int, old_root: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162, section 2.1.4.2."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not path and old_root == root
    rest = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not rest:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_found = found = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root


def _append_leaf(frontier: list[bytes], size: int, leaf: bytes) -> None:
    """`size` before it: each trailing 1 of it is a perfect subtree that the leaf completes the twin of."""
    while size & 1:
        leaf = node_hash(frontier.pop(), leaf)
        size >>= 1
    frontier.append(leaf)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
