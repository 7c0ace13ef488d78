"""The yardstick: the same work as an idiomatic Faust agent, one record at a time, on Faust's own transport.

It uses the same core, the same Redis features and the same encoding as the worker. It differs in shape: a topic agent,
with one state look-up, one decision and one `send` a record. It uses no Kafka transactions, because Faust has none that
hold (ADR 0001). It asks Redis through redis-py's own pipelines, and in the group WITH_WORKER_CLIENT as the worker does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import faust
from redis.asyncio import Redis

from ops.bench.speed.throughput import WITH_WORKER_CLIENT
from ops.processes.arguments import arguments
from pipeline.decide.app import FAUST_BUFFER_RECORDS, FAUST_DIRECTORY, Worker
from pipeline.decide.batch import Judge, Judged
from pipeline.domain.log import Record, Source, Span
from pipeline.io.redis.topology import Topology
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.io.settings import Settings


def build(settings: Settings) -> faust.App:
    worker = Worker(settings)
    if settings.consumer_group != WITH_WORKER_CLIENT:
        _use_redis_py(worker, settings.redis_url)
    app = faust.App(
        f"{settings.consumer_group}-plain",
        broker=";".join(f"kafka://{server}" for server in settings.bootstrap_servers.split(",")),
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=FAUST_BUFFER_RECORDS,
        producer_linger=0.005,  # the default linger makes `send` 2.5 times dearer, as measured
        web_bind=settings.web_host,
        web_port=settings.web_port,
        datadir=FAUST_DIRECTORY,
    )
    transactions = app.topic(settings.topic("transactions.v1"))
    decisions = app.topic(settings.topic("decisions.v1"))
    positions: dict[int, int] = {}

    @app.agent(transactions)
    async def decide(stream: Any) -> None:
        judge: Judge = worker.agent.judge
        async for event in stream.events():
            message = event.message
            source = Source(message.partition, message.offset, int(message.timestamp * 1000))
            is_first = source.partition not in positions
            start = positions.get(source.partition, source.offset)
            positions[source.partition] = source.offset + 1
            spans = [Span(source.partition, start, source.offset + 1, start)]
            reading = judge.read([Record(message.key, message.value, source)])
            if worker.switches.known is None:
                await worker.switches.look()
            modes = await worker.breaker.modes(judge.in_force)
            events = judge.state_events(reading, spans)
            observed = await worker.state.observe(events, initial=is_first, since_ms=source.timestamp_ms)
            judged = Judged.whole(judge.judge(reading, observed, modes, time.time_ns() // 1_000_000))
            for outgoing in judged.outgoing:
                await decisions.send(key=outgoing.key, value=outgoing.value)

    @app.page("/live")
    async def live(view: Any, _request: Any) -> Any:
        return view.json({"live": True})

    return app


class _RedisPy(RedisBatches):
    """A client that sends the same commands by redis-py's own pipelines."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_s=0)
        self._client: Redis = Redis.from_url(url)

    async def topology(self) -> Topology:
        """Return what makes the state ask for ids first, then for windows, as agents wait for what they need next."""
        return Topology.CLUSTER

    async def run(
        self,
        commands: Sequence[Command],
        *,
        is_repeatable: bool = True,  # noqa: ARG002 - of the base
        connections: int | None = None,  # noqa: ARG002 - of the base
    ) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    async def close(self) -> None:
        await self._client.aclose()


def _use_redis_py(worker: Worker, url: str) -> None:
    worker.state._redis = _RedisPy(url)
    worker.breaker._store._redis = _RedisPy(url)


if __name__ == "__main__":
    arguments(__doc__)
    faust.Worker(build(Settings()), loglevel="WARN", redirect_stdouts=False).execute_from_commandline()
    sys.exit(0)
