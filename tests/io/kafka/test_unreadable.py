"""A batch that unpacks to more than a reader may hold is passed over record by record, and what is behind it read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import closing

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.log import UNREADABLE, Record
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog, undecoded
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from pipeline.io.kafka.unreadable import Unreadable
from tests.servers import unused_prefix

MEGABYTES = 1 << 20
BOMB_RECORDS = 25
BOMB = range(2, 2 + BOMB_RECORDS)
"""The offsets of a batch that weighs some KB and unpacks to 150 MB."""
ALONE = 28
END = 30
A_BATCH = 10
WAIT_S = 120.0


@pytest.fixture(scope="module")
def topic(stack: EmbeddedStack) -> str:
    """With two records, the bomb, one record, a bomb of one record, and one record, in partition 0."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"
    _publish(stack.bootstrap_servers, topic, [b"sound", b"sound"], "none")
    _publish(stack.bootstrap_servers, topic, [bytes(6 * MEGABYTES)] * BOMB_RECORDS, "zstd")
    _publish(stack.bootstrap_servers, topic, [b"sound"], "none")
    _publish(stack.bootstrap_servers, topic, [bytes(150 * MEGABYTES)], "zstd")
    _publish(stack.bootstrap_servers, topic, [b"sound"], "none")
    return topic


def _publish(bootstrap_servers: str, topic: str, values: list[bytes], compression: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "compression.type": compression,
            "message.max.bytes": 1_000_000_000,
            "batch.size": 1_000_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "linger.ms": 60_000,
        }
    )
    producer.list_topics(topic, WAIT_S)  # what waits for a partition moves there one by one, and the first may go alone
    for value in values:
        producer.produce(topic, value, b"account", 0)
    assert producer.flush(WAIT_S) == 0


def _is_as_published(records: dict[int, bytes | None]) -> bool:
    hidden = {*BOMB, ALONE}
    return list(records) == list(range(END)) and all(
        (value is UNREADABLE) is (offset in hidden) and (offset in hidden or value == b"sound")
        for offset, value in records.items()
    )


def _log(servers: str, topic: str) -> TransactionLog:
    return TransactionLog(
        servers, topic, topic, 0, batch_records_max=A_BATCH, session_timeout_ms=6_000,
        transaction_timeout_ms=10_000, options={},
    )  # fmt: skip


async def _read(servers: str, topic: str, until: int) -> dict[int, bytes | None]:
    """Read and commit as a worker does, up to the offset `until` at least."""
    log, batches, failures = _log(servers, topic), asyncio.Queue[Batch](), list[BaseException]()
    read: dict[int, bytes | None] = {}
    fenced = log.fence()
    log.join()
    log.start(batches.put_nowait, failures.append)
    await fenced
    try:
        while len(read) < until and max(read, default=0) < END - 1:
            batch = await asyncio.wait_for(batches.get(), WAIT_S)
            assert [span.start_offset for span in batch.spans] == [batch.records[0].source.offset]
            read |= {record.source.offset: record.value for record in batch.records}
            assert await log.commit(batch, [])
            log.release()
    finally:
        await log.stop()
    assert failures == []
    return read


def test_a_worker_reads_what_stands_behind_a_batch_that_cannot_be_unpacked(stack: EmbeddedStack, topic: str) -> None:
    assert _is_as_published(asyncio.run(_read(stack.bootstrap_servers, topic, END)))


@pytest.mark.parametrize("most", [1, 1_000])
def test_a_rebuild_reads_each_record_of_it_in_its_place(stack: EmbeddedStack, topic: str, most: int) -> None:
    read: dict[int, bytes | None] = {}
    with closing(LogReader(stack.bootstrap_servers, "fraud-command", {})) as reader:
        first = 0
        while first < END:
            found = reader.read_range(topic, 0, first, None, most, _itself)
            read |= {record.source.offset: record.value for record in found.taken}
            first = found.end_offset
        assert [b"sound"] == [record.value for record in reader.read_range(topic, 0, 27, 28, 5, _itself).taken]
        assert [UNREADABLE] == [record.value for record in reader.read_range(topic, 0, 10, 11, 5, _itself).taken]
        assert END == len(list(reader.read(topic, {0: 0})))
    assert _is_as_published(read)


@pytest.mark.parametrize("stored", [0, 10])
def test_a_service_reads_on_behind_it_from_wherever_it_stood(stack: EmbeddedStack, topic: str, stored: int) -> None:
    def positions(partitions: Iterable[int]) -> dict[int, int]:
        return {partition: stored if partition == 0 else 0 for partition in partitions}

    read: dict[int, bytes | None] = {}
    log = PositionedLog(
        stack.bootstrap_servers, topic, undecoded, unused_prefix(), slot=0, positions=positions, options={}
    )  # fmt: skip
    with closing(log):
        deadline_s = time.monotonic() + WAIT_S
        while END - 1 not in read:
            assert time.monotonic() < deadline_s, f"it came to {max(read, default=None)}"
            batch = log.read(A_BATCH, 0.2)
            assert len(batch.records) <= A_BATCH
            read |= {record.offset: record.value for record in batch.records if record.partition == 0}
    assert _is_as_published({offset: b"sound" if offset < 2 else UNREADABLE for offset in range(stored)} | read)


@pytest.mark.parametrize(("base", "end"), [(BOMB.start, BOMB.stop), (ALONE, ALONE + 1)])
def test_the_end_of_such_a_batch_is_found(stack: EmbeddedStack, topic: str, base: int, end: int) -> None:
    options = {"fetch.max.bytes": "60000000", "receive.message.max.bytes": "90000000"}
    for each in ({}, options):
        assert end == Unreadable(stack.bootstrap_servers, "fraud-command", each).end_of(topic, 0, base)


def test_such_a_record_is_refused_as_that_and_the_bytes_of_its_mark_are_not() -> None:
    decode = WireFormat().decode_transaction
    refused, published = decode(UNREADABLE), decode(bytes(bytearray(UNREADABLE)))
    assert isinstance(refused, Refusal)
    assert isinstance(published, Refusal)
    assert (refused.code, published.code) == (RefusalCode.RECORD_UNREADABLE, RefusalCode.FRAMING_UNKNOWN)


def _itself(record: Record) -> Record:
    return record
