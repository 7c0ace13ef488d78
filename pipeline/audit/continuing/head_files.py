"""Whether the signed heads of a partition hold together, and its leaf file leads through them to where the log stands.

Invariants
1. No head counts but by the signature of a key of the key set, within that key's validity.
2. Each head names the one before it; the first names none.
3. The leaf file gives every head's root, chain value and last offset at its size, and the committed tree at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import ENTRY_BYTES, Entry, Tree, chained, grown, root
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.head import NO_PREVIOUS, SignedHead, head_hash, signed_text
from pipeline.audit.leaf_files import HeadRefused, head_folder, head_paths, leaf_path, read_entries, read_head
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, untrusted

ENTRIES_A_READ: Final = 65_536


class Place(NamedTuple):
    """Where a partition's files stand, and how messages name it."""

    directory: Path
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"partition {self.partition} of {self.topic}"


class Vetted(NamedTuple):
    """heads: oldest first. vouched: the tree size up to which a key that is trusted still vouches for the log."""

    heads: Sequence[SignedHead]
    vouched: int


def vetted_heads(place: Place, keys: KeySet, seen_ms: Mapping[int, int], heads_max: int) -> Vetted:
    """The last `heads_max` heads, each signed and naming the one before. Raises NotContinued.

    seen_ms: when the witness saw the head of a size first. A head of a revoked key stays, but vouches for nothing.
    """
    paths = head_paths(*place)
    heads = [_read(place, path) for path in paths[-heads_max:]]
    before = heads[0].head.previous if heads and len(paths) > len(heads) else NO_PREVIOUS
    vouched, size_before = 0, 0
    for signed in heads:
        head = signed.head
        if head.previous != before:
            raise NotContinued(f"the head of size {head.tree_size} of {place} does not name the one before it")
        if head.tree_size <= size_before:
            raise NotContinued(f"the head of size {head.tree_size} of {place} does not add to the one before it")
        if _is_vouched(place, signed, keys, _seen_ms(seen_ms, head.tree_size)):
            vouched = head.tree_size
        before, size_before = head_hash(head), head.tree_size
    return Vetted(heads, vouched)


def fault(signed: SignedHead, keys: KeySet, seen_at_ms: int | None) -> str | None:
    """Why the signature of a head does not count, or None where it does."""
    head = signed.head
    key = keys.keys.get(signed.key_id)
    if key is not None and not is_signed(key.public, signed_text(head), signed.signature):
        return "its signature does not hold"
    return untrusted(keys, KeyUse.AUDIT, signed.key_id, head.anchored_at_ms, seen_at_ms)


def require_leaves(place: Place, heads: Sequence[SignedHead], tree: Tree, leaves_max: int) -> int:
    """Raise NotContinued where the leaf file leads to another root than a head's, or elsewhere than the committed tree.

    Returns how many leaves were read. Heads before the last leaves_max leaves are taken as they are.
    """
    base = _base(heads, tree.size - leaves_max)
    if base.size == 0 < tree.size - leaves_max and heads and heads[0].head.tree_size <= tree.size:
        base = heads[0].tree
    grown_tree, path = base, leaf_path(*place)
    for signed in heads:
        if signed.head.tree_size > base.size:
            grown_tree = tree_at(path, grown_tree, signed.head.tree_size)
            _require_same(place, signed, grown_tree)
    if grown_tree.size < tree.size:
        grown_tree = tree_at(path, grown_tree, tree.size)
    read = grown_tree.size - base.size
    if grown_tree.size > tree.size:  # a head over more than the database holds, which only a refill may have
        grown_tree = tree_at(path, _base(heads, tree.size), tree.size)
    if grown_tree != tree:
        raise NotContinued(f"the leaf file of {place} leads elsewhere than the log stands, at size {tree.size}")
    return read


def tree_at(path: Path, tree: Tree, size: int) -> Tree:
    """The tree of the file's first `size` entries, from an earlier one."""
    if path.stat().st_size < size * ENTRY_BYTES:
        raise NotContinued(f"{path} holds {path.stat().st_size // ENTRY_BYTES} of {size} leaves")
    for begin in range(tree.size, size, ENTRIES_A_READ):
        tree = _grown(path, tree, list(read_entries(path, begin, min(begin + ENTRIES_A_READ, size))))
    return tree


def proved_entries(place: Place, heads: Sequence[SignedHead], begin: int, end: int) -> Iterator[tuple[Entry, bytes]]:
    """Entries [begin, end) of the leaf file with the chain value after each. The file was checked before."""
    path = leaf_path(*place)
    tree = tree_at(path, _base(heads, begin), begin)
    for first in range(begin, end, ENTRIES_A_READ):
        entries = list(read_entries(path, first, min(first + ENTRIES_A_READ, end)))
        chain_values, tree = chained(tree, entries)
        yield from zip(entries, chain_values, strict=True)


def head_at(place: Place, tree_size: int) -> SignedHead | None:
    """The head of that size among the files; None: there is none."""
    path = head_folder(*place) / f"{tree_size:016}.json"
    return _read(place, path) if path.exists() else None


def _read(place: Place, path: Path) -> SignedHead:
    try:
        signed = read_head(path)
    except HeadRefused as refusal:
        raise NotContinued(str(refusal)) from refusal
    head = signed.head
    if (head.topic, head.partition, head.tree_size) != (place.topic, place.partition, int(path.stem)):
        raise NotContinued(f"{path} holds the head of another place or size")
    return signed


def _is_vouched(place: Place, signed: SignedHead, keys: KeySet, seen_at_ms: int | None) -> bool:
    """Whether a head's key is trusted; False where it was revoked since. Raises NotContinued on any other fault."""
    why = fault(signed, keys, seen_at_ms)
    if why is None:
        return True
    key = keys.keys.get(signed.key_id)
    if key is not None and key.revoked_at_ms is not None:
        unrevoked = KeySet({**keys.keys, key.key_id: key._replace(revoked_at_ms=None)})
        if fault(signed, unrevoked, seen_at_ms) is None:
            return False
    raise NotContinued(f"the head of size {signed.head.tree_size} of {place} does not count: {why}")


def _seen_ms(seen_ms: Mapping[int, int], tree_size: int) -> int | None:
    """When the witness saw this head first, or one that came after it and so covers it."""
    return min((at_ms for size, at_ms in seen_ms.items() if size >= tree_size), default=None)


def _require_same(place: Place, signed: SignedHead, tree: Tree) -> None:
    head = signed.head
    if (root(tree.frontier), tree.chain, tree.last_offset) != (head.root, head.chain, head.last_offset):
        raise NotContinued(f"the leaf file of {place} gives another root than the head of size {head.tree_size}")


def _base(heads: Sequence[SignedHead], size_max: int) -> Tree:
    """The tree of the last head of at most size_max, from which the file is read on; the empty one where none is."""
    return next((signed.tree for signed in reversed(heads) if signed.head.tree_size <= size_max), Tree())


def _grown(path: Path, tree: Tree, entries: list[Entry]) -> Tree:
    offsets = [tree.last_offset, *(entry.offset for entry in entries)]
    if any(after <= before for before, after in pairwise(offsets)):
        raise NotContinued(f"the offsets in {path} do not rise")
    return grown(tree, entries)
