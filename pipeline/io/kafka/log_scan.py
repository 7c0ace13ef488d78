"""Topics read from a command: outside any consumer group, committed records only, from here to the end or for ever."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Final, NamedTuple
from zlib import crc32

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure, broker_away

BROKER_TIMEOUT_S: Final = 8.0
SILENCE_S_MAX: Final = 30.0
"""A broker that says nothing for so long, with records still to come, is given up."""
RECORDS_A_READ: Final = 2000
POLL_S: Final = 0.2
END_SOON: Final = MappingProxyType({"fetch.wait.max.ms": 10})
"""A partition's end is found by a fetch that waits this long for a record, 500 ms by default. A command that goes on to
follow the topic leaves it at that: it would only ask more often."""


class Found(NamedTuple):
    """A record and where it stands."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class Extent(NamedTuple):
    """Offsets of a partition: the oldest kept, and the one that the next record will get."""

    low: int
    high: int


class Log:
    """One topic. Every method raises Failure when the broker or the topic can't be had."""

    def __init__(self, settings: Settings, topic: str, group: str = "fraud-command") -> None:
        """`group` is asked for by the library and never joined: nothing is committed. A role may use its own only."""
        self._settings, self._topic, self._group = settings, settings.topic(topic), group

    def extents(self) -> dict[int, Extent]:
        with closing(self._consumer()) as consumer:
            try:
                return {partition: self._extent(consumer, partition) for partition in self._partitions(consumer)}
            except KafkaException as error:
                raise broker_away(self._settings.bootstrap_servers) from error

    def read(self, starts: Mapping[int, int], *, is_followed: bool = False) -> Iterator[Found]:
        """Records from `starts` (partition → offset) to each partition's end as it is met, or on and on."""
        with closing(self._consumer({} if is_followed else END_SOON)) as consumer:
            consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()])
            unfinished, heard = set(starts), time.monotonic()
            while unfinished or is_followed:
                messages = consumer.consume(1, POLL_S)
                messages += consumer.consume(RECORDS_A_READ - 1, 0)  # consume(n, t) waits out t unless n records come
                for message in messages:
                    error = message.error()
                    if error is None:
                        yield _found(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unfinished.discard(message.partition())
                    elif error.fatal() or not error.retriable():
                        raise Failure(f"Reading {self._topic} failed: {error.str()}.", "Look at the broker's log.")
                heard = time.monotonic() if messages else heard
                if not is_followed and time.monotonic() - heard > SILENCE_S_MAX:
                    raise broker_away(self._settings.bootstrap_servers)

    def read_all(self, partitions: Iterable[int] | None = None) -> Iterator[Found]:
        extents = self.extents()
        wanted = extents if partitions is None else {partition: extents[partition] for partition in partitions}
        return self.read({partition: extent.low for partition, extent in wanted.items() if extent.high > extent.low})

    def partition_of(self, key: str) -> int:
        """Where librdkafka puts a key by default."""
        return crc32(key.encode()) % len(self.extents())

    def _consumer(self, more: Mapping[str, int] = MappingProxyType({})) -> Consumer:
        return Consumer(
            {
                **client_options(self._settings),
                "group.id": self._group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                **more,
            }
        )

    def _partitions(self, consumer: Consumer) -> list[int]:
        found = consumer.list_topics(self._topic, timeout=BROKER_TIMEOUT_S).topics[self._topic]
        if found.error is not None or not found.partitions:
            raise Failure(f"There is no topic {self._topic}.", "Create the topics with `fraud topics create`.")
        return sorted(found.partitions)

    def _extent(self, consumer: Consumer, partition: int) -> Extent:
        low, high = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=BROKER_TIMEOUT_S)
        return Extent(low, high)


def client_options(settings: Settings) -> dict[str, str | int | float | bool]:
    """What every client of a command is given; librdkafka's own log lines would only repeat our sentences."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "log_level": 2,
        "socket.connection.setup.timeout.ms": 5000,
        **settings.kafka_options,
    }


def _found(message: Message) -> Found:
    partition, offset = message.partition(), message.offset()
    assert partition is not None, "a record has a place"
    assert offset is not None, "a record has a place"
    key, value = message.key(), message.value()
    assert not isinstance(key, str), "raw bytes were asked for"
    assert not isinstance(value, str), "raw bytes were asked for"
    return Found(partition, offset, message.timestamp()[1], key or b"", value or b"")
