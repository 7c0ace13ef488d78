"""Faust's own transport, reading as everything else does: committed records only, with the same log-in.

Faust (0.15.3) chooses the isolation level itself: `read_committed` under `processing_guarantee="exactly_once"`, which
has open faults of duplicates and loss, and `read_uncommitted` otherwise; no setting says it apart. An aborted
transaction on a context topic would then be taken in, and be gone after a rebuild, which reads what is committed.
"""

from __future__ import annotations

from typing import Any

import aiokafka  # type: ignore[import-untyped]  # it ships without types
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import AppT, EventT

from pipeline.domain.log import Record, Source


class _CommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        """The consumer that Faust makes; its isolation level is first looked at when it starts."""
        consumer = super()._create_worker_consumer(transport)
        assert consumer._isolation_level in ("read_uncommitted", "read_committed"), "aiokafka keeps it there"
        consumer._isolation_level = "read_committed"
        return consumer


class _CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class ContextTransport(Transport):
    """For `app.transport`."""

    Consumer = _CommittedConsumer


def read_committed(app: AppT) -> None:
    """Makes the app's agents read committed records only; before it starts."""
    app.transport = ContextTransport(app.conf.broker_consumer, app)


def record_of_event(event: EventT[Any]) -> Record:
    """As `client.record_of`. Faust keeps the timestamp in seconds, so the milliseconds are what it was rounded from."""
    message = event.message
    return Record(
        message.key, message.value, Source(message.partition, message.offset, round(message.timestamp * 1000))
    )
