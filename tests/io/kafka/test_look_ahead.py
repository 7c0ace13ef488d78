"""What a partition holds is looked at before the library unpacks it, and what is heavy read batch by batch."""

from __future__ import annotations

import asyncio
import subprocess
import sys
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
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from tests.servers import unused_prefix

MEGABYTES = 1 << 20
WAIT_S = 120.0
BESIDE = [b"sound", b"sound"]
HEAVY = [bytes(MEGABYTES)] * 14
"""A batch that may be unpacked, but not with others at once."""
BOMB = [bytes(6 * MEGABYTES)] * 4
END = 2 + len(HEAVY) + 2 + len(BOMB) + 2
HIDDEN = range(2 + len(HEAVY) + 2, END - 2)


@pytest.fixture(scope="module", autouse=True)
def _bounds() -> Iterator[None]:
    """A fifth of what they are, so that batches are soon packed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(look_ahead, "HEAVY_BYTES", look_ahead.HEAVY_BYTES // 5)
        patched.setattr(bounded_records, "UNPACKED_BYTES_MAX", bounded_records.UNPACKED_BYTES_MAX // 5)
        yield


@pytest.fixture(scope="module", params=["gzip", "lz4"])
def topic(stack: EmbeddedStack, request: pytest.FixtureRequest) -> str:
    """In partition 0: two records, a heavy batch, two records, one that unpacks to too much, and two records."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"
    for values in (BESIDE, HEAVY, BESIDE, BOMB, BESIDE):
        _publish(stack.bootstrap_servers, topic, values, request.param)
    return topic


def _publish(bootstrap_servers: str, topic: str, values: list[bytes], compression: str = "gzip") -> None:
    tuning = {"message.max.bytes": 1_000_000_000, "batch.size": 1_000_000_000, "linger.ms": 60_000}
    size = {"queue.buffering.max.kbytes": 1_000_000, "compression.type": compression}
    producer = Producer({"bootstrap.servers": bootstrap_servers, **tuning, **size})
    for value in values:
        producer.produce(topic, value, b"account", 0, headers=[("trace", b"kept")])
    assert producer.flush(WAIT_S) == 0


def _is_as_published(records: dict[int, bytes | None]) -> bool:
    sound = [*BESIDE, *HEAVY, *BESIDE, *[UNREADABLE] * len(BOMB), *BESIDE]
    return list(records) == list(range(END)) and all(
        (value is UNREADABLE) is (offset in HIDDEN) and value == sound[offset] for offset, value in records.items()
    )


async def _read(
    servers: str, topic: str, records_max: int, later: list[bytes] | None = None
) -> dict[int, bytes | None]:
    """Read and commit as a worker does; `later` is published once everything is read."""
    log = TransactionLog(
        servers, topic, topic, records_max, batch_records_max=records_max, session_timeout_ms=6_000,
        transaction_timeout_ms=10_000, options={},
    )  # fmt: skip
    batches, failures = asyncio.Queue[Batch](), list[BaseException]()
    read: dict[int, bytes | None] = {}
    fenced = log.fence()
    log.join()
    log.start(batches.put_nowait, failures.append)
    await fenced

    async def read_to(end: int) -> None:
        while len(read) < end:
            batch = await asyncio.wait_for(batches.get(), WAIT_S)
            assert [span.start_offset for span in batch.spans] == [batch.records[0].source.offset]
            read.update({record.source.offset: record.value for record in batch.records})
            assert await log.commit(batch, [])
            log.release()

    try:
        await read_to(END)
        if later is not None:
            await asyncio.to_thread(_publish, servers, topic, later)
            await read_to(END + len(later))
    finally:
        await log.stop()
        assert failures == []
    return read


def test_a_worker_reads_what_is_heavy_and_passes_over_what_is_too_much(stack: EmbeddedStack, topic: str) -> None:
    assert _is_as_published(asyncio.run(_read(stack.bootstrap_servers, topic, 10)))


@pytest.mark.parametrize("most", [3, 1_000])
def test_a_rebuild_reads_the_same(stack: EmbeddedStack, topic: str, most: int) -> None:
    read, ahead = dict[int, bytes | None](), LookAhead(stack.bootstrap_servers, {})
    with closing(LogReader(stack.bootstrap_servers, "fraud-command", {}, ahead=ahead)) as reader:
        first = 0
        while first < END:
            found = reader.read_range(topic, 0, first, None, most, _itself)
            assert len(found.taken) <= most
            read |= {record.source.offset: record.value for record in found.taken}
            first = found.end_offset
        assert reader.read_range(topic, 0, END, None, most, _itself).is_at_end
        assert END == len(list(reader.read(topic, {0: 0})))
        assert [UNREADABLE] == [
            record.value for record in reader.read_range(topic, 0, END - 3, END - 2, 5, _itself).taken
        ]
        assert b"kept" == reader.header_at(topic, 0, END - 1, "trace")
    assert _is_as_published(read)


def test_records_are_those_that_the_library_reads(stack: EmbeddedStack, topic: str) -> None:
    """Key, value, time and kind of time, up to what it would not unpack here."""
    ahead = LookAhead(stack.bootstrap_servers, {})
    with (
        closing(LogReader(stack.bootstrap_servers, "fraud-command", {}, ahead=ahead)) as looking,
        closing(LogReader(stack.bootstrap_servers, "fraud-command", {})) as trusting,
    ):
        first, second = (reader.presented_range(topic, 0, 0, HIDDEN.start, 100).taken for reader in (looking, trusting))
    assert first == second
    assert len(first) == HIDDEN.start


def test_a_worker_that_met_one_leaves_the_next_one_to_nobody_else(stack: EmbeddedStack) -> None:
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"
    for values in (BESIDE, HEAVY, BESIDE, BOMB, BESIDE):
        _publish(stack.bootstrap_servers, topic, values)
    read = asyncio.run(_read(stack.bootstrap_servers, topic, 10, [*BOMB, b"sound"]))
    assert [value is UNREADABLE for value in list(read.values())[END:]] == [True] * (len(BOMB) + 1)


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "PLAINTEXT://127.0.0.1:1", ":", "127.0.0.1:x"])
def test_a_look_that_nobody_answers_finds_nothing(servers: str) -> None:
    assert LookAhead(servers, {}).heavy("transactions.v1", {0: 0}) == {}


def test_a_look_that_cannot_log_in_finds_nothing() -> None:
    options = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER"}
    assert LookAhead("127.0.0.1:1", options).heavy("transactions.v1", {0: 0}) == {}


PEAK_KILOBYTES_MAX = 320 * 1024
PEAK = """
import asyncio, sys
from tests.io.kafka.test_look_ahead import _read
asyncio.run(_read(sys.argv[1], sys.argv[2], 10))
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def test_what_a_worker_takes_is_bounded(stack: EmbeddedStack) -> None:
    """The library alone takes twice what a batch comes to, some 600 MB, beside what the process has."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"
    _publish(stack.bootstrap_servers, topic, [bytes(300 * MEGABYTES // END)] * END)
    run = subprocess.run(
        [sys.executable, "-c", PEAK, stack.bootstrap_servers, topic],
        capture_output=True, text=True, check=True, timeout=2 * WAIT_S,
    )  # fmt: skip
    assert int(run.stdout.splitlines()[-1]) < PEAK_KILOBYTES_MAX


def _itself(record: Record) -> Record:
    return record
