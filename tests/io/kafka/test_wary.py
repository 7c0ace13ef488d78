"""Whoever sends what is heavy ends no reader twice, holds up no other partition, and hides nothing behind it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.log import UNREADABLE, Record
from pipeline.io.kafka import bounded_records, look_ahead
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.look_ahead import LookAhead
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from tests.servers import unused_prefix

MEGABYTES = 1 << 20
WAIT_S = 60.0
HEAVY = [bytes(MEGABYTES)] * 14
"""With the bounds of these tests it is heavy, and may be unpacked."""
BOMB = [bytes(6 * MEGABYTES)] * 4
"""It may not. The library alone would hand its records out."""
A_BATCH = 10


@pytest.fixture(scope="module", autouse=True)
def _bounds() -> Iterator[None]:
    """A fifth of what they are, so that batches are soon packed."""
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((look_ahead, "HEAVY_BYTES"), (look_ahead, "LARGE_BYTES")):
            patched.setattr(module, name, getattr(module, name) // 5)
        patched.setattr(bounded_records, "UNPACKED_BYTES_MAX", bounded_records.UNPACKED_BYTES_MAX // 5)
        yield


@pytest.fixture
def topic(stack: EmbeddedStack) -> str:
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    return f"{prefix}transactions.v1"


def _publish(servers: str, topic: str, partition: int, values: list[bytes]) -> None:
    tuning = {"message.max.bytes": 1_000_000_000, "batch.size": 1_000_000_000, "linger.ms": 60_000}
    size = {"queue.buffering.max.kbytes": 1_000_000, "compression.type": "gzip", "batch.num.messages": 1_000_000}
    many = {"queue.buffering.max.messages": 1_000_000}
    producer = Producer({"bootstrap.servers": servers, **tuning, **size, **many})
    producer.list_topics(topic, WAIT_S)  # what waits for a partition moves there one by one, and the first may go alone
    for value in values:
        producer.produce(topic, value, b"account", partition)
    assert producer.flush(WAIT_S) == 0


Place = tuple[int, int]


class Reading:
    """A worker's log that is read and committed, with what it read in the order of reading."""

    def __init__(self, servers: str, topic: str) -> None:
        self.log = TransactionLog(
            servers, topic, topic, 0, batch_records_max=A_BATCH, session_timeout_ms=6_000,
            transaction_timeout_ms=10_000, options={},
        )  # fmt: skip
        self.read: dict[Place, bytes | None] = {}
        self.batches: list[set[int]] = []
        self._queue, self._failures = asyncio.Queue[Batch](), list[BaseException]()

    async def __aenter__(self) -> Reading:
        fenced = self.log.fence()
        self.log.join()
        self.log.start(self._queue.put_nowait, self._failures.append)
        await fenced
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.stop()
        assert self._failures == []

    async def until(self, records: int) -> None:
        while len(self.read) < records:
            batch = await asyncio.wait_for(self._queue.get(), WAIT_S)
            if await self.log.commit(batch, []):
                assert not self.read.keys() & {record.source[:2] for record in batch.records}, "nothing comes twice"
                self.read |= {record.source[:2]: record.value for record in batch.records}
                self.batches.append({record.source.partition for record in batch.records})
            self.log.release()


def test_what_one_partition_held_guards_the_others_too(stack: EmbeddedStack, topic: str) -> None:
    """A batch to each partition, one after another, would end the worker once for each."""
    servers = stack.bootstrap_servers
    _publish(servers, topic, 0, HEAVY)
    for partition in range(1, 4):
        _publish(servers, topic, partition, [b"sound"])

    async def steps() -> None:
        async with Reading(servers, topic) as reading:
            await reading.until(len(HEAVY) + 3)
            for partition in range(4):
                await asyncio.to_thread(_publish, servers, topic, partition, BOMB)
            await reading.until(len(HEAVY) + 3 + 4 * len(BOMB))
        bombs = [value for place, value in reading.read.items() if place[1] >= (len(HEAVY) if place[0] == 0 else 1)]
        assert bombs == [UNREADABLE] * (4 * len(BOMB))

    asyncio.run(steps())


def test_a_worker_that_becomes_wary_leaves_no_partition_to_the_library(stack: EmbeddedStack, topic: str) -> None:
    """As where it is given one with heavy batches, beside those that it reads already."""
    servers = stack.bootstrap_servers
    for partition in range(4):
        _publish(servers, topic, partition, [b"sound"])

    async def steps() -> None:
        async with Reading(servers, topic) as reading:
            await reading.until(4)
            reading.log._unreadable._wary_until_s = time.monotonic() + WAIT_S
            for partition in range(4):
                await asyncio.to_thread(_publish, servers, topic, partition, [b"sound"])
            await reading.until(8)
            for partition in range(4):
                await asyncio.to_thread(_publish, servers, topic, partition, BOMB)
            await reading.until(8 + 4 * len(BOMB))
        assert list(reading.read.values())[8:] == [UNREADABLE] * (4 * len(BOMB))

    asyncio.run(steps())


def test_a_flooded_partition_holds_up_no_other(stack: EmbeddedStack, topic: str) -> None:
    """Wary of one, a worker read it to its end before it looked at the next."""
    servers, flood = stack.bootstrap_servers, 100 * A_BATCH
    _publish(servers, topic, 0, HEAVY)

    async def steps() -> None:
        async with Reading(servers, topic) as reading:
            await reading.until(len(HEAVY))
            await asyncio.to_thread(_publish, servers, topic, 0, [b"junk"] * flood)
            await asyncio.to_thread(_publish, servers, topic, 1, [b"sound"] * A_BATCH)
            await reading.until(len(HEAVY) + flood + A_BATCH)
        served = [number for number, partitions in enumerate(reading.batches) if 1 in partitions]
        assert served[-1] < len(reading.batches) - 50

    asyncio.run(steps())


