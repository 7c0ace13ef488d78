"""Records of raw bytes, as aiokafka reads them, with a bound to what a batch may unpack to.

A batch of some KB may unpack to gigabytes, and aiokafka unpacks whatever comes. One that comes to more than
UNPACKED_BYTES_MAX, or can't be unpacked at all, is read as records that are UNREADABLE, one for each of its offsets,
as the library's are (`unreadable`). So every reader makes the same of it.

Nor does it read a header whose name is no UTF-8: it raises, each time that it comes to such a record. Here a record
with one has no headers, as the library's have none (`client.ordered_headers`).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import cramjam
import structlog
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode  # type: ignore[import-untyped]  # no types
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]  # it ships without types

from pipeline.domain.log import UNREADABLE
from pipeline.io.kafka.unreadable import HEAVY

UNPACKED_BYTES_MAX: Final = 100_000_000
"""What librdkafka unpacks of zstd at most (`receive.message.max.bytes`), so that all readers bound alike."""
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
UNPACKED_FOR_ONE: Final = {0: 1, GZIP: 1_032, SNAPPY: 22, LZ4: 255}
"""Most bytes that one packed byte unpacks to, by codec: DEFLATE's and LZ4's own limits, and Snappy's, whose
shortest copy is of 64 bytes in 3. A batch that stays within the bound by this needn't be unpacked to be weighed."""
USUAL_FOR_ONE: Final = 64
"""So much is tried first: to map room for the bound takes a millisecond."""
_WHOLE: Final = {0: bytes, GZIP: gzip_decode, SNAPPY: snappy_decode, LZ4: lz4_decode, ZSTD: zstd_decode}
_CODECS: Final = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}

_ROOM_STEP_BYTES: Final = 4_000
_FRAME_HEAD_BYTES_MAX: Final = 18
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
"""The head of a batch: base offset, length, leader epoch, format, CRC, attributes, the last record's offset from the
base, two times, producer, its epoch, sequence, and how many records there are."""
_BEHIND_LENGTH: Final = 12
_FORMAT: Final = 2
_CODEC: Final = 0b111
_IS_STAMPED_BY_BROKER: Final = 0b1000
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


class PlainRecord(NamedTuple):
    """A record as it was read here, with what aiokafka asks of one."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: None = None


class NamedAnyhow:
    """A batch of aiokafka's, whose records may have headers of any name."""

    def __init__(self, batch: Batch, packed: memoryview) -> None:
        self._batch, self._packed = batch, packed
        self.base_offset, self.next_offset, self.producer_id = batch.base_offset, batch.next_offset, batch.producer_id
        self.is_transactional, self.is_control_batch = batch.is_transactional, False

    def validate_crc(self) -> bool:
        return self._batch.validate_crc()

    def __iter__(self) -> Iterator[Any]:
        given_to = self.base_offset
        try:
            for record in self._batch:
                given_to = record.offset + 1
                yield record
        except UnicodeDecodeError:
            yield from (record for record in plain_records(self._packed) if record.offset >= given_to)


class BoundedRecords:
    """The batches of a broker's answer, in the place of aiokafka's MemoryRecords."""

    def __init__(self, answered: bytes, unpacked_bytes_max: int | None = None) -> None:
        """unpacked_bytes_max: None stands for UNPACKED_BYTES_MAX."""
        self._records, self._answered, self._at = MemoryRecords(answered), answered, 0
        self._unpacked_bytes_max = UNPACKED_BYTES_MAX if unpacked_bytes_max is None else unpacked_bytes_max

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Batch | UnreadableBatch | NamedAnyhow:
        batch: Batch = self._records.next_batch()
        packed = next(packed_batches(self._answered, self._at))
        self._at += len(packed)
        head = _head(packed)
        if head is None or head.is_control or head.records == 0:  # compaction leaves batches without records
            return batch
        if is_bounded(head.codec, packed[_HEADER.size :], self._unpacked_bytes_max):
            return NamedAnyhow(batch, packed)
        HEAVY.set_to_current_time()
        log.error("records_unreadable", first=head.base, last=head.base + head.last, packed_bytes=len(packed))
        return UnreadableBatch(head.base, head.base + head.last + 1, head.producer, head.is_transactional)


def packed_batches(answered: bytes, at: int = 0) -> Iterator[memoryview]:
    """Yield the bytes of each batch that is there to its end, from one that begins at `at` on."""
    whole = memoryview(answered)
    while at + _BEHIND_LENGTH <= len(whole):
        end = at + _BEHIND_LENGTH + struct.unpack_from(">i", whole, at + 8)[0]
        if end > len(whole):
            return
        yield whole[at:end]
        at = end


def next_offset_of(packed: memoryview) -> int:
    """Return the offset behind a batch; of a format of before 2017 that is its first one, and it is read again."""
    head = _head(packed)
    return struct.unpack_from(">q", packed)[0] if head is None else head.base + head.last + 1


def records_of_batch(packed: memoryview) -> int:
    """Return how many records a batch has, which the broker has counted."""
    head = _head(packed)
    return 0 if head is None else head.records


