"""Records of raw bytes, as aiokafka reads them, with a bound to what a batch may unpack to.

A batch of some KB may unpack to gigabytes, and aiokafka unpacks whatever comes. One that comes to more than
UNPACKED_BYTES_MAX, or can't be unpacked at all, is read as records that are UNREADABLE, one for each of its offsets,
as the library's are (`unreadable`). So every reader makes the same of it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cramjam
import structlog
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]  # it ships without types

from pipeline.domain.log import UNREADABLE

UNPACKED_BYTES_MAX: Final = 100_000_000
"""What librdkafka unpacks of zstd at most (`receive.message.max.bytes`), so that all readers bound alike."""
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
UNPACKED_FOR_ONE: Final = {0: 1, GZIP: 1_032, SNAPPY: 64, LZ4: 255}
"""Most bytes that one packed byte unpacks to, by codec: DEFLATE's and LZ4's own limits, and above Snappy's, whose
shortest copy is of 64 bytes in 3. A batch that stays within the bound by this needn't be unpacked to be weighed."""
USUAL_FOR_ONE: Final = 64
"""So much is tried first: to map room for the bound takes a millisecond."""
_CODECS: Final = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
"""The head of a batch: base offset, length, leader epoch, format, CRC, attributes, the last record's offset from the
base, two times, producer, its epoch, sequence, and how many records there are."""
_BEHIND_LENGTH: Final = 12
_FORMAT: Final = 2
_CODEC: Final = 0b111
_IS_TRANSACTIONAL: Final = 0b1_0000
_IS_CONTROL: Final = 0b10_0000
_NO_TIME_MS: Final = -1

log = structlog.get_logger("kafka")


class Batch(Protocol):
    """What aiokafka asks of a batch."""

    base_offset: int
    next_offset: int
    producer_id: int
    is_transactional: bool
    is_control_batch: bool

    def validate_crc(self) -> bool: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record of a batch that is not unpacked, with what aiokafka asks of one."""

    offset: int
    timestamp: int = _NO_TIME_MS
    timestamp_type: int = 0
    key: None = None
    value: bytes = UNREADABLE
    checksum: None = None
    headers: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class UnreadableBatch:
    base_offset: int
    next_offset: int
    producer_id: int
    is_transactional: bool
    is_control_batch: bool = False

    def validate_crc(self) -> bool:
        return True  # nothing of it is used but its place, by which the broker found it

    def __iter__(self) -> Iterator[UnreadableRecord]:
        return map(UnreadableRecord, range(self.base_offset, self.next_offset))


class BoundedRecords:
    """The batches of a broker's answer, in the place of aiokafka's MemoryRecords."""

    def __init__(self, answered: bytes, unpacked_bytes_max: int = UNPACKED_BYTES_MAX) -> None:
        self._records = MemoryRecords(answered)
        self._answered, self._at, self._unpacked_bytes_max = answered, 0, unpacked_bytes_max

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Batch | UnreadableBatch:
        batch: Batch = self._records.next_batch()
        packed = memoryview(self._answered)[self._at :]
        length: int = struct.unpack_from(">i", packed, 8)[0]
        self._at += _BEHIND_LENGTH + length
        return self._in_its_place(packed[: _BEHIND_LENGTH + length]) or batch

    def _in_its_place(self, packed: memoryview) -> UnreadableBatch | None:
        """Return what stands for a batch that is not to be unpacked; None for one that may be."""
        if len(packed) < _HEADER.size or packed[16] != _FORMAT:
            return None  # a format of before 2017, which brokers of today no longer keep
        base, _, _, _, _, attributes, last, _, _, producer, _, _, records = _HEADER.unpack_from(packed)
        if records == 0 or attributes & _IS_CONTROL:
            return None  # what a topic's compaction leaves of a batch has no records, and a marker is the broker's own
        if is_bounded(attributes & _CODEC, packed[_HEADER.size :], self._unpacked_bytes_max):
            return None
        log.error("records_unreadable", first=base, last=base + last, packed_bytes=len(packed))
        return UnreadableBatch(base, base + last + 1, producer, bool(attributes & _IS_TRANSACTIONAL))


def is_bounded(codec: int, body: memoryview, unpacked_bytes_max: int) -> bool:
    """Tell whether a batch's body can be unpacked, and comes to so much at most; no more than that is unpacked."""
    for_one = UNPACKED_FOR_ONE.get(codec)
    if for_one is not None and len(body) * for_one <= unpacked_bytes_max:
        return True
    if codec not in _CODECS:
        return False
    return any(
        _fits(codec, body, room) for room in (min(len(body) * USUAL_FOR_ONE, unpacked_bytes_max), unpacked_bytes_max)
    )


def _fits(codec: int, body: memoryview, room_bytes: int) -> bool:
    with mmap.mmap(-1, room_bytes) as room:
        try:
            _CODECS[codec].decompress_into(body, room)
        except cramjam.DecompressionError:
            return False
    return True
