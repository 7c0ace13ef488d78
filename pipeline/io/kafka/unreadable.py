"""Batches of records that the library can't unpack, and what is read in their place.

A publisher may send a batch of some KB that unpacks to gigabytes: the broker looks at what it weighs packed. The
library refuses to unpack over 100 MB, tells where the batch begins, and asks for it again, for ever. So its end is
searched for, by asking what comes from a later offset, and each of its records is read as one that is UNREADABLE.

It bounds zstd alone. A reader of what others publish looks at the bytes first (`look_ahead`). One that reads a range
looks at all of it. One that goes on for ever looks when it begins; once it found what is heavy, in any partition, it
leaves no partition to the library for WARY_S.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import Gauge

from pipeline.domain.log import UNREADABLE
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, broker_failure, raise_unless_passing
from pipeline.io.kafka.given import Given

if TYPE_CHECKING:  # it brings Faust's client with it, which few readers need
    from pipeline.io.kafka.look_ahead import LookAhead, Looked

SEARCH_S: Final = 40.0
"""Limit of one search, below READ_LIMIT_S of a worker: some 40 questions at most, for a batch of any length."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much is unpacked for one question. It is less than what a reader can't unpack, so that a question costs less than
the reading did, and more than a broker's batches weigh packed."""
POLL_S: Final = 0.2
GIVEN_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much is handed over at once, but for one record: five batches are under way in a worker."""
WARY_S: Final = 86_400.0
"""So long after a partition had heavy batches nothing is left to the library: whoever sent one may send the next, to
any partition. So nobody ends a process by them more than once a day; meanwhile records wait up to 0.2 s longer."""
LOOKS_APART_S: Final = 0.2
"""Between two looks of which the first found nothing."""
UNANSWERED_S: Final = 60.0
"""A wary reader whose looks have failed for so long leaves everything to the library: better ended than standing."""
NO_TIME_MS: Final = -1
HEAVY: Final = Gauge(
    "fraud_heavy_batch_timestamp_seconds", "When this process last met a batch that unpacks to too much; 0: never"
)

log = structlog.get_logger("kafka")


def is_unreadable(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._BAD_COMPRESSION


class Unreadable:
    """Notes the records of one topic that can't be unpacked, for one thread; a reader stands at `next_offsets`."""

    def __init__(
        self, bootstrap_servers: str, group: str, options: Mapping[str, str], ahead: LookAhead | None = None,
        wary_s: float | None = None,
    ) -> None:  # fmt: skip
        """ahead: None for a reader that looks at nothing. wary_s: so long it looks on, once it found what is heavy;
        None where it looks at all that it reads."""
        tuning = {"enable.partition.eof": True, "fetch.wait.max.ms": 10, "fetch.error.backoff.ms": 10}
        bounds = {  # whatever the deployment says of its readers: the library refuses bounds that contradict each other
            "message.max.bytes": UNPACKED_BYTES_MAX // 4,
            "fetch.max.bytes": UNPACKED_BYTES_MAX // 2,
            "receive.message.max.bytes": UNPACKED_BYTES_MAX,
        }
        self._made_of = {**client.reader_options(bootstrap_servers, group, options, tuning), **bounds}
        self._left: dict[int, Given] = {}  # by partition
        self._topic = ""
        self._ahead, self._wary_s = ahead, wary_s
        self._wary_until_s = self._next_look_s = 0.0
        self._answered_s: float | None = None  # when a look was answered last, or the first one began that wasn't
        self._large: int | None = None  # the partition of which what is large was begun

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
        behind what is looked at, of which `taken` gives the records. Then `let_go` says so."""
        if self._ahead is None or not places:
            return places
        self._topic = places[0].topic
        starts = {place.partition: place.offset for place in places}
        looked = self._look(starts, is_filled=self._wary_s is not None)
        held = {} if looked is None else looked.given
        if self._wary_s is not None:
            nothing = {partition: Given(iter(()), start) for partition, start in starts.items()}
            heavy = frozenset() if looked is None else looked.heavy
            held = {**nothing, **held} if self.is_wary else {each: held[each] for each in heavy}
        self._left.update(held)
        if not self._left and self._wary_s is not None:
            self._ahead.close()
        ends = {partition: given.end for partition, given in held.items()}
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
    def is_wary(self) -> bool:
        """Whether it found what is heavy of late, so that every partition is to be looked at again from where the
        reader stands, unless it is held."""
        return time.monotonic() < self._wary_until_s

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take just now."""
        return all(left.is_over for left in self._left.values()) and (
            not self._left or time.monotonic() < self._next_look_s
        )

    def taken(self, consumer: Consumer, records_max: int) -> list[Message]:
        """Return records that stand for those noted, in their order within each partition, all partitions alike; where
        they are all, the consumer goes on behind them."""
        taken, room_bytes, turn = list[Message](), GIVEN_BYTES_MAX, self._turn()
        for number, partition in enumerate(turn):
            share = (records_max - len(taken)) // (len(turn) - number)
            if share <= 0 or room_bytes <= 0:
                continue
            left = self._left.pop(partition)
            self._left[partition] = left  # the last one of the next turn
            some, weight = left.some(share, room_bytes)
            taken += some
            room_bytes -= weight
            if left.is_large:
                self._large = None if left.is_over else partition
        over = {partition: left.end for partition, left in self._left.items() if left.is_over}
        for partition, end in self._through(consumer, over).items():
            del self._left[partition]
            consumer.seek(TopicPartition(self._topic, partition, end))
            consumer.resume([TopicPartition(self._topic, partition)])
        if not self._left and over and self._ahead is not None and self._wary_s is not None:
            self._ahead.close()
        return taken

    def _turn(self) -> list[int]:
        """Return the partitions that have records, of those with large ones the one that was begun, or else the first:
        what is sent to one must not hold up another, nor be unpacked beside another."""
        there = {partition: left for partition, left in self._left.items() if not left.is_over}
        large = [partition for partition, left in there.items() if left.is_large]
        begun = self._large if self._large in large else next(iter(large), None)
        return [partition for partition, left in there.items() if not left.is_large or partition == begun]

    def _through(self, consumer: Consumer, over: Mapping[int, int]) -> Mapping[int, int]:
        """Look on behind what was taken; return where the library may go on, by partition."""
        is_thorough = self._ahead is not None and self._wary_s is None
        if not over or not (is_thorough or self.is_wary):
            return over
        if time.monotonic() < self._next_look_s:
            return {}
        # One of which the library itself found what it can't unpack was not held until now.
        consumer.pause([TopicPartition(self._topic, partition) for partition in over])
        looked = self._look(over, is_filled=False)
        given = {} if looked is None else looked.given
        self._left.update(given)
        if is_thorough or not self.is_wary:
            return {partition: end for partition, end in over.items() if partition not in given}
        self._next_look_s = 0.0 if given else time.monotonic() + LOOKS_APART_S
        return {}

    def _look(self, starts: Mapping[int, int], *, is_filled: bool = True) -> Looked | None:
        assert self._ahead is not None, "who looks at nothing doesn't come here"
        looked, now_s = self._ahead.look(self._topic, starts, is_filled=is_filled), time.monotonic()
        if looked is None:
            self._answered_s = now_s if self._answered_s is None else self._answered_s
        else:
            self._answered_s = None
        if looked is not None and looked.heavy:
            HEAVY.set_to_current_time()
            log.warning("records_heavy", topic=self._topic, partitions=sorted(looked.heavy))
            self._wary_until_s = now_s + (self._wary_s or 0)
        is_silent = self._answered_s is not None and now_s - self._answered_s > UNANSWERED_S
        if self.is_wary and (is_silent or (looked is not None and looked.refused)):
            log.error("records_left_to_the_library", topic=self._topic, starts=dict(starts))
            self._wary_until_s = 0.0
        return looked

    def forget(self) -> None:
        """Forget what was noted: the reader goes back, and meets it again."""
        self._left.clear()
        self._large = None

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

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
        HEAVY.set_to_current_time()
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
