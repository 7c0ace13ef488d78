"""The one reader outside any group, by which a rebuild, a comparison or a command reads a range of a topic.

It commits nothing, and its position ends with it. It blocks, so coroutines call it in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # types say less than it exports

from pipeline.domain.log import Presented, Prove, Record
from pipeline.io.kafka import client
from pipeline.io.kafka.client import (
    BrokerAway,
    broker_failure,
    headers_of,
    presented,
    record_of,
    traceparent_of,
)
from pipeline.io.kafka.unreadable import Unreadable
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings

if TYPE_CHECKING:  # it brings Faust's client with it, which few readers need
    from pipeline.io.kafka.look_ahead import LookAhead

SILENCE_S_MAX: Final = 30.0
"""Longest silence of a broker, with records still to come, before it is given up."""
RECORDS_A_READ: Final = 2_000
SETTLED_S: Final = 20.0
"""Time that an open transaction may hide records that are committed behind it: a dead worker's is aborted within 15 s.
A longer one ends this attempt, and the next one waits again."""
POLL_S: Final = 0.2
STARTING_TRIES: Final = 50
STARTING_PAUSE_S: Final = 0.1
"""Pause between tries: 5 s in all, more than a broker that has just started needs to find its groups and partitions."""
CONNECTION_MS: Final = 5_000
COMMAND_GROUP: Final = "fraud-command"

Taken = TypeVar("Taken")


class Extent(NamedTuple):
    """Offsets of a partition: the oldest that is kept, and the one that the next record will get."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class RangeRead(Generic[Taken]):
    """The result of reading a range of a partition.

    `taken` holds one value for each record, in order. The next record has end_offset or a later offset, because commit
    markers have offsets too. is_at_end: there was no more to read.
    """

    taken: Sequence[Taken]
    end_offset: int
    is_at_end: bool


