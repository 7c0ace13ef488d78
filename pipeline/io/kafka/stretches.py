"""Stretches of a topic, read outside any group: what stands there, to be held against what others say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

BROKER_TIMEOUT_S: Final = 10.0
SILENCE_POLLS_MAX: Final = 3
"""Polls of BROKER_TIMEOUT_S without a record and without the end: the broker is given up."""
RECORDS_A_READ: Final = 2_000
_PASSING: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT})


class TopicUnreadable(Exception):
    """The broker is out of reach, or denies it."""


class Standing(NamedTuple):
    """digests: SHA-256 of each record's value by offset, ascending. The stretch ends before end_offset, commit markers
    included; is_at_end: there was no more to read."""

    digests: dict[int, bytes]
    end_offset: int
    is_at_end: bool


class Stretches:
    """For one thread. Every method raises TopicUnreadable."""

    def __init__(self, bootstrap_servers: str, group: str, options: Mapping[str, str]) -> None:
        """group: asked for by the library, never joined."""
        shared: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 2,
            **options,
        }
        self._admin = AdminClient(shared)
        self._consumer = Consumer(
            {
                **shared,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )

    def extents(self, topic: str) -> dict[int, tuple[int, int]]:
        """By partition: the oldest offset kept, and the one that the next record will get."""
        try:
            found = self._consumer.list_topics(topic, timeout=BROKER_TIMEOUT_S).topics[topic]
            if found.error is not None:
                raise TopicUnreadable(f"{topic} can't be read: {found.error.str()}")
            return {partition: self._extent(topic, partition) for partition in sorted(found.partitions)}
        except KafkaException as failure:
            raise _unreadable(topic, failure) from failure

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The next offset of a group in each partition where it has committed one."""
        places = [TopicPartition(topic, partition) for partition in self.extents(topic)]
        wanted = [ConsumerGroupTopicPartitions(group, places)]
        try:
            answers = self._admin.list_consumer_group_offsets(wanted, request_timeout=BROKER_TIMEOUT_S)
            answer: ConsumerGroupTopicPartitions = answers[group].result()
        except KafkaException as failure:
            raise _unreadable(f"the offsets of {group}", failure) from failure
        return {place.partition: place.offset for place in answer.topic_partitions or () if place.offset >= 0}

    def standing(self, topic: str, partition: int, first: int, end: int | None, records_max: int) -> Standing:
        """From `first` on: to `end`, or to the end of what is committed; no more than records_max records."""
        digests: dict[int, bytes] = {}
        for offset, value in self._values(topic, partition, first, end):
            if value is None:
                return Standing(digests, offset, True)
            digests[offset] = hashlib.sha256(value).digest()
            if len(digests) >= records_max:
                return Standing(digests, offset + 1, end == offset + 1)
        return Standing(digests, first if end is None else max(first, end), True)

    def values(self, topic: str, partition: int, first: int, end: int) -> Iterator[bytes]:
        """The records' values of [first, end)."""
        for _, value in self._values(topic, partition, first, end):
            if value is not None:
                yield value

    def close(self) -> None:
        self._consumer.close()

    def _values(self, topic: str, partition: int, first: int, end: int | None) -> Iterator[tuple[int, bytes | None]]:
        """Offset and value of each record before `end`; at the end of what is committed, its offset and None."""
        if end is not None and end <= first:
            return
        self._consumer.assign([TopicPartition(topic, partition, first)])
        silent = 0
        while silent < SILENCE_POLLS_MAX:
            messages = self._consumer.consume(1, BROKER_TIMEOUT_S)
            messages += self._consumer.consume(RECORDS_A_READ - 1, 0)
            silent = 0 if messages else silent + 1
            for message in messages:
                if (error := message.error()) is not None and error.code() != KafkaError._PARTITION_EOF:
                    _raise_unless_passing(topic, error)
                    continue
                offset = _offset(message)
                if error is not None:
                    yield offset, None
                    return
                if end is not None and offset >= end:
                    return
                yield offset, _value(message)
        raise TopicUnreadable(f"{topic} can't be read: the broker is silent")

    def _extent(self, topic: str, partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        low, high = self._consumer.get_watermark_offsets(where, timeout=BROKER_TIMEOUT_S)
        return int(low), int(high)


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None, "a record, and the end of a topic, has a place"
    return offset


def _value(message: Message) -> bytes:
    value = message.value()
    assert not isinstance(value, str), "raw bytes were asked for"
    return value or b""


def _unreadable(what: str, failure: KafkaException) -> TopicUnreadable:
    error = failure.args[0]
    return TopicUnreadable(f"{what} can't be read: {error.str() if isinstance(error, KafkaError) else error}")


def _raise_unless_passing(topic: str, error: KafkaError) -> None:
    if error.fatal() or not (error.retriable() or error.code() in _PASSING):
        raise TopicUnreadable(f"{topic} can't be read: {error.str()}")
