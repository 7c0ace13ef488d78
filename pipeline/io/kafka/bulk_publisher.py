"""Publishing in bulk: tens of thousands of records a second. Every one is acknowledged, or the command fails."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from pipeline.domain.log import Header
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.settings import Settings

FLUSH_S: Final = 60.0
FULL_POLL_S: Final = 0.1
FULL_POLLS_MAX: Final = 600
"""Most polls while the queue is full. If nothing leaves it for a minute, the broker is gone."""
QUEUE_RECORDS: Final = 100_000
SERVED_EVERY: Final = 1000


class BulkPublisher:
    """Publishes keyed records to any topic, in order for each key. Raises TopicMissing, BrokerAway, BrokerFailed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures: list[KafkaError] = []
        self._produced = 0
        tuning = {
            "linger.ms": 2,
            # Files may hold payments of months ago. A broker that comes back forgets producers of records that are
            # dated over a day ago, and takes a later request where an earlier one was under way, which is lost then.
            "max.in.flight.requests.per.connection": 1,
            "delivery.timeout.ms": int(FLUSH_S * 1000),
            "compression.type": client.COMPRESSION_FOR_FAUST,
            "queue.buffering.max.messages": QUEUE_RECORDS,
            "delivery.report.only.error": True,
            "on_delivery": self._undelivered,
        }
        servers, options = settings.bootstrap_servers, settings.kafka_options
        self._producer = Producer(client.writer_options(servers, options, settings.partitioner, tuning))

    def require_topics(self, *topics: str) -> None:
        client.require_topics(self._producer, map(self._settings.topic, topics))

    def publish(
        self, topic: str, key: bytes, value: bytes, timestamp_ms: int, headers: list[Header] | None = None
    ) -> None:
        """Publish one record. `topic` has its prefix; a timestamp of 0 stands for now."""
        for _ in range(FULL_POLLS_MAX):
            try:
                self._producer.produce(topic, value, key, timestamp=timestamp_ms, headers=headers)
                break
            except BufferError:  # the queue is full, so let deliveries make room
                self._producer.poll(FULL_POLL_S)
        else:
            raise BrokerAway("nothing was acknowledged for a minute")
        self._produced += 1
        if self._produced % SERVED_EVERY == 0:
            self._producer.poll(0)
            self._raise_failure()

    def flush(self) -> None:
        """Wait until every record is acknowledged."""
        left = self._producer.flush(FLUSH_S)
        self._raise_failure()
        if left:
            raise BrokerFailed(f"{left} records were not acknowledged within {FLUSH_S:.0f} s")

    def _undelivered(self, error: KafkaError, _message: Message) -> None:
        self._failures.append(error)

    def _raise_failure(self) -> None:
        if self._failures:
            raise BrokerFailed(f"{len(self._failures)} records were refused: {self._failures[0].str()}")


class Pace:
    """Keeps to `rate` records a second from its first call on, in small waits and without drift; None is flat out."""

    AHEAD_S_MAX: Final = 0.002

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._started: float | None = None
        self._count = 0

    def wait(self) -> None:
        if self._rate is None:
            return
        now = time.monotonic()
        if self._started is None:
            self._started = now
        ahead_s = self._started + self._count / self._rate - now
        if ahead_s > self.AHEAD_S_MAX:
            time.sleep(ahead_s)
        self._count += 1