class LogReader:
    """A reader for one thread at a time, and one reading at a time.

    Every method raises TopicMissing, BrokerAway, BrokerFailed. A range that begins where the last one ended continues
    without asking the broker for its records again.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        options: Mapping[str, str],
        *,
        timeout_s: float | None = None,
        is_expiry_expected: bool = False,
        partitioner: Partitioner = Partitioner.CRC32,
        proves: Mapping[str, Prove] = MappingProxyType({}),
        ahead: LookAhead | None = None,
    ) -> None:
        """Make the consumer.

        group: the library asks for one, but the reader never joins it; a role may use only its own. timeout_s: limit of
        one question to the broker; None stands for client.ANSWER_S. is_expiry_expected: where the records asked for
        have been deleted since, the reading begins with the oldest that is there; otherwise it fails. proves: by
        topic; a record of which it isn't proved who wrote it is read as if it weren't there. ahead: for a process that
        what others publish may not end; all that it reads is looked at first.
        """
        self._bootstrap_servers, self._group, self._options = bootstrap_servers, group, options
        self._timeout_s = timeout_s or client.ANSWER_S
        self._partitioner, self._proves = partitioner, proves
        self._read_to: tuple[str, int, int] | None = None  # topic, partition and next offset of the range being read
        self._admin: AdminClient | None = None
        tuning: client.Options = {
            "enable.partition.eof": True,  # commit markers at the log's end have offsets but are no records
            "fetch.wait.max.ms": 10,  # in each partition, one fetch that waits this long finds the end
            "socket.connection.setup.timeout.ms": CONNECTION_MS,
        }
        if is_expiry_expected:
            tuning["auto.offset.reset"] = "earliest"
        self._consumer = Consumer(client.reader_options(bootstrap_servers, group, options, tuning))
        self._unreadable = Unreadable(bootstrap_servers, group, options, ahead)

    @classmethod
    def of(
        cls,
        settings: Settings,
        group: str = COMMAND_GROUP,
        *,
        proves: Mapping[str, Prove] = MappingProxyType({}),
    ) -> Self:
        """Make a reader for a command, which shows the records that there are, or of a topic those that are proved."""
        return cls(
            settings.bootstrap_servers,
            group,
            settings.kafka_options,
            is_expiry_expected=True,
            partitioner=settings.partitioner,
            proves=proves,
        )

    @classmethod
    def of_service(
        cls,
        settings: Settings,
        group: str,
        *,
        is_expiry_expected: bool = False,
        timeout_s: float | None = None,
        proves: Mapping[str, Prove] = MappingProxyType({}),
    ) -> Self:
        """Make a reader for a process that runs on: what others publish may not end it, so it looks before it reads."""
        from pipeline.io.kafka.look_ahead import LookAhead

        return cls(
            settings.bootstrap_servers,
            group,
            settings.kafka_options,
            timeout_s=timeout_s,
            is_expiry_expected=is_expiry_expected,
            partitioner=settings.partitioner,
            proves=proves,
            ahead=LookAhead(settings.bootstrap_servers, settings.kafka_options),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._unreadable.close()
        self._consumer.close()

    def extents(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, Extent]:
        """Return the extent of each partition, ascending, or of `partitions` in their order."""
        wanted = client.partitions_of(self._consumer, topic, self._timeout_s) if partitions is None else partitions
        return {partition: self._extent(topic, partition) for partition in wanted}

    def uncommitted_ends(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Return the end of each partition, what open transactions have written included.

        Such records aren't read; but a reader that has come this far has everything that was committed by now.
        """
        places = self._places(topic) if partitions is None else [TopicPartition(topic, each) for each in partitions]
        admin = self._administrator()

        def ask() -> dict[int, int]:
            latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call,unused-ignore]  # untyped in some versions
            wanted = {place: latest for place in places}
            answers = admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=self._timeout_s
            )
            return {where.partition: answer.result().offset for where, answer in answers.items()}

        found: dict[int, int] = self._asked(f"the ends of {topic}", ask)
        return found

    def partition_of(self, topic: str, key: str) -> int:
        """Return the partition that a producer chooses for a key by the settings' partitioner."""
        return Partitioning(self._partitioner, self.partition_count(topic)).of(key.encode())

    def partition_count(self, topic: str) -> int:
        return len(client.partitions_of(self._consumer, topic, self._timeout_s))

    def committed(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Return the next offset of this reader's own group in each of `partitions` where it has committed one.

        `partitions`: None for all. The broker answers once no open transaction holds a pending offset of the group, so
        a caller that holds one open for a partition waits for itself by asking about it.
        """
        wanted = self._places(topic) if partitions is None else [TopicPartition(topic, each) for each in partitions]
        if not wanted:
            return {}
        what = f"the offsets of {self._group}"
        answer = self._asked(what, self._consumer.committed, wanted, self._timeout_s)
        return _offsets(what, answer)

    def committed_of(self, group: str, topic: str) -> dict[int, int]:
        """Return the committed offsets of any group as they stand.

        A pending offset doesn't count, and the broker doesn't wait for it.
        """
        wanted = [ConsumerGroupTopicPartitions(group, self._places(topic))]
        admin = self._administrator()

        def ask() -> ConsumerGroupTopicPartitions:
            answers = admin.list_consumer_group_offsets(wanted, request_timeout=self._timeout_s)
            found: ConsumerGroupTopicPartitions = answers[group].result()
            return found

        what = f"the offsets of {group}"
        return _offsets(what, self._asked(what, ask).topic_partitions or ())

    def read_range(
        self, topic: str, partition: int, first: int, end: int | None, records_max: int, take: Callable[[Record], Taken]
    ) -> RangeRead[Taken]:
        """Read from `first` to `end`, or to the end of the committed records; take no more than records_max records."""
        return self._range(topic, partition, first, end, records_max, lambda message: take(record_of(message)))

    def presented_range(
        self, topic: str, partition: int, first: int, end: int | None, records_max: int
    ) -> RangeRead[Presented]:
        """Do as `read_range` does, each record with what says who wrote it."""
        return self._range(topic, partition, first, end, records_max, lambda message: presented(topic, message))

    def _range(
        self,
        topic: str,
        partition: int,
        first: int,
        end: int | None,
        records_max: int,
        take: Callable[[Message], Taken],
    ) -> RangeRead[Taken]:
        taken: list[Taken] = []
        if end is not None and end <= first:
            return RangeRead(taken, first, True)
        next_offset = self._begin(topic, partition, first)
        for message in self._messages(topic, {partition: first}, lambda: min(RECORDS_A_READ, records_max - len(taken))):
            offset = _offset(message)
            if message.error() is not None:
                self._rest()
                return RangeRead(taken, max(next_offset, offset), True)
            if end is not None and offset >= end:
                self._rest()
                return RangeRead(taken, end, True)
            taken.append(take(message))
            next_offset = offset + 1
            if len(taken) == records_max:
                self._read_to = topic, partition, next_offset
                return RangeRead(taken, next_offset, end == next_offset)
        raise AssertionError("a reading ends at an end or in an exception")

    def read_presented(self, topic: str, starts: Mapping[int, int]) -> Iterator[Presented]:
        """Yield the records that `read` yields, each with what says who wrote it."""
        return (presented(topic, message) for message in self._read(topic, starts))

    def one_presented(self, topic: str, partition: int, offset: int) -> Presented | None:
        """Return the committed record at that very place; None where none stands there."""
        self._begin(topic, partition, offset)
        for message in self._messages(topic, {partition: offset}, lambda: 1):
            if message.error() is not None or _offset(message) != offset:
                return None
            return presented(topic, message)
        raise AssertionError("a reading ends at an end or in an exception")

    def traceparent_at(self, topic: str, partition: int, offset: int) -> bytes | None:
        """Return TRACE_HEADER of the committed record at that very place; None where there is none."""
        extent = self._extent(topic, partition)
        if not extent.low <= offset < extent.high:
            return None
        return next(iter(self._range(topic, partition, offset, offset + 1, 1, traceparent_of).taken), None)

    def header_at(self, topic: str, partition: int, offset: int, name: str) -> bytes | None:
        """Return a header of the committed record at that very place; None where there is none, or no such place."""
        extent = self.extents(topic).get(partition)
        if extent is None or not extent.low <= offset < extent.high:
            return None
        found = self._range(
            topic, partition, offset, offset + 1, 1, lambda message: headers_of(message).get(name)
        ).taken
        return found[0] if found and isinstance(found[0], bytes) else None

    def read_settled(self, topic: str, partition: int, first: int, end: int) -> Iterator[Record]:
        """Yield all committed records from `first` to `end`, once no open transaction hides any."""
        deadline_s = time.monotonic() + SETTLED_S
        while first < end:
            found = self.read_range(topic, partition, first, end, RECORDS_A_READ, _itself)
            if found.end_offset > first:
                deadline_s = time.monotonic() + SETTLED_S
            elif time.monotonic() > deadline_s:
                raise BrokerAway(f"an open transaction hides the end of {topic}[{partition}] for {SETTLED_S:.0f} s")
            yield from found.taken
            first = found.end_offset

    def read(self, topic: str, starts: Mapping[int, int], *, is_followed: bool = False) -> Iterator[Record]:
        """Yield records from `starts` (partition → offset) to the end of each partition as it is met.

        With is_followed the reading never ends. Partitions are mixed; within each, records come in order.
        """
        return map(record_of, self._read(topic, starts, is_followed=is_followed))

    def read_headers(self, topic: str, starts: Mapping[int, int], name: str) -> Iterator[tuple[Record, bytes]]:
        """Yield the records that `read` yields, of those that have a header of that name, with its value."""
        for message in self._read(topic, starts):
            value = headers_of(message).get(name)
            if isinstance(value, bytes):
                yield record_of(message), value

    def read_all(self, topic: str, partitions: Iterable[int] | None = None) -> Iterator[Record]:
        extents = self.extents(topic)
        wanted = extents if partitions is None else {partition: extents[partition] for partition in partitions}
        starts = {partition: extent.low for partition, extent in wanted.items() if extent.high > extent.low}
        return self.read(topic, starts)

    def _read(self, topic: str, starts: Mapping[int, int], *, is_followed: bool = False) -> Iterator[Message]:
        self._read_to = None
        self._unreadable.forget()
        self._assign(starts, topic)
        unfinished = set(starts)
        if not unfinished and not is_followed:
            return
        for message in self._messages(topic, starts, lambda: RECORDS_A_READ, is_patient=is_followed):
            if message.error() is None:
                yield message
                continue
            unfinished.discard(_partition(message))
            if not unfinished and not is_followed:
                self._rest()
                return

    def _administrator(self) -> AdminClient:
        if self._admin is None:
            self._admin = client.admin_client(self._bootstrap_servers, self._options)
        return self._admin

    def _begin(self, topic: str, partition: int, first: int) -> int:
        if self._read_to != (topic, partition, first):
            self._unreadable.forget()
            self._assign({partition: first}, topic)
        self._read_to = None  # until the range says where it ended
        return first

    def _assign(self, starts: Mapping[int, int], topic: str) -> None:
        places = [TopicPartition(topic, partition, offset) for partition, offset in starts.items()]
        self._consumer.assign(self._unreadable.looked_at(places))
        self._unreadable.let_go(self._consumer, places)

    def _rest(self) -> None:
        """Fetch nothing until the next reading, which names its places anew.

        The library would go on asking the broker a hundred times a second for what follows the end.
        """
        self._consumer.unassign()

    def _messages(
        self, topic: str, starts: Mapping[int, int], wanted: Callable[[], int], *, is_patient: bool = False
    ) -> Iterator[Message]:
        """Yield records from `starts` on, and the ends of partitions as messages with an error.

        It never asks for more than `wanted`, so that nothing is taken from the library and dropped.
        """
        heard, next_offsets = time.monotonic(), dict(starts)
        while True:
            messages = self._consumer.consume(1, POLL_S) if self._unreadable.is_empty else []
            if messages and (more := wanted() - 1):
                messages += self._consumer.consume(more, 0)  # consume(n, t) waits for the whole of t unless n come
            messages = self._unreadable.sifted(messages, next_offsets, f"reading {topic} failed")
            messages += self._unreadable.taken(self._consumer, wanted() - len(messages))
            prove = self._proves.get(topic)
            for message in messages:
                error = message.error()
                if error is None:
                    next_offsets[_partition(message)] = _offset(message) + 1
                if error is None and prove is not None and prove(presented(topic, message)) is not None:
                    continue
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    yield message
            heard = time.monotonic() if messages else heard
            if not is_patient and time.monotonic() - heard > SILENCE_S_MAX:
                raise BrokerAway(f"{topic} can't be read: the broker is silent")

    def _extent(self, topic: str, partition: int) -> Extent:
        where = TopicPartition(topic, partition)
        asked = self._consumer.get_watermark_offsets
        return Extent(*self._asked(f"the extent of {topic}", lambda: asked(where, timeout=self._timeout_s)))

    def _places(self, topic: str) -> list[TopicPartition]:
        partitions = client.partitions_of(self._consumer, topic, self._timeout_s)
        return [TopicPartition(topic, partition) for partition in partitions]

    def _asked(self, what: str, question: Callable[..., Any], *arguments: object) -> Any:
        for attempt in range(STARTING_TRIES):
            try:
                return question(*arguments)
            except KafkaException as exception:
                is_last = attempt == STARTING_TRIES - 1
                if is_last or exception.args[0].code() not in client.STARTING:
                    raise broker_failure(f"the broker was asked in vain for {what}", exception) from exception
            time.sleep(STARTING_PAUSE_S)
        raise AssertionError("the last try returns or raises")


def _itself(record: Record) -> Record:
    return record


def _offsets(what: str, answer: Iterable[TopicPartition]) -> dict[int, int]:
    """Return the offsets by partition, where there are any.

    A partition about which the broker could not answer is not one without an offset, so that raises BrokerFailed.
    """
    offsets: dict[int, int] = {}
    for where in answer:
        if where.error is not None:
            failed = f"the broker was asked in vain for {what} in partition {where.partition}"
            raise broker_failure(failed, KafkaException(where.error))
        if where.offset >= 0:
            offsets[where.partition] = where.offset
    return offsets


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None, "a record, and the end of a topic, has a place"
    return offset


def _partition(message: Message) -> int:
    partition = message.partition()
    assert partition is not None, "a record, and the end of a topic, has a place"
    return partition