def unpacked_bytes(packed: memoryview, room_bytes: int) -> int:
    """Return what a batch comes to, or more; what can't be unpacked into the room comes to one byte more than that."""
    head = _head(packed)
    if head is None or head.records == 0 or head.codec == 0:
        return len(packed)
    body = packed[_HEADER.size :]
    if head.codec == SNAPPY:
        return len(body) * UNPACKED_FOR_ONE[SNAPPY]
    return room_bytes + 1 if (came_to := _unpacked(head.codec, body, room_bytes)) is None else came_to


def is_bounded(codec: int, body: memoryview, unpacked_bytes_max: int) -> bool:
    """Tell whether a batch's body can be unpacked, and comes to so much at most; no more than that is unpacked."""
    for_one = UNPACKED_FOR_ONE.get(codec)
    if for_one is not None and len(body) * for_one <= unpacked_bytes_max:
        return True
    if codec == ZSTD:
        unpacked_bytes_max = _room_of_zstd(body, unpacked_bytes_max)
    usual = min(len(body) * USUAL_FOR_ONE, unpacked_bytes_max)
    return any(_unpacked(codec, body, room_bytes) is not None for room_bytes in (usual, unpacked_bytes_max))


def _room_of_zstd(body: memoryview, unpacked_bytes_max: int) -> int:
    """Return the most that librdkafka makes room for: it begins with what the frame says that it comes to, or else with
    twice what it weighs, and takes three times as much until it suffices. So every reader passes over the same."""
    room_bytes = _said_of_frame(body) or 2 * len(body)
    if room_bytes > unpacked_bytes_max:
        return 0
    while (more_bytes := room_bytes + max(2 * room_bytes, _ROOM_STEP_BYTES)) <= unpacked_bytes_max:
        room_bytes = more_bytes
    return room_bytes


def _said_of_frame(body: memoryview) -> int | None:
    """Return what a frame of zstd (RFC 8878, 3.1.1.1) says that it comes to; None where it doesn't."""
    if len(body) < _FRAME_HEAD_BYTES_MAX:
        return None
    descriptor = body[4]
    is_single, flag = bool(descriptor & 0x20), descriptor >> 6
    size = (int(is_single), 2, 4, 8)[flag]
    at = 5 + int(not is_single) + (0, 1, 2, 4)[descriptor & 0x3]
    return int.from_bytes(body[at : at + size], "little") + (256 if size == 2 else 0) if size else None


def plain_records(packed: memoryview) -> Iterator[PlainRecord]:
    """Yield the records of a batch that is bounded, by the layout that Kafka's documentation gives of them."""
    _, _, _, _, _, attributes, _, base_ms, newest_ms, _, _, _, records = _HEADER.unpack_from(packed)
    base, kind = struct.unpack_from(">q", packed)[0], int(bool(attributes & _IS_STAMPED_BY_BROKER))
    body, at = bytes(_WHOLE[attributes & _CODEC](packed[_HEADER.size :])), 0
    for _ in range(records):
        length, at = _number(body, at)
        end = at + length
        delta_ms, at = _number(body, at + 1)  # behind the record's attributes, of which none is in use
        offset, at = _number(body, at)
        key, at = _bytes(body, at)
        value, at = _bytes(body, at)
        yield PlainRecord(
            base + offset, newest_ms if kind else base_ms + delta_ms, kind, key, value, _headers(body, at)
        )  # fmt: skip
        at = end


def _headers(body: bytes, at: int) -> Sequence[tuple[str, bytes | None]]:
    count, at = _number(body, at)
    headers = list[tuple[str, bytes | None]]()
    for _ in range(count):
        name, at = _bytes(body, at)
        value, at = _bytes(body, at)
        try:
            headers.append(((name or b"").decode(), value))
        except UnicodeDecodeError:
            return ()
    return headers


def _bytes(body: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _number(body, at)
    return (None, at) if length < 0 else (body[at : at + length], at + length)


def _number(body: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, zigzag as Avro's, and where the next field begins."""
    value = shift = 0
    while body[at] & 0x80:
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    value |= body[at] << shift
    return (value >> 1) ^ -(value & 1), at + 1


class _Head(NamedTuple):
    base: int
    last: int  # the last record's offset from the base
    codec: int
    is_transactional: bool
    is_control: bool
    producer: int
    records: int


def _head(packed: memoryview) -> _Head | None:
    if len(packed) < _HEADER.size or packed[16] != _FORMAT:
        return None  # a format of before 2017, which brokers of today no longer keep
    base, _, _, _, _, attributes, last, _, _, producer, _, _, records = _HEADER.unpack_from(packed)
    is_transactional, is_control = bool(attributes & _IS_TRANSACTIONAL), bool(attributes & _IS_CONTROL)
    return _Head(base, last, attributes & _CODEC, is_transactional, is_control, producer, records)


def _unpacked(codec: int, body: memoryview, room_bytes: int) -> int | None:
    """Return how many bytes a body comes to; None where they don't fit into the room, or can't be had."""
    if codec not in _CODECS or room_bytes <= 0:
        return None
    # Anonymous memory takes nothing until it is written, where a bytearray of this size takes 0.4 s to be cleared.
    with mmap.mmap(-1, room_bytes) as room:
        try:
            return int(_CODECS[codec].decompress_into(body, room))
        except cramjam.DecompressionError:
            return None
