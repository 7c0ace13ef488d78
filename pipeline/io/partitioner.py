"""The partition that a key belongs to: every payment of an account stands on one, or its windows would be halved.

Invariants
1. `Partitioning.of` gives the partition that a producer with the same partitioner chooses: librdkafka's
   `consistent_random` for CRC32, and for MURMUR2 Java's default partitioner and librdkafka's `murmur2_random`.
2. Two partitionings give a key the same partition only by chance; so a record on another partition than its own says
   that its producer is set up otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zlib import crc32

KEYS_CACHED: Final = 131_072
"""Most keys whose murmur2 hash is cached: one takes 3 µs to compute, and accounts come again. About 15 MB."""
_WORD: Final = 0xFFFF_FFFF
_POSITIVE: Final = 0x7FFF_FFFF
_MULTIPLIER: Final = 0x5BD1_E995
_SEED: Final = 0x9747_B28C


class Partitioner(StrEnum):
    CRC32 = "crc32"  # the default of librdkafka's clients: C, Python, Go, .NET
    MURMUR2 = "murmur2"  # the default of Java's client and of kafkajs

    @property
    def librdkafka_name(self) -> str:
        return "consistent_random" if self is Partitioner.CRC32 else "murmur2_random"


class Partitioning:
    """A topic's partitioner and its number of partitions."""

    def __init__(self, partitioner: Partitioner, partitions: int) -> None:
        assert partitions > 0, "a topic has a partition"
        self.partitioner, self.partitions = partitioner, partitions
        self._hash: Callable[[bytes], int] = crc32 if partitioner is Partitioner.CRC32 else _positive_murmur2

    def of(self, key: bytes) -> int:
        """Return the partition of a key, which is not empty: an empty one is put anywhere."""
        return self._hash(key) % self.partitions


def murmur2(key: bytes) -> int:
    """Return the 32-bit hash of Kafka's `Utils.murmur2`, unsigned."""
    length = len(key)
    whole = length & ~3
    mixed = _SEED ^ length
    for place in range(0, whole, 4):
        word = int.from_bytes(key[place : place + 4], "little") * _MULTIPLIER & _WORD
        word = (word ^ word >> 24) * _MULTIPLIER & _WORD
        mixed = mixed * _MULTIPLIER & _WORD ^ word
    if whole < length:
        mixed = (mixed ^ int.from_bytes(key[whole:], "little")) * _MULTIPLIER & _WORD
    mixed = (mixed ^ mixed >> 13) * _MULTIPLIER & _WORD
    return mixed ^ mixed >> 15


@lru_cache(KEYS_CACHED)
def _positive_murmur2(key: bytes) -> int:
    return murmur2(key) & _POSITIVE
