"""A small batch's transaction stands open while the batch is decided, and never longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from confluent_kafka import Producer

from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.log import Outgoing
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from tests.servers import unused_prefix

PATIENCE_S = 120.0
TRANSACTION_S = 10.0


def publish(servers: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(topic, b"payment", b"account", partition=0)
    assert producer.flush(PATIENCE_S) == 0


Steps = Callable[[TransactionLog, Batch, list[Outgoing]], Awaitable[None]]


def with_log(servers: str, steps: Steps) -> None:
    """Run `steps` with one small batch that was read; then another batch must be committed as usual."""

    prefix = unused_prefix()
    create_topics(servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"
    decision = [Outgoing(f"{prefix}decisions.v1", b"account", b"decision")]

    async def run() -> None:
        log = TransactionLog(
            servers, topic, topic, 0, batch_records_max=10, session_timeout_ms=6_000,
            transaction_timeout_ms=int(TRANSACTION_S * 1000), options={},
        )  # fmt: skip
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        failures: list[BaseException] = []
        publish(servers, topic)
        log.join()
        await log.fence()
        log.start(batches.put_nowait, failures.append)
        try:
            batch = await asyncio.wait_for(batches.get(), PATIENCE_S)
            wait_until(lambda: log._opened is batch, PATIENCE_S, "the transaction opens", every_s=0.01)
            await steps(log, batch, decision)
            publish(servers, topic)
            following = await asyncio.wait_for(batches.get(), PATIENCE_S)
            assert await log.commit(following, decision)
            log.release()
            assert log._committed[0] == 2
        finally:
            await log.stop()
        assert failures == []
        assert log._opened is None

    asyncio.run(run())


def test_its_commit_ends_it(stack: EmbeddedStack) -> None:
    async def steps(log: TransactionLog, batch: Batch, decision: list[Outgoing]) -> None:
        assert await log.commit(batch, decision)
        log.release()
        assert log._opened is None

    with_log(stack.bootstrap_servers, steps)


def test_a_dropped_batch_takes_it_back(stack: EmbeddedStack) -> None:
    async def steps(log: TransactionLog, batch: Batch, decision: list[Outgoing]) -> None:
        log.release()
        wait_until(lambda: log._opened is None, PATIENCE_S, "the transaction is taken back", every_s=0.01)
        log._committed[0] = batch.spans[0].end_offset  # as if it had been passed over on purpose

    with_log(stack.bootstrap_servers, steps)


def test_a_batch_that_waits_takes_it_back_and_commits_later(stack: EmbeddedStack) -> None:
    """Otherwise the broker would fence us at the transaction's timeout."""

    async def steps(log: TransactionLog, batch: Batch, decision: list[Outgoing]) -> None:
        wait_until(lambda: log._opened is None, TRANSACTION_S, "the transaction is taken back", every_s=0.01)
        assert await log.commit(batch, decision)
        log.release()

    with_log(stack.bootstrap_servers, steps)
