"""The decision worker's Kafka: batches in, and one transaction out for each batch.

Invariants
1. Records, dead letters and offsets of a batch commit together or not at all.
2. A batch that was read before a partition was taken away is never committed afterwards (`Batch.epoch`). The broker
   refuses a group generation that is no longer current, so a zombie can't commit either.
3. Every partition is read and committed without gaps: a batch starts where the previous one ended.
4. A transaction stands open only while its batch is under way, without a wait, and its partitions are held.

While little waits, a batch's transaction is opened, with its offsets, as soon as the batch is read. Two of the five
questions that a commit asks the broker one after another are then answered while the batch is decided.

Blocking calls run in two threads: one reads, one commits. They meet in `_lock`, so that a partition is given away
only between two transactions. Only the reader asks for the group's metadata. If the committer asked while the reader
is in a rebalance callback, librdkafka would answer only after the callback, which waits for the committer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.domain.log import Outgoing, Span
from pipeline.io.kafka import client
from pipeline.io.kafka.batches import Batch as Batch  # whoever has the log has its batches
from pipeline.io.kafka.batches import records_of
from pipeline.io.kafka.client import BrokerFailed, raise_unless_passing
from pipeline.io.kafka.known_brokers import KnownBrokers
from pipeline.io.kafka.look_ahead import LookAhead
from pipeline.io.kafka.unreadable import WARY_S, Unreadable, is_unreadable
from pipeline.io.partitioner import Partitioner
from pipeline.io.settings import Settings
from pipeline.io.watchdog import Pulse

BATCHES_AHEAD_MAX: Final = 5
"""Most batches under way while they are at least half full: one is read, one is observed, one waits to be judged, one
is judged, one commits. While less waits there is one; a batch read earlier would be smaller, and only wait for it."""
LINGER_MS: Final = 100
"""Longer than handing a batch over takes. A commit flushes, which waits for no linger: each partition is sent once."""
FETCH_WAIT_MS: Final = 2
FETCH_BYTES_MIN: Final = 65_536
"""The broker gathers this many bytes, or waits for FETCH_WAIT_MS. To answer a fetch for each record would cost it a
core at 1,000/s."""
IDLE_POLL_S: Final = 0.2
MEMBERSHIP_INTERVAL_S: Final = 2.0
"""Interval at which the group hears from us while batches wait. A pause throws away what was fetched ahead."""
BROKER_TIMEOUT_S: Final = 30.0
COMMIT_MARGIN_S: Final = 2.0
"""Margin by which one attempt at a commit may exceed the transaction's timeout. By then the broker has aborted the
transaction, but librdkafka may wait on: while a coordinator is away, send_offsets_to_transaction ignores its timeout
(librdkafka's issue 5456)."""
ASSIGN_TIMEOUT_S: Final = 8.0
"""Limit of one question that a rebalance asks the broker, while the group waits for us."""
READ_LIMIT_S: Final = 45.0
"""Limit of one look at the log, with the rebalances in it, which wait for a commit, ask two questions at most, and look
for what was decided last. A look that takes longer stands still."""
JOIN_LIMIT_S: Final = 120.0
"""Limit of being without the group, from the start or from the loss of the partitions until it has answered: a member
that stands still is waited for (READ_LIMIT_S, then its session), and then our own look at the log may take as long."""
COMMIT_ATTEMPTS_MAX: Final = 12
REJOIN_WAIT_S: Final = 1.0
"""Wait for the group's next generation, before a commit that was refused for the old one is tried again. 12 such waits
are twice the default session timeout."""


StartsOf = Callable[[Mapping[int, int | None]], Mapping[int, int]]


class TransactionLog:
    """Reads `topic` for a consumer group and commits each batch's results in one Kafka transaction."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        group: str,
        slot: int,
        *,
        batch_records_max: int,
        session_timeout_ms: int,
        transaction_timeout_ms: int,
        options: Mapping[str, str],
        partitioner: Partitioner = Partitioner.CRC32,
        starts_of: StartsOf | None = None,
        is_traced: bool = False,
    ) -> None:
        """Make the clients.

        starts_of: says where assigned partitions are read from, by the offsets that the group committed, None for none;
        called in the reader's thread. Without it a partition starts at the group's offset, or at its oldest record.
        """
        self._topic, self._batch_records_max, self._starts_of = topic, batch_records_max, starts_of
        self._is_traced = is_traced
        reading = {
            # The member is static, so a restart in its slot takes its partitions back at once, without waiting for the
            # session of its killed predecessor, and the group fences a zombie of the slot, too.
            "group.instance.id": f"{group}-{slot}",
            "client.id": f"{group}-{slot}",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": max(session_timeout_ms // 6, 200),
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "fetch.min.bytes": FETCH_BYTES_MIN,
            "queued.max.messages.kbytes": 32_768,
        }
        writing = {
            "transactional.id": f"{group}-{slot}",
            "transaction.timeout.ms": transaction_timeout_ms,
            "delivery.timeout.ms": transaction_timeout_ms,
            "linger.ms": LINGER_MS,
            "queue.buffering.max.kbytes": 262_144,
            # After most outages of over 10 s a producer that begins anew waits for ever for the group's coordinator
            # under a forgotten name (librdkafka's issue 5511). One that knows no broker stands in a commit.
            "metadata.recovery.strategy": "none",
        }
        self._brokers = KnownBrokers()
        reading = {**client.reader_options(bootstrap_servers, group, options, reading), **self._brokers.options}
        self._consumer = Consumer(reading)
        self._producer = Producer(client.writer_options(bootstrap_servers, options, partitioner, writing))
        self._lock = threading.Lock()
        self._epoch = 0
        self._position: dict[int, int] = {}  # next offset to read, by assigned partition
        self._committed: dict[int, int] = {}
        self._must_seek = False
        self._aside: frozenset[int] = frozenset()  # partitions that are not read for now
        self._paused: frozenset[int] = frozenset()  # those of them that the reader has paused
        self._metadata: object = None
        self._metadata_renewed = threading.Event()  # set since the group's last change or the last refused commit
        self._stopping = threading.Event()
        self._is_closed = False
        self._opened: Batch | None = None  # the batch whose transaction was opened ahead; changes under `_lock` only
        self._under_way = 0  # batches read but neither committed nor dropped
        self._ahead_max = 1
        self._released = threading.Condition()
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="kafka-commit")
        self._reader: threading.Thread | None = None
        self._stashed: list[Message] = []
        self._unreadable = Unreadable(bootstrap_servers, group, options, LookAhead(bootstrap_servers, options), WARY_S)
        self._commit_timeout_s = transaction_timeout_ms / 1000
        self._membership_interval_s = min(MEMBERSHIP_INTERVAL_S, self._commit_timeout_s / 3)
        self._commit_pulse = Pulse("an attempt to commit", self._commit_timeout_s + COMMIT_MARGIN_S)
        self._read_pulse = Pulse("a look at the log", READ_LIMIT_S)
        self._join_pulse = Pulse("joining the group", JOIN_LIMIT_S)

    @classmethod
    def of(cls, settings: Settings, starts_of: StartsOf | None = None) -> Self:
        """The log of the payments that a worker with these settings decides."""
        return cls(
            settings.bootstrap_servers,
            settings.topic("transactions.v1"),
            settings.consumer_group,
            settings.worker_slot,
            batch_records_max=settings.batch_records_max,
            session_timeout_ms=settings.session_timeout_ms,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            options=settings.kafka_options,
            partitioner=settings.partitioner,
            starts_of=starts_of,
            is_traced=settings.otlp_endpoint is not None,
        )

    # Life cycle

    def join(self) -> None:
        """Ask for partitions; they are assigned and read once `start` has been called."""
        assigned, revoked = map(client.raising_whole, (self._assigned, self._revoked))
        self._consumer.subscribe([self._topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)

    def fence(self) -> Awaitable[None]:
        """Abort what a predecessor of the same slot left open, and keep it from writing more.

        Commits wait for this, if it is called before `start`. So does the question for committed offsets, which the
        broker answers only when none is pending.
        """
        initialise = self._producer.init_transactions
        return asyncio.get_running_loop().run_in_executor(self._committer, initialise, BROKER_TIMEOUT_S)

    def start(self, deliver: Callable[[Batch], None], fail: Callable[[BaseException], object]) -> None:
        """Start reading, and call `deliver` on the event loop for each batch.

        `fail` is called in the reader's thread, at most once, because what stops the reader may have stopped the loop.
        """
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                self._read(lambda batch: loop.call_soon_threadsafe(deliver, batch))
            except Exception as error:  # the thread's outermost loop; a reader must not end in silence
                if not self._stopping.is_set():
                    fail(error)

        self._join_pulse.begin()
        self._reader = threading.Thread(target=read, name="kafka-read", daemon=True)
        self._reader.start()

    async def stop(self) -> None:
        """Leave the group; whoever gets its partitions reads an uncommitted batch again."""
        self._stopping.set()
        self._join_pulse.end()
        with self._released:
            self._released.notify()
        loop = asyncio.get_running_loop()
        if self._reader is not None:
            await loop.run_in_executor(None, self._reader.join, BROKER_TIMEOUT_S)
            await loop.run_in_executor(None, self._unreadable.close)
        with contextlib.suppress(BrokerFailed):  # the broker can't be told, and aborts in the end without it
            await loop.run_in_executor(self._committer, self._take_back)
        await loop.run_in_executor(self._committer, client.leave_group, self._consumer)
        self._is_closed = True
        self._committer.shutdown(wait=True)

    @property
    def pulses(self) -> tuple[Pulse, ...]:
        """The pulses that must not stand still (pipeline.io.watchdog)."""
        return self._read_pulse, self._commit_pulse, self._join_pulse

    @property
    def assigned_partitions(self) -> tuple[int, ...]:
        return tuple(sorted(self._position))

    def is_current(self, batch: Batch) -> bool:
        return batch.epoch == self._epoch

    async def set_aside(self, partitions: Iterable[int]) -> None:
        """Read no more of these partitions until they are taken up; they stay this worker's.

        Batches under way are dropped, and read again without them.
        """
        await asyncio.get_running_loop().run_in_executor(None, self._change_aside, frozenset(partitions), True)

    async def take_up(self, partitions: Iterable[int]) -> None:
        """Read these partitions on from where they were committed."""
        await asyncio.get_running_loop().run_in_executor(None, self._change_aside, frozenset(partitions), False)

    @property
    def set_aside_partitions(self) -> tuple[int, ...]:
        return tuple(sorted(self._aside & set(self._position)))

    def _change_aside(self, partitions: frozenset[int], is_aside: bool) -> None:
        with self._lock:
            self._aside = self._aside | partitions if is_aside else self._aside - partitions
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Drop the batches under way, to read from the last commits; `_lock` is held."""
        self._abort_opened()
        self._epoch += 1
        self._must_seek = True
        self._metadata_renewed.clear()

    # Writing

    async def commit(self, batch: Batch, outgoing: Sequence[Outgoing]) -> bool:
        """Commit a batch with its results.

        Returns True once it is committed, and False where nothing was written because a partition was taken away
        meanwhile, or all were given back. Raises BrokerFailed when this worker is fenced or the broker stays out of
        reach.
        """
        loop = asyncio.get_running_loop()
        return not self._is_closed and await loop.run_in_executor(self._committer, self._commit, batch, outgoing)

    def release(self) -> None:
        """Record that one batch is through, committed or dropped, so that another may be read."""
        if self._opened is not None:  # the batch was dropped
            self._committer.submit(self._take_back)
        with self._released:
            self._under_way -= 1
            self._released.notify()

    def _commit(self, batch: Batch, outgoing: Sequence[Outgoing]) -> bool:
        last = ""
        for _ in range(COMMIT_ATTEMPTS_MAX):
            with self._lock:
                if batch.epoch != self._epoch:
                    return False
                self._commit_pulse.begin()
                try:
                    self._write(batch, outgoing)
                    return True
                except KafkaException as exception:
                    self._metadata_renewed.clear()
                    last = self._abort(exception.args[0])
                finally:
                    self._commit_pulse.end()
            self._metadata_renewed.wait(REJOIN_WAIT_S)
        raise BrokerFailed(f"{COMMIT_ATTEMPTS_MAX} attempts to commit failed; the last: {last}")

    def _write(self, batch: Batch, outgoing: Sequence[Outgoing]) -> None:
        for span in batch.spans:
            assert span.start_offset == self._committed[span.partition], "no batch is passed over (invariant 3)"
        assert self._opened in (None, batch), "a transaction stands open for its own batch only (invariant 4)"
        is_open, self._opened = self._opened is batch, None
        if not is_open:
            self._producer.begin_transaction()
        produce = self._producer.produce
        for topic, key, value, partition, headers in outgoing:
            produce(topic, value, key, partition, headers=headers)
        # Flushing first lets AddOffsetsToTxn find the last transaction's markers written (measured: p50 60 → 12 ms).
        self._producer.flush(self._commit_timeout_s)
        if not is_open:
            self._send_offsets(batch)
        self._producer.commit_transaction(self._commit_timeout_s)
        for span in batch.spans:
            self._committed[span.partition] = span.end_offset

    def _send_offsets(self, batch: Batch) -> None:
        offsets = [TopicPartition(self._topic, span.partition, span.end_offset) for span in batch.spans]
        self._producer.send_offsets_to_transaction(offsets, self._metadata, self._commit_timeout_s)

    def _open_ahead(self, batch: Batch) -> None:
        """Open the batch's transaction, in the committer's thread.

        Where that fails, the commit does all of it, and meets any failure that can't be mended.
        """
        with self._lock:
            if batch.epoch != self._epoch:
                return
            self._commit_pulse.begin()
            try:
                self._producer.begin_transaction()
                self._send_offsets(batch)
                self._opened = batch
            except KafkaException as exception:
                self._abort(exception.args[0])
            finally:
                self._commit_pulse.end()

    def _take_back(self) -> None:
        if self._opened is not None:  # otherwise the reader would wait for a commit under way
            with self._lock:
                self._abort_opened()

    def _abort_opened(self) -> None:
        if self._opened is not None:
            self._opened = None
            self._abort_transaction()

    def _abort(self, error: KafkaError) -> str:
        """Abort after `error` and return it in words; raise BrokerFailed where no further attempt can succeed."""
        if error.fatal():
            raise BrokerFailed(f"this worker was fenced or failed for good: {error.str()}")
        if error.code() == KafkaError._TIMED_OUT:
            raise BrokerFailed(f"a step of the transaction was not answered within {self._commit_timeout_s:.0f} s")
        self._abort_transaction()
        return error.str()

    def _abort_transaction(self) -> None:
        try:
            self._producer.abort_transaction(self._commit_timeout_s)
        except KafkaException as exception:
            raise BrokerFailed(f"the transaction could not be aborted: {exception.args[0].str()}") from exception

    # Reading, in the reader's thread

    def _read(self, deliver: Callable[[Batch], object]) -> None:
        while not self._stopping.is_set():
            self._read_pulse.begin()
            if not self._may_read_on(self._membership_interval_s):
                self._keep_membership()
                continue
            batch = None
            while batch is None and not self._stopping.is_set():
                self._read_pulse.begin()
                batch = self._next_batch()
            if batch is not None:
                self._ahead_max = BATCHES_AHEAD_MAX if len(batch.records) * 2 >= self._batch_records_max else 1
                with self._released:
                    self._under_way += 1
                    is_alone = self._under_way == self._ahead_max == 1
                if is_alone:
                    self._committer.submit(self._open_ahead, batch)  # before its commit can be asked for
                deliver(batch)
        self._read_pulse.end()

    def _may_read_on(self, patience_s: float) -> bool:
        def may() -> bool:
            return self._under_way < self._ahead_max or self._stopping.is_set()

        with self._released:
            return self._released.wait_for(may, patience_s)

    def _next_batch(self) -> Batch | None:
        """Read what has arrived, up to the limit: wait for one record, then take what is there without waiting."""
        self._pause_what_is_aside()
        if self._unreadable.is_wary and self._position.keys() - self._paused - self._unreadable.held:
            with self._lock:
                self._begin_anew()
        epoch = self._epoch
        messages, self._stashed = self._stashed, []
        messages += self._consumer.consume(self._batch_records_max - len(messages), 0)
        if not messages and self._unreadable.is_empty:
            messages += self._consumer.consume(1, IDLE_POLL_S)
            messages += self._consumer.consume(self._batch_records_max - len(messages), 0)
        if not self._metadata_renewed.is_set():
            self._metadata = self._consumer.consumer_group_metadata()
            self._metadata_renewed.set()
        self._brokers.check()
        # Before anything is dropped, as a fatal error is told only once.
        messages = self._unreadable.sifted(messages, self._position)
        if epoch != self._epoch or self._must_seek:
            self._seek_to_committed()
            return None
        messages += self._unreadable.taken(self._consumer, self._batch_records_max)
        return self._batch(messages, epoch) if messages else None

    def _pause_what_is_aside(self) -> None:
        held = {place.partition for place in self._consumer.assignment()}
        aside = self._aside & held
        if aside != self._paused:
            self._consumer.resume([TopicPartition(self._topic, each) for each in (self._paused - aside) & held])
            self._consumer.pause([TopicPartition(self._topic, each) for each in aside])
            self._paused = frozenset(aside)

    def _batch(self, messages: Sequence[Message], epoch: int) -> Batch | None:
        records, traceparents = records_of(messages, is_traced=self._is_traced)
        if not records:
            return None
        ends = {record.source.partition: record.source.offset + 1 for record in records}
        spans = [Span(p, self._position[p], end, self._committed[p]) for p, end in sorted(ends.items())]
        self._position.update(ends)
        return Batch(records, spans, epoch, traceparents)

    def _keep_membership(self) -> None:
        """Let the group hear from us while batches wait, for instance because Redis is away.

        Nothing more is read meanwhile. No transaction may stand open, or the broker would fence us at its timeout.
        """
        self._take_back()
        partitions = self._consumer.assignment()
        self._consumer.pause(partitions)
        message = self._consumer.poll(0)
        if message is not None:
            if not is_unreadable(message.error()):
                raise_unless_passing(message.error())  # at once, as this may be why batches wait for a commit
            self._stashed.append(message)
        self._metadata = self._consumer.consumer_group_metadata()
        self._metadata_renewed.set()
        read = {p.partition for p in self._consumer.assignment()} - self._paused - self._unreadable.held
        self._consumer.resume([p for p in partitions if p.partition in read])

    def _seek_to_committed(self) -> None:
        """Go back to the last commits after a rebalance, which drops the batches in flight."""
        self._unreadable.forget()
        with self._lock:
            self._must_seek = False
            self._position.update(self._committed)
        places = [TopicPartition(self._topic, *each) for each in self._position.items()]
        read = [place for place in places if place.partition not in self._paused]
        looked_at = {place.partition: place for place in self._unreadable.looked_at(read)}
        for place in places:
            self._consumer.seek(looked_at.get(place.partition, place))
        self._unreadable.let_go(self._consumer, read)

    # Rebalancing, called from within consume() and poll()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metadata_renewed.clear()
        if self._stopping.is_set():
            return  # handed over while leaving the group: nothing of it will be read
        committed = consumer.committed(partitions, timeout=ASSIGN_TIMEOUT_S) if partitions else []
        for partition in committed:
            if partition.error is not None:
                raise KafkaException(partition.error)
        offsets = {each.partition: each.offset if each.offset >= 0 else None for each in committed}
        starts = self._starts_of(offsets) if self._starts_of is not None else {}
        for partition in committed:
            if partition.partition in starts:
                partition.offset = starts[partition.partition]
            elif partition.offset < 0:
                partition.offset = consumer.get_watermark_offsets(partition, timeout=ASSIGN_TIMEOUT_S)[0]
        with self._lock:
            for partition in committed:
                self._position[partition.partition] = self._committed[partition.partition] = partition.offset
        consumer.incremental_assign(self._unreadable.looked_at(committed))
        self._unreadable.let_go(consumer, committed)  # and what was lost while paused (see _keep_membership)
        self._must_seek |= bool(self._unreadable.held & self._aside)  # nothing is given of what is set aside
        self._join_pulse.end()  # with nothing, too, where there are more workers than partitions

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions)
        consumer.incremental_unassign(partitions)

    def _give_up(self, partitions: list[TopicPartition]) -> None:
        """Wait for a transaction under way; a batch that is read but not committed will never be committed."""
        if not self._stopping.is_set():
            self._join_pulse.begin()  # partitions that are given back, or lost, are followed by an assignment
        with self._lock:
            self._begin_anew()  # the partitions' next owner waits for pending offsets
            for partition in partitions:
                self._position.pop(partition.partition, None)
                self._committed.pop(partition.partition, None)
            self._paused -= {partition.partition for partition in partitions}  # it comes back running
