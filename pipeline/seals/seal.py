"""Seals: who wrote a record of decisions.v1, proved by its header SEAL_HEADER.

What a writer appends together becomes a Merkle tree with a leaf for each record; the root is signed once, and each
record bears the signature and the path from its leaf to the root.

Invariants
1. A leaf binds a record's bytes and key to one topic and partition: no other record, place or key has it.
2. A seal leads from a leaf to one root only; a node is never taken for a leaf, nor a leaf for a node.
3. Sealing changes no byte of a record.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pipeline.domain.log import SEAL_HEADER, Header, Outgoing
from pipeline.domain.log import outgoing as outgoing_of

GROUP_MAX: Final = 128
"""Most records under one signature. A signature and its check take 60 to 160 µs together, so less than 1 µs a record;
a larger group lengthens every path by 32 bytes for each doubling."""
DEPTH_MAX: Final = 16
HASH_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">B8s64sH")
_TURNS_BYTES: Final = 2
_PLACE: Final = struct.Struct(">iI")
_SIGNED: Final = b"fraud-seal-v1\n"
HEADS_MAX: Final = 4_096
_leaf_heads: Final[dict[tuple[str, int, int], bytes]] = {}


class Seal(NamedTuple):
    """What a header says. turns: bit n is set where the n-th sibling of the path, nearest first, stands to the left."""

    key_id: str
    signature: bytes
    turns: int
    path: bytes


class Sealer:
    """Seals records of one topic, and puts each on the partition that its seal is for.

    partition_of: the partition of a key. key_id: the signing key's, in hexadecimal.
    """

    def __init__(
        self, topic: str, partition_of: Callable[[bytes], int], key_id: str, sign: Callable[[bytes], bytes]
    ) -> None:
        self.topic, self.key_id = topic, key_id
        self._partition_of, self._key_bytes, self._sign = partition_of, bytes.fromhex(key_id), sign

    def seal(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Return the records in their order, those of the topic with a partition and a seal."""
        topic, partition_of = self.topic, self._partition_of
        places: list[int] = []
        partitions: list[int] = []
        leaves: list[bytes] = []
        for place, record in enumerate(outgoing):
            if record.topic == topic:
                key = record.key
                partition = partition_of(key or b"")
                places.append(place)
                partitions.append(partition)
                leaves.append(leaf_hash(topic, partition, key, record.value))
        sealed = list(outgoing)
        for begin in range(0, len(leaves), GROUP_MAX):
            end = min(begin + GROUP_MAX, len(leaves))
            seals = _sealed(leaves[begin:end], self._key_bytes, self._sign)
            for at in range(begin, end):
                record = sealed[places[at]]
                headers: list[Header] = [(SEAL_HEADER, seals[at - begin])]
                sealed[places[at]] = outgoing_of(topic, record.key, record.value, partitions[at], headers)
        return sealed


def leaf_hash(topic: str, partition: int, key: bytes | None, value: bytes) -> bytes:
    """key: None is told from an empty one."""
    length = -1 if key is None else len(key)
    return hashlib.sha256(_leaf_head(topic, partition, length) + (key or b"") + value).digest()


def _leaf_head(topic: str, partition: int, key_length: int) -> bytes:
    """What stands before key and value; the same few for all records of a process."""
    known = _leaf_heads.get((topic, partition, key_length))
    if known is None:
        where = topic.encode()
        known = b"\0%d:%b" % (len(where), where) + _PLACE.pack(key_length, partition)
        if len(_leaf_heads) >= HEADS_MAX:
            _leaf_heads.clear()
        _leaf_heads[topic, partition, key_length] = known
    return known


def signed_text(root: bytes) -> bytes:
    """The text that a root's signature is made over."""
    return _SIGNED + root


def read_seal(header: bytes) -> Seal | None:
    """None where it is no seal."""
    path_bytes = len(header) - _HEAD.size
    if path_bytes < 0 or path_bytes % HASH_BYTES or path_bytes > DEPTH_MAX * HASH_BYTES:
        return None
    version, key_id, signature, turns = _HEAD.unpack_from(header)
    if version != _VERSION or turns >> (path_bytes // HASH_BYTES):
        return None
    return Seal(key_id.hex(), signature, turns, header[_HEAD.size :])


def root_of(leaf: bytes, seal: Seal) -> bytes:
    """The root that a seal's path leads to."""
    node, turns, path = leaf, seal.turns, seal.path
    for at in range(0, len(path), HASH_BYTES):
        sibling = path[at : at + HASH_BYTES]
        node = _node_hash(sibling, node) if turns & 1 else _node_hash(node, sibling)
        turns >>= 1
    return node


def _sealed(leaves: list[bytes], key_id: bytes, sign: Callable[[bytes], bytes]) -> list[bytes]:
    """A header for each leaf, of which there are GROUP_MAX at most."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        levels.append(_level_above(levels[-1]))
    signature = sign(signed_text(levels[-1][0]))
    turns, paths = [0], [b""]
    for level in reversed(levels[:-1]):  # from the root down: a node's path is its sibling, then its parent's path
        turns, paths = _steps_down(level, turns, paths)
    head = _HEAD.pack(_VERSION, key_id, signature, 0)[:-_TURNS_BYTES]
    return [head + turns[at].to_bytes(_TURNS_BYTES, "big") + paths[at] for at in range(len(leaves))]


def _level_above(level: list[bytes]) -> list[bytes]:
    """A node without a partner goes up as it is."""
    above = [_node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _steps_down(level: list[bytes], turns: list[int], paths: list[bytes]) -> tuple[list[int], list[bytes]]:
    """Turns and paths of a level's nodes, from those of the level above."""
    own_turns: list[int] = []
    own_paths: list[bytes] = []
    for at in range(0, len(level) - 1, 2):
        turn, path = turns[at >> 1] << 1, paths[at >> 1]
        own_turns.append(turn)
        own_turns.append(turn | 1)
        own_paths.append(level[at + 1] + path)
        own_paths.append(level[at] + path)
    if len(level) % 2:
        own_turns.append(turns[-1])
        own_paths.append(paths[-1])
    return own_turns, own_paths


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
