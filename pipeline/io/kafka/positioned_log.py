"""A topic for a service that stores in PostgreSQL what it reads, together with its position in the same transaction.

A consumer group shares out the partitions, but the database, never Kafka, says where to go on in each. So a batch whose
transaction failed, or whose process was killed, is read again from the database's position, and a batch that was stored
is not. The records are those of committed Kafka transactions, in log order within each partition. Offsets have gaps
where commit markers and aborted records stand. A position that the log no longer reaches back to is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.domain.log import ContentT, LogRecord, Prove, RecordUndecodable, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.io.kafka import client
from pipeline.io.kafka.client import broker_failure, presented, record_of, traceparent_of
from pipeline.io.kafka.known_brokers import KnownBrokers
from pipeline.io.kafka.look_ahead import LookAhead
from pipeline.io.kafka.unreadable import WARY_S, Unreadable

SESSION_TIMEOUT_MS: Final = 6_000
PENDING_KILOBYTES_MAX: Final = 32_768
"""Most records, by size, that are fetched ahead of the batch that is being stored."""

PositionsOf = Callable[[Iterable[int]], Mapping[int, int]]
"""A function that gives the next offset by partition, as `Positions.read` does on a connection of its own choice."""


IsAside = Callable[[int, int, bytes], bool]


class PositionMove(NamedTuple):
    """A partition's share of a batch, as `Positions.advance` takes it."""

    partition: int
    before: int
    after: int


class LogBatch(NamedTuple, Generic[ContentT]):
    """unproved: records of which it isn't proved who wrote them, in log order; nothing may be done by what they say."""

    records: Sequence[LogRecord[ContentT]]  # in log order within each partition
    spans: Sequence[PositionMove]  # one for each partition that has records of either kind, ascending
    unproved: Sequence[Unproved] = ()


def undecoded(value: bytes | None) -> None:
    """Decode nothing: the `decode` for a PositionedLog of which only the bytes are wanted. None counts as no bytes."""
    del value


class PositionedLog(Generic[ContentT]):
    """A reader for one thread; partitions come and go inside `read` only."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        decode: Callable[[bytes | None], ContentT | Refusal],
        group: str,
        *,
        slot: int,
        positions: PositionsOf,
        options: Mapping[str, str],
        release: Callable[[], None] = lambda: None,
        is_aside: IsAside = lambda *_: False,
        prove: Prove | None = None,
        is_traced: bool = False,
    ) -> None:
        """Subscribe to the topic.

        decode: gives a record's content from its value, or the Refusal that `read` raises. group: unique to what the
        service stores. positions: asked whenever partitions are assigned; release: called when they are taken away.
        is_aside: asked of a record that can't be decoded, by partition, offset and value; it is passed over if so.
        prove: asked of every record before it is decoded; None where any writer of the topic is believed.
        is_traced: whether records are read with the header that says their trace.
        """
        self._topic, self._decode = topic, decode
        self._positions, self._release, self._is_aside, self._prove = positions, release, is_aside, prove
        self._is_traced = is_traced
        self._assigned_partitions: list[int] = []
        self._next: dict[int, int] = {}
        self._raised: BaseException | None = None
        self._is_closing = False
        tuning = {
            "client.id": f"{group}-{slot}",
            # The member is static, so a restart in its slot takes its partitions back at once.
            "group.instance.id": f"{group}-{slot}",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 6,
            "fetch.wait.max.ms": 20,
            "queued.max.messages.kbytes": PENDING_KILOBYTES_MAX,
        }
        self._unreadable = Unreadable(bootstrap_servers, group, options, LookAhead(bootstrap_servers, options), WARY_S)
        self._brokers = KnownBrokers()
        self._consumer = Consumer(
            {**client.reader_options(bootstrap_servers, group, options, tuning), **self._brokers.options}
        )
        assigned, revoked = client.raising_whole(self._assigned), client.raising_whole(self._revoked)
        self._consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)

    def read(self, records_max: int, wait_s: float) -> LogBatch[ContentT]:
        """Read what has arrived, up to records_max: wait for one record, then take what is there without waiting.

        Raises BrokerFailed, RecordUndecodable, and what `positions` raises. After that, and whenever a batch could not
        be stored, call `rewind` before reading on.
        """
        messages = self._consumer.consume(1, wait_s if self._unreadable.is_empty else 0)
        if messages and records_max > 1:
            messages += self._consumer.consume(records_max - 1, 0)
        self._brokers.check()
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        before = dict(self._next)
        messages = self._unreadable.sifted(messages, self._next, f"reading {self._topic} failed")
        messages += self._unreadable.taken(self._consumer, max(records_max - len(messages), 1))
        found = [record for message in messages if (record := self._record(message)) is not None]
        ends = {record.partition: record.offset + 1 for record in found}
        return LogBatch(
            [record for record in found if isinstance(record, LogRecord)],
            [PositionMove(partition, before[partition], ends[partition]) for partition in sorted(ends)],
            [record for record in found if isinstance(record, Unproved)],
        )

    def rewind(self) -> None:
        """Go back to the database's positions. Raises what `positions` raises."""
        self._unreadable.forget()
        self._next = dict(self._positions(self._assigned_partitions))
        places = [TopicPartition(self._topic, *position) for position in self._next.items()]
        self._consumer.assign(self._unreadable.looked_at(places))
        self._unreadable.let_go(self._consumer, places)

    @property
    def positions(self) -> Mapping[int, int]:
        """The next offset to read, by assigned partition."""
        return dict(self._next)

    def end_offsets(self) -> dict[int, int]:
        """Return the offset after the last stable record or marker of each assigned partition. Raises BrokerFailed."""
        try:
            return {partition: self._end(partition) for partition in self._next}
        except KafkaException as error:
            raise broker_failure(f"the ends of {self._topic} could not be asked for", error) from error

    def close(self) -> None:
        self._is_closing = True
        client.leave_group(self._consumer)
        self._unreadable.close()

    def _end(self, partition: int) -> int:
        where = TopicPartition(self._topic, partition)
        _, high = self._consumer.get_watermark_offsets(where, timeout=client.ANSWER_S)
        return int(high)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_closing:
            return  # handed over while leaving the group: nothing of it will be read
        self._assigned_partitions, self._next = [where.partition for where in partitions], {}
        try:
            self.rewind()
        except Exception as error:  # an exception can't leave a callback, so `read` raises it
            self._raised = error
            consumer.assign([])

    def _revoked(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._assigned_partitions, self._next = [], {}
        self._unreadable.forget()
        self._release()
        consumer.unassign()

    def _record(self, message: Message) -> LogRecord[ContentT] | Unproved | None:
        if message.error() is not None:
            return None
        record = record_of(message)
        partition, offset, timestamp_ms = record.source
        if offset < self._next.get(partition, offset + 1):
            return None  # stored already, or no longer ours
        if self._prove is not None and (unproved := self._prove(presented(self._topic, message))) is not None:
            self._next[partition] = offset + 1
            return unproved
        content = self._decode(record.value)
        if isinstance(content, Refusal):
            if self._is_aside(partition, offset, record.value or b""):
                self._next[partition] = offset + 1
                return None
            what = f"{content.code}, {content.detail}; look at it, and put it aside with `fraud quarantine propose`"
            raise RecordUndecodable(f"{self._topic}[{partition}] at {offset}: {what}")
        self._next[partition] = offset + 1
        trace = traceparent_of(message) if self._is_traced else None
        return LogRecord(partition, offset, timestamp_ms, record.key or b"", record.value or b"", content, trace)
