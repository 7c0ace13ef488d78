"""What aiokafka reads is bounded: a batch that unpacks to too much is passed over record by record, never unpacked."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiokafka  # type: ignore[import-untyped]
import cramjam
import faust
import pytest
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped]
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.log import UNREADABLE
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka import bounded_records
from pipeline.io.kafka.bounded_records import GZIP, LZ4, SNAPPY, ZSTD, BoundedRecords, is_bounded, plain_records
from pipeline.io.kafka.context_transport import read_committed
from tests.servers import unused_prefix

MEGABYTES = 1 << 20
ROOM = 200_000
PACKED = {GZIP: cramjam.gzip, LZ4: cramjam.lz4, ZSTD: cramjam.zstd}
MODULES: dict[int, Any] = {**PACKED, SNAPPY: SimpleNamespace(compress=cramjam.snappy.compress_raw)}


def _batch(values: list[bytes], codec: int, base: int, *, is_transactional: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, int(is_transactional), 7 if is_transactional else -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, 1, b"key", value, [])
    packed = bytearray(builder.build())
    packed[:8] = struct.pack(">q", base)
    return bytes(packed)


def _values(answered: bytes) -> dict[int, bytes]:
    records, found = BoundedRecords(answered, ROOM), dict[int, bytes]()
    while records.has_next():
        batch = records.next_batch()
        found |= {record.offset: record.value for record in iter(batch)}
        assert max(found) + 1 == batch.next_offset
    return found


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_a_batch_that_unpacks_to_too_much_is_unreadable_and_those_beside_it_are_not(codec: int) -> None:
    bomb = _batch([bytes(ROOM // 2)] * 3, codec, 1)
    assert len(bomb) < ROOM // 50
    found = _values(_batch([b"before"], codec, 0) + bomb + _batch([b"behind", b"last"], codec, 4))
    assert list(found) == [0, 1, 2, 3, 4, 5]
    assert [found[0], found[4], found[5]] == [b"before", b"behind", b"last"]
    assert all(found[offset] is UNREADABLE for offset in (1, 2, 3))


@pytest.mark.parametrize("codec", [0, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_batch_within_the_bound_is_read_whatever_packs_it(codec: int) -> None:
    values = [bytes(ROOM // 4), b"", b"sound"]
    assert list(_values(_batch(values, codec, 3)).values()) == values


def test_of_zstd_as_much_is_unpacked_as_the_library_makes_room_for() -> None:
    """It takes three times as much until it suffices, from twice the packed bytes where the frame says nothing."""
    compressor = cramjam.zstd.Compressor()
    compressor.compress(os.urandom(1_000) + bytes(ROOM // 3))
    silent = memoryview(bytes(compressor.finish()))
    assert 1_000 < len(silent) < 1_100
    for most, fits in ((2 * len(silent) * 81, True), (2 * len(silent) * 81 - 1, False)):
        assert is_bounded(ZSTD, silent, most) is fits


@pytest.mark.parametrize("codec", [GZIP, LZ4])
def test_the_bound_is_exact(codec: int) -> None:
    for size, fits in ((ROOM, True), (ROOM + 1, False)):
        assert is_bounded(codec, memoryview(bytes(PACKED[codec].compress(bytes(size)))), ROOM) is fits


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_frames_in_a_row_count_together(codec: int) -> None:
    frames = bytes(PACKED[codec].compress(bytes(ROOM // 2))) * 3
    assert not is_bounded(codec, memoryview(frames), ROOM) or codec == LZ4  # whose reader takes the first frame alone


def test_what_compaction_leaves_of_a_batch_is_no_record() -> None:
    emptied = bytearray(_batch([b"gone"], ZSTD, 5)[:61])
    emptied[8:12], emptied[57:61] = struct.pack(">i", 61 - 12), struct.pack(">i", 0)
    records = BoundedRecords(bytes(emptied), ROOM)
    assert not isinstance(records.next_batch(), bounded_records.UnreadableBatch)


def test_a_batch_of_a_transaction_stays_one() -> None:
    batch = BoundedRecords(_batch([bytes(ROOM)] * 2, GZIP, 0, is_transactional=True), ROOM).next_batch()
    assert isinstance(batch, bounded_records.UnreadableBatch)
    assert (batch.is_transactional, batch.producer_id, batch.is_control_batch) == (True, 7, False)


def _mixed(codec: int, kind: int = 0) -> bytes:
    """A batch of four records; the name of the second one's first header is no UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    builder.append(0, 1_000, b"key", b"first", [("seal", b"s")])
    builder.append(1, 900, None, b"second", [("zz", b""), ("seal", b"s")])
    builder.append(2, 1_300, b"k" * 300, None, [("seal", None)])
    builder.append(3, 1_200, b"", b"", [])
    plain = bytes(builder.build()).replace(b"zz", b"\xff\xfe")
    body = plain[61:] if codec == 0 else bytes(MODULES[codec].compress(plain[61:]))
    head = bytearray(plain[:61])
    head[8:12], head[22] = struct.pack(">i", 61 - 12 + len(body)), codec | kind << 3
    return bytes(head) + body


