"""Faust's own transport, made to read as everything else does: committed records only, with the same log-in.

Faust (0.15.3) chooses the isolation level itself: `read_committed` under `processing_guarantee="exactly_once"`, which
has open faults of duplicates and loss, and `read_uncommitted` otherwise. No setting changes the level alone. The state
would then take in an aborted transaction of a context topic, and lose it in a rebuild, which reads what is committed.

Its client unpacks batches without a bound: one of a few KB that unpacks to gigabytes would end every worker, again and
again. It has the batches of `bounded_records`.
"""

from __future__ import annotations

from typing import Any, Final

import aiokafka  # type: ignore[import-untyped]  # it ships without types
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]  # it ships without types
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import AppT, EventT

from pipeline.domain.log import SCHEMA_HEADER, SEAL_HEADER, Presented, Record, Source
from pipeline.io.kafka.bounded_records import BoundedRecords
from pipeline.io.kafka.client import named

LOG_APPEND_TIME: Final = 1
"""The type of a timestamp of the broker's own clock."""


class _CommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        """Return the consumer that Faust makes, with our isolation level, which it first looks at when it starts."""
        consumer = super()._create_worker_consumer(transport)
        assert consumer._isolation_level in ("read_uncommitted", "read_committed"), "aiokafka keeps it there"
        consumer._isolation_level = "read_committed"
        return consumer


class _CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class ContextTransport(Transport):
    """Faust's transport with a consumer that reads committed records only; for `app.transport`."""

    Consumer = _CommittedConsumer


def read_committed(app: AppT) -> None:
    """Make the app's agents read committed records only, of bounded batches; call it before the app starts."""
    fetcher.MemoryRecords = BoundedRecords  # by this name its client makes batches of what a broker answers
    app.transport = ContextTransport(app.conf.broker_consumer, app)


def record_of_event(event: EventT[Any]) -> Record:
    """Return an event as a record, as `client.record_of` does.

    Faust keeps the timestamp in seconds; rounding gives back the milliseconds that they were made from.
    """
    message = event.message
    value = message.value
    if value:
        value = named(value, dict(message.headers or ()).get(SCHEMA_HEADER))
    return Record(message.key, value, Source(message.partition, message.offset, round(message.timestamp * 1000)))


def presented_of(event: EventT[Any]) -> Presented:
    """Return an event with what says who wrote it, as `client.presented` does."""
    message = event.message
    key, value, source = record_of_event(event)
    seal = dict(message.headers or ()).get(SEAL_HEADER)
    is_stamped = message.timestamp_type == LOG_APPEND_TIME
    return Presented(message.topic, *source, is_stamped, key, value or b"", seal if isinstance(seal, bytes) else None)
