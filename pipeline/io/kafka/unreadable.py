"""Batches of records that the library can't unpack, and what is read in their place.

A publisher may send a batch of some KB that unpacks to gigabytes: the broker looks at what it weighs packed. The
library refuses to unpack over 100 MB, tells where the batch begins, and asks for it again, for ever. So its end is
searched for, by asking what comes from a later offset, and each of its records is read as one that is UNREADABLE.

It bounds zstd alone. A reader of what others publish looks at the bytes first (`look_ahead`): of a partition in which
much would be unpacked the library is held, and reads on behind what was looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.domain.log import UNREADABLE
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, broker_failure, raise_unless_passing
from pipeline.io.kafka.given import Given

if TYPE_CHECKING:  # it brings Faust's client with it, which few readers need
    from pipeline.io.kafka.look_ahead import LookAhead

SEARCH_S: Final = 40.0
"""Limit of one search, below READ_LIMIT_S of a worker: some 40 questions at most, for a batch of any length."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much is unpacked for one question. It is less than what a reader can't unpack, so that a question costs less than
the reading did, and more than a broker's batches weigh packed."""
POLL_S: Final = 0.2
GIVEN_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much is handed over at once, but for one record: five batches are under way in a worker."""
WARY_S: Final = 600.0
"""So long after a partition had heavy batches none of it is left to the library: whoever sent one may send the next."""
LOOKS_APART_S: Final = 0.2
"""Between two looks of which the first found nothing."""
NO_TIME_MS: Final = -1

log = structlog.get_logger("kafka")


def is_unreadable(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._BAD_COMPRESSION


class Unreadable:
    """Notes the records of one topic that can't be unpacked, for one thread; a reader stands at `next_offsets`."""

    def __init__(
        self, bootstrap_servers: str, group: str, options: Mapping[str, str], ahead: LookAhead | None = None,
        wary_s: float = 0,
    ) -> None:  # fmt: skip
        """ahead: None for a reader that looks at nothing. wary_s: so long it looks on, once it found what is heavy."""
        tuning = {"enable.partition.eof": True, "fetch.wait.max.ms": 10, "fetch.error.backoff.ms": 10}
        bounds = {  # whatever the deployment says of its readers: the library refuses bounds that contradict each other
            "message.max.bytes": UNPACKED_BYTES_MAX // 4,
            "fetch.max.bytes": UNPACKED_BYTES_MAX // 2,
            "receive.message.max.bytes": UNPACKED_BYTES_MAX,
        }
        self._made_of = {**client.reader_options(bootstrap_servers, group, options, tuning), **bounds}
        self._left: dict[int, Given] = {}  # by partition
        self._topic = ""
        self._ahead, self._wary_s, self._wary_until_s, self._next_look_s = ahead, wary_s, 0.0, 0.0

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
                offsets = range(first, max(first, end))
                self._left[partition] = Given(map(partial(in_place_of, topic, partition), offsets), offsets.stop)
        return found

    def looked_at(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Look at what stands at these places of one topic, before the library reads from them; return where it may:
        behind what is heavy, of which `taken` gives the records. Then `let_go` says so."""
        if self._ahead is None or not places:
            return places
        self._topic = places[0].topic
        heavy = self._ahead.heavy(self._topic, {place.partition: place.offset for place in places})
        if heavy:
            log.warning("records_heavy", topic=self._topic, partitions=sorted(heavy))
            self._wary_until_s = time.monotonic() + self._wary_s
        self._left.update(heavy)
        ends = {partition: given.end for partition, given in heavy.items()}
        return [TopicPartition(each.topic, each.partition, ends.get(each.partition, each.offset)) for each in places]

    def let_go(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Have the library read what was looked at, or else wait until all of it is taken."""
        consumer.pause([each for each in places if each.partition in self._left])
        consumer.resume([each for each in places if each.partition not in self._left])

    @property
    def held(self) -> frozenset[int]:
        """The partitions of which the library is to read nothing for now."""
        return frozenset(self._left)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take just now."""
        return all(left.is_over for left in self._left.values()) and (
            not self._left or time.monotonic() < self._next_look_s
        )

    def taken(self, consumer: Consumer, records_max: int) -> list[Message]:
        """Return records that stand for those noted, in their order; where they are all, the consumer goes on behind
        them."""
        taken, room_bytes = list[Message](), GIVEN_BYTES_MAX
        for left in self._left.values():
            if not left.is_over and len(taken) < records_max and room_bytes > 0:
                some, weight = left.some(records_max - len(taken), room_bytes)
                taken += some
                room_bytes -= weight
        over = {partition: left.end for partition, left in self._left.items() if left.is_over}
        if over and time.monotonic() < self._wary_until_s:
            # One of which the library itself found what it can't unpack was not held until now.
            consumer.pause([TopicPartition(self._topic, partition) for partition in over])
            self._look_on(over)
        else:
            for partition, end in over.items():
                del self._left[partition]
                consumer.seek(TopicPartition(self._topic, partition, end))
                consumer.resume([TopicPartition(self._topic, partition)])
        return taken

    def _look_on(self, starts: Mapping[int, int]) -> None:
        now_s = time.monotonic()
        if self._ahead is None or now_s < self._next_look_s:
            return
        found, is_heavy = self._ahead.found(self._topic, starts)
        self._left.update(found)
        self._next_look_s = 0.0 if found else now_s + LOOKS_APART_S
        if is_heavy:
            self._wary_until_s = now_s + self._wary_s

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
