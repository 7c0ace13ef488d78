"""The yardstick: the same work as an idiomatic Faust agent, one record at a time, on Faust's own transport.

It uses the same core, the same Redis features and the same encoding as the worker; what differs is the shape: a topic
agent, one state look-up, one decision and one `send` a record. No Kafka transactions: Faust has none that hold (FACTS).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import faust

from pipeline.adapters.kafka import Record, Span
from pipeline.agents.judge import Judge, Judged
from pipeline.app import FAUST_BUFFER_RECORDS, FAUST_DIRECTORY, Worker
from pipeline.core.records import Source
from pipeline.settings import Settings


def build(settings: Settings) -> faust.App:
    worker = Worker(settings)
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
        producer_linger=0.005,  # FACTS: the default linger makes `send` 2.5 times dearer
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
            modes = await worker.breaker.modes(judge.in_force)
            observed = await worker.state.observe(judge.state_events(reading, spans), initial=is_first)
            judged = Judged.whole(judge.judge(reading, observed, modes, time.time_ns() // 1_000_000))
            for outgoing in judged.outgoing:
                await decisions.send(key=outgoing.key, value=outgoing.value)

    @app.page("/live")
    async def live(view: Any, _request: Any) -> Any:
        return view.json({"live": True})

    return app


if __name__ == "__main__":
    faust.Worker(build(Settings()), loglevel="WARN", redirect_stdouts=False).execute_from_commandline()
    sys.exit(0)
