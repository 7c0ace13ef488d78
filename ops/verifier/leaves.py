"""Leaf files, which hold 48 bytes a record, and the hashes over them (RFC 6962, and a chain)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

ZEROS: Final = bytes(32)
_ENTRY: Final = struct.Struct(">Qq32s")
_PLACE: Final = struct.Struct(">IQqq")


class Times(NamedTuple):
    """The broker's time of a record and the time under which it is filed, in milliseconds since 1970."""

    logged_at_ms: int
    filed_at_ms: int


class Entry(NamedTuple):
    offset: int
    recorded_at_us: int
    leaf: bytes


def read_leaves(path: Path) -> list[Entry]:
    """Read the whole entries; one that is just being written is not there yet."""
    content = path.read_bytes()
    return [Entry(*fields) for fields in _ENTRY.iter_unpack(content[: len(content) // _ENTRY.size * _ENTRY.size])]


def leaf_hash(partition: int, offset: int, times: Times, record: bytes) -> bytes:
    return hashlib.sha256(b"\0" + _PLACE.pack(partition, offset, *times) + record).digest()


def aside_leaf_hash(partition: int, offset: int, times: Times, statement: bytes, record: bytes) -> bytes:
    """Return the leaf of a record that was put aside; `statement` says by whom and why."""
    why = hashlib.sha256(statement).digest()
    return hashlib.sha256(b"\3" + _PLACE.pack(partition, offset, *times) + why + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def chain_values(entries: Iterable[Entry]) -> list[bytes]:
    """Return the chain value after each of `entries`."""
    _, *values = accumulate(entries, _linked, initial=ZEROS)
    return values


def roots(entries: Sequence[Entry], sizes: set[int]) -> dict[int, bytes]:
    """Return the root of the Merkle tree at each of `sizes` that the entries reach."""
    frontier: list[bytes] = []
    found = {}
    for number, entry in enumerate(entries):
        leaf, rest = entry.leaf, number
        while rest & 1:
            leaf, rest = node_hash(frontier.pop(), leaf), rest >> 1
        frontier.append(leaf)
        if number + 1 in sizes:
            found[number + 1] = _folded(frontier)
    return found


def _linked(previous: bytes, entry: Entry) -> bytes:
    return hashlib.sha256(b"\2" + previous + _ENTRY.pack(*entry)).digest()


def _folded(frontier: Sequence[bytes]) -> bytes:
    found = frontier[-1]
    for subtree in reversed(frontier[:-1]):
        found = node_hash(subtree, found)
    return found