@pytest.mark.parametrize("codec", [0, GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_name_that_nobody_can_read_hides_the_headers_of_its_record_alone(codec: int, kind: int) -> None:
    """The broker stamps a batch whole (`kind` 1), a publisher each record."""
    times = [1_300] * 4 if kind else [1_000, 900, 1_300, 1_200]
    found = list(BoundedRecords(_mixed(codec, kind), ROOM).next_batch())
    assert times == [record.timestamp for record in found]
    assert {kind} == {record.timestamp_type for record in found}
    assert [
        (0, b"key", b"first", [("seal", b"s")]), (1, None, b"second", []),
        (2, b"k" * 300, None, [("seal", None)]), (3, b"", b"", []),
    ] == [(record.offset, record.key, record.value, list(record.headers)) for record in found]  # fmt: skip


def test_records_of_sound_names_are_aiokafkas_own() -> None:
    sound = _mixed(0).replace(b"\xff\xfe", b"zz")
    fields = ("offset", "timestamp", "timestamp_type", "key", "value", "headers")
    theirs = [[getattr(record, field) for field in fields] for record in BoundedRecords(sound, ROOM).next_batch()]
    ours = [[getattr(record, field) for field in fields] for record in plain_records(memoryview(sound))]
    assert theirs == ours


def test_context_agents_read_on_behind_a_name_that_nobody_can_read(stack: EmbeddedStack) -> None:
    prefix, before = unused_prefix(), fetcher.MemoryRecords
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}risk_signals.v1"
    for _ in range(3):
        subprocess.run(
            [sys.executable, "-m", "tests.seals.raw_producer", stack.bootstrap_servers, topic, "0"],
            check=True, env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}, timeout=300,
        )  # fmt: skip
    read_committed(faust.App("named", broker=f"kafka://{stack.bootstrap_servers}"))
    try:
        assert [b"garbage"] * 3 == asyncio.run(_read(stack.bootstrap_servers, topic))
    finally:
        fetcher.MemoryRecords = before


@pytest.fixture
def topic(stack: EmbeddedStack) -> Iterator[str]:
    """With two sound records, one of a batch that weighs some KB and unpacks to 105 MB, and one sound record."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic, before = f"{prefix}risk_signals.v1", fetcher.MemoryRecords
    for value, compression in ((b"sound", "none"), (bytes(105 * MEGABYTES), "zstd"), (b"sound", "none")):
        tuning = {"message.max.bytes": 1_000_000_000, "queue.buffering.max.kbytes": 1_000_000}
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "compression.type": compression, **tuning})
        producer.produce(topic, value, b"key", 0)
        assert producer.flush(120) == 0
    yield topic
    fetcher.MemoryRecords = before


def test_context_agents_read_on_behind_such_a_batch(stack: EmbeddedStack, topic: str) -> None:
    read_committed(faust.App("bounded", broker=f"kafka://{stack.bootstrap_servers}"))
    values = asyncio.run(_read(stack.bootstrap_servers, topic))
    assert [b"sound", b"sound"] == [values[0], values[2]]
    assert values[1] is UNREADABLE
    refused = WireFormat().decode_risk_signal(values[1])
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.RECORD_UNREADABLE


async def _read(servers: str, topic: str) -> list[bytes]:
    """Read as Faust's own consumer does."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", group_id=None)
    await consumer.start()
    try:
        consumer.assign([aiokafka.TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(300):
            return [(await consumer.getone()).value for _ in range(3)]
    finally:
        await consumer.stop()
