"""A worker has one batch under way while little waits, and BATCHES_AHEAD_MAX while batches are full."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from ops.stack.topics import create_topics
from pipeline.io.kafka.transaction_log import BATCHES_AHEAD_MAX, Batch, TransactionLog
from tests.servers import unused_prefix

FULL = 10
PATIENCE_S = 120.0


def publish(servers: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for _ in range(count):
        producer.produce(topic, b"payment", b"account", partition=0)
    assert producer.flush(PATIENCE_S) == 0


def test_a_small_batch_is_committed_before_the_next_is_read(stack):
    servers, prefix = stack.bootstrap_servers, unused_prefix()
    create_topics(servers, prefix=prefix)  # a reader of a topic that comes later learns of it in minutes
    topic = f"{prefix}transactions.v1"

    async def steps() -> None:
        log = TransactionLog(
            servers, topic, topic, 0, batch_records_max=FULL, session_timeout_ms=6_000, transaction_timeout_ms=10_000,
            options={},
        )  # fmt: skip
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        failures: list[BaseException] = []

        async def sizes(count: int) -> list[int]:
            return [len((await asyncio.wait_for(batches.get(), PATIENCE_S)).records) for _ in range(count)]

        log.join()
        log.start(batches.put_nowait, failures.append)
        try:
            publish(servers, topic, 1)
            assert await sizes(1) == [1]
            publish(servers, topic, FULL * (BATCHES_AHEAD_MAX + 1))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batches.get(), 0.5)
            log.release()
            assert await sizes(BATCHES_AHEAD_MAX) == [FULL] * BATCHES_AHEAD_MAX
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batches.get(), 0.5)
            log.release()
            assert await sizes(1) == [FULL]
        finally:
            await log.stop()
        assert failures == []

    asyncio.run(steps())
