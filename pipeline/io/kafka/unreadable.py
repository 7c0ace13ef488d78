"""Batches of records that the library can't unpack, and what is read in their place.

A publisher may send a batch of some KB that unpacks to gigabytes: the broker looks at what it weighs packed. The
library refuses to unpack over 100 MB, tells where the batch begins, and asks for it again, for ever. So its end is
searched for, by asking what comes from a later offset, and each of its records is read as one that is UNREADABLE.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.domain.log import UNREADABLE
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, broker_failure, raise_unless_passing

SEARCH_S: Final = 40.0
"""Limit of one search, below READ_LIMIT_S of a worker: some 40 questions at most, for a batch of any length."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much is unpacked for one question. It is less than what a reader can't unpack, so that a question costs less than
the reading did, and more than a broker's batches weigh packed."""
POLL_S: Final = 0.2
NO_TIME_MS: Final = -1

log = structlog.get_logger("kafka")


def is_unreadable(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._BAD_COMPRESSION


class Unreadable:
    """Notes the records of one topic that can't be unpacked, for one thread; a reader stands at `next_offsets`."""

    def __init__(self, bootstrap_servers: str, group: str, options: Mapping[str, str]) -> None:
        tuning = {"enable.partition.eof": True, "fetch.wait.max.ms": 10, "fetch.error.backoff.ms": 10}
        bounds = {  # whatever the deployment says of its readers: the library refuses bounds that contradict each other
            "message.max.bytes": UNPACKED_BYTES_MAX // 4,
            "fetch.max.bytes": UNPACKED_BYTES_MAX // 2,
            "receive.message.max.bytes": UNPACKED_BYTES_MAX,
        }
        self._made_of = {**client.reader_options(bootstrap_servers, group, options, tuning), **bounds}
        self._left: dict[int, range] = {}  # by partition, the offsets whose records were not given out yet
        self._topic = ""

    def sifted(
        self, messages: Iterable[Message], next_offsets: Mapping[int, int], what: str = "reading failed"
    ) -> list[Message]:
        """Return the messages that are records, or pass; note what can't be unpacked. Raises BrokerFailed for other
        errors; `what` says what failed."""
        found = []
        for message in messages:
            error, topic, partition, offset = message.error(), message.topic(), message.partition(), message.offset()
            if not is_unreadable(error):
                raise_unless_passing(error, what)
                found.append(message)
                continue
            assert topic is not None, "what can't be unpacked has a place"
            assert partition is not None, "what can't be unpacked has a place"
            assert offset is not None, "what can't be unpacked has a place"
            if partition in next_offsets and partition not in self._left:
                self._topic, end = topic, self.end_of(topic, partition, offset)
                first = max(offset, next_offsets[partition])
                self._left[partition] = range(first, max(first, end))
        return found

    @property
    def is_empty(self) -> bool:
        return not self._left

    def taken(self, consumer: Consumer, records_max: int) -> list[Message]:
        """Return records that stand for those noted, in their order; where they are all, the consumer goes on behind
        them."""
        taken: list[Message] = []
        for partition, left in list(self._left.items()):
            given = left[: records_max - len(taken)]
            taken += [in_place_of(self._topic, partition, offset) for offset in given]
            self._left[partition] = left[len(given) :]
            if len(given) == len(left):
                del self._left[partition]
                consumer.seek(TopicPartition(self._topic, partition, left.stop))
        return taken

    def forget(self) -> None:
        """Forget what was noted: the reader goes back, and meets it again."""
        self._left.clear()

    def end_of(self, topic: str, partition: int, base: int) -> int:
        """Return the offset behind the batch that begins at `base`. Raises BrokerAway or BrokerFailed."""
        deadline_s, consumer = time.monotonic() + SEARCH_S, Consumer(self._made_of)
        try:
            end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=client.ANSWER_S)[1]
            within, step = base, 1
            while (at := within + step) < end:
                if _begins(consumer, topic, partition, at, deadline_s) == base:
                    within, step = at, step * 2
                else:
                    end = at
            while end - within > 1:
                at = (within + end) // 2
                within, end = (at, end) if _begins(consumer, topic, partition, at, deadline_s) == base else (within, at)
        except KafkaException as exception:
            raise broker_failure(f"the end of a batch of {topic} can't be found", exception) from exception
        finally:
            consumer.close()
        log.error("records_unreadable", topic=topic, partition=partition, first=base, last=end - 1)
        return end


def in_place_of(topic: str, partition: int, offset: int) -> Message:
    # The library's types know no arguments of a message, and not every release of it has types.
    return Message(topic=topic, partition=partition, offset=offset, value=UNREADABLE, timestamp=(0, NO_TIME_MS))  # type: ignore[call-arg,unused-ignore]


def _begins(consumer: Consumer, topic: str, partition: int, at: int, deadline_s: float) -> int | None:
    """Return where the batch that can't be unpacked begins that holds the offset `at`; None where another does."""
    consumer.assign([TopicPartition(topic, partition, at)])
    while time.monotonic() < deadline_s:
        for message in consumer.consume(1, POLL_S):
            error = message.error()
            if is_unreadable(error):
                return message.offset()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                return None
            raise_unless_passing(error)
    raise BrokerAway(f"the end of a batch of {topic}[{partition}] can't be found: the broker is silent")