def test_of_large_ones_one_is_unpacked_at_a_time(stack: EmbeddedStack, topic: str) -> None:
    """Each may take as much memory as a process can spare."""
    servers = stack.bootstrap_servers
    for partition in range(4):
        _publish(servers, topic, partition, HEAVY)

    async def steps() -> None:
        async with Reading(servers, topic) as reading:
            await reading.until(4 * len(HEAVY))
        read = [place[0] for place in reading.read]
        assert read == sorted(read, key=read.index)
        assert set(reading.read.values()) == {HEAVY[0]}

    asyncio.run(steps())


def test_a_rebuild_looks_at_all_that_it_reads(
    stack: EmbeddedStack, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lay behind the first 4 MB of a partition was left to the library, and ended each rebuild."""
    monkeypatch.setattr(look_ahead, "READ_BYTES", 64 * 1024)
    noise = random.Random(11)
    servers, before = stack.bootstrap_servers, [noise.randbytes(5_000) for _ in range(600)]
    for first in range(0, len(before), 100):
        _publish(servers, topic, 0, before[first : first + 100])
    _publish(servers, topic, 0, BOMB)
    _publish(servers, topic, 0, [b"last"])
    with closing(LogReader(servers, "test", {}, ahead=LookAhead(servers, {}))) as reader:
        values, first, is_at_end = list[bytes | None](), 0, False
        while not is_at_end:
            found = reader.read_range(topic, 0, first, None, 250, _value)
            values, first, is_at_end = [*values, *found.taken], found.end_offset, found.is_at_end
        whole = [record.value for record in reader.read(topic, {0: 0, 1: 0})]
    assert values == whole == [*before, *[UNREADABLE] * len(BOMB), b"last"]


def test_a_coroutine_may_close_what_a_thread_read_by(stack: EmbeddedStack, topic: str) -> None:
    servers = stack.bootstrap_servers
    _publish(servers, topic, 0, [b"sound"])

    async def steps() -> None:
        with closing(LogReader(servers, "test", {}, ahead=LookAhead(servers, {}))) as reader:
            found = await asyncio.to_thread(reader.read_range, topic, 0, 0, None, 10, _value)
            assert list(found.taken) == [b"sound"]

    asyncio.run(steps())


def test_where_the_broker_refuses_a_place_the_library_says_so(stack: EmbeddedStack, topic: str) -> None:
    """Wary, a worker would have stood before it as before an empty log."""
    servers = stack.bootstrap_servers
    _publish(servers, topic, 0, [b"sound"])
    with closing(LookAhead(servers, {})) as ahead:
        looked = ahead.look(topic, {0: 10, 1: 0})
    assert looked is not None
    assert (looked.refused, looked.given) == ({0}, {})


PEAK_KILOBYTES_MAX = 320 * 1024
CROWDED_KILOBYTES_MAX = 200 * 1024
PEAK = """
import sys
from tests.io.kafka.test_wary import _stored
print(_stored(sys.argv[1], sys.argv[2]))
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def _stored(servers: str, topic: str) -> int:
    """Read as a service does that stores in PostgreSQL; return how many records there were."""
    log = PositionedLog(
        servers, topic, lambda value: len(value or b""), topic, slot=0,
        positions=lambda partitions: dict.fromkeys(partitions, 0), options={},
    )  # fmt: skip
    read = 0
    with closing(log):
        while True:
            batch = log.read(1_000, 1.0)
            read += len(batch.records)
            if batch.records and batch.records[-1].content == len(b"last"):
                return read


CROWD = 500_000


def test_records_without_number_take_no_more_either(stack: EmbeddedStack, topic: str) -> None:
    """Half a million empty ones are packed in some hundred KB. The library takes 320 bytes for each, at every start."""
    servers = stack.bootstrap_servers
    _publish(servers, topic, 0, [b""] * CROWD)
    _publish(servers, topic, 0, [b"last"])
    read, peak_kilobytes = _peak(servers, topic)
    assert read == CROWD + 1
    assert peak_kilobytes < CROWDED_KILOBYTES_MAX


def test_a_service_takes_no_more_than_a_worker_does(stack: EmbeddedStack, topic: str) -> None:
    """The library alone takes twice what a batch comes to, some 600 MB, beside what the process has."""
    servers = stack.bootstrap_servers
    _publish(servers, topic, 0, [bytes(12 * MEGABYTES)] * 25)
    _publish(servers, topic, 0, [b"last"])
    read, peak_kilobytes = _peak(servers, topic)
    assert read == 26
    assert peak_kilobytes < PEAK_KILOBYTES_MAX


def _peak(servers: str, topic: str) -> tuple[int, int]:
    """Return how many records a service read, and what it took."""
    run = subprocess.run(
        [sys.executable, "-c", PEAK, servers, topic], capture_output=True, text=True, check=True, timeout=2 * WAIT_S
    )
    read, peak_kilobytes = map(int, run.stdout.splitlines()[-2:])
    return read, peak_kilobytes


def _value(record: Record) -> bytes | None:
    return record.value
