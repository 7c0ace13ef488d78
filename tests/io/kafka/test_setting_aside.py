"""A partition that is set aside is read no more until it is taken up, and then from where it was committed."""

from __future__ import annotations

import asyncio

from confluent_kafka import Producer

from ops.stack.topics import create_topics
from pipeline.io.kafka.transaction_log import Batch, TransactionLog
from tests.servers import unused_prefix

PATIENCE_S = 120.0
QUIET_S = 0.5


def publish(servers: str, topic: str, *partitions: int) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for partition in partitions:
        producer.produce(topic, b"payment", b"account", partition=partition)
    assert producer.flush(PATIENCE_S) == 0


def places(batch: Batch) -> list[tuple[int, int]]:
    return [record.source[:2] for record in batch.records]


def test_what_is_set_aside_waits_and_what_is_taken_up_goes_on(stack):
    servers, prefix = stack.bootstrap_servers, unused_prefix()
    create_topics(servers, prefix=prefix)
    topic = f"{prefix}transactions.v1"

    async def steps() -> None:
        log = TransactionLog(
            servers, topic, topic, 0, batch_records_max=10, session_timeout_ms=6_000, transaction_timeout_ms=10_000,
            options={},
        )  # fmt: skip
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        failures: list[BaseException] = []

        async def committed(wanted: set[tuple[int, int]]) -> None:
            """Commit batches until these records are through; no other record may be among them."""
            missing = set(wanted)
            while missing:
                batch = await asyncio.wait_for(batches.get(), PATIENCE_S)
                if log.is_current(batch):
                    assert set(places(batch)) <= missing
                    assert await log.commit(batch, [])
                    missing -= set(places(batch))
                log.release()

        async def is_quiet() -> bool:
            try:
                batch = await asyncio.wait_for(batches.get(), QUIET_S)
            except TimeoutError:
                return True
            return not log.is_current(batch)

        log.join()
        await log.fence()
        log.start(batches.put_nowait, failures.append)
        try:
            publish(servers, topic, 0, 1)
            await committed({(0, 0), (1, 0)})
            publish(servers, topic, 1)
            under_way = await asyncio.wait_for(batches.get(), PATIENCE_S)
            assert places(under_way) == [(1, 1)]
            await log.set_aside([1])
            assert not log.is_current(under_way)
            assert not await log.commit(under_way, []), "it is read again when the partition is taken up"
            log.release()
            assert log.set_aside_partitions == (1,)
            assert 1 in log.assigned_partitions
            publish(servers, topic, 0, 1)
            await committed({(0, 1)})
            assert await is_quiet()
            await log.take_up([1])
            assert log.set_aside_partitions == ()
            await committed({(1, 1), (1, 2)})
        finally:
            await log.stop()
        assert failures == []

    asyncio.run(steps())
