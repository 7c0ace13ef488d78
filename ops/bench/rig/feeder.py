"""Continuous traffic of known records, and the moments at which their decisions could be read."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from ops.bench.rig.payments import payments
from ops.bench.rig.publisher import RENEWALS_MAX, Publisher
from ops.bench.rig.stored import decision_of
from ops.bench.rig.threads import Thread
from ops.bench.rig.topics_io import Outbound, partitions_of
from pipeline.domain.payment import Decoded
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.known_brokers import KnownBrokers

DUPLICATE_EVERY: Final = 37
CONFLICT_EVERY: Final = 211
GARBAGE_EVERY: Final = 307
REPUBLISHED_FROM: Final = 400
"""A republished payment is one of this many latest ones: up to a second old, or from before the fault."""
TICK_S: Final = 0.01
PAYMENTS_MAX: Final = 2_000_000
NEWS_POLL_S: Final = 0.05


def known_records(seed: int) -> Iterator[Outbound]:
    """Yield sound payments, of which some are published again and some under the id of another, and some garbage."""
    wire, recent = WireFormat(), deque[Outbound](maxlen=REPUBLISHED_FROM)
    for number, record in enumerate(payments(wire, PAYMENTS_MAX, seed=seed), start=1):
        yield record
        recent.append(record)
        if number % DUPLICATE_EVERY == 0:
            yield recent[number * 7919 % len(recent)]._replace(timestamp_ms=record.timestamp_ms)
        if number % CONFLICT_EVERY == 0:
            yield _conflicting(wire, recent[number * 104_729 % len(recent)], record.timestamp_ms)
        if number % GARBAGE_EVERY == 0:
            yield Outbound(record.key, b"\xc3\x01 is no payment", record.timestamp_ms)


def _conflicting(wire: WireFormat, record: Outbound, timestamp_ms: int) -> Outbound:
    """Return the record with another amount under the same transaction id."""
    decoded = wire.decode_transaction(record.value)
    assert isinstance(decoded, Decoded)
    other = decoded.transaction._replace(amount_minor=decoded.transaction.amount_minor + 1)
    return Outbound(record.key, wire.encode_transaction(other), timestamp_ms)


class Feeder:
    """Publishes at a steady rate from a thread of its own, until its records end or it is stopped.

    It writes what it did, and when, to feeder.log.
    """

    def __init__(
        self, directory: Path, bootstrap_servers: str, topic: str, records: Iterable[Outbound], rate_per_s: int
    ) -> None:
        self._topic, self._records, self._rate_per_s = topic, iter(records), rate_per_s
        self._log_path = directory / "feeder.log"
        # A broker that comes back forgets producers of records that are dated over a day ago, as these are, and then
        # takes a later batch where an earlier one was under way: with several at once an acknowledged record was lost.
        # Its client may forget the broker for good; a copy on the topic is one republished payment more.
        self._publisher = Publisher(bootstrap_servers, in_flight=1, renewals_max=RENEWALS_MAX)
        self.published = 0
        self._flowing, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._thread = Thread("feeder", self._run)

    @property
    def has_ended(self) -> bool:
        """Return whether every record was published. Raises RuntimeError where that failed."""
        self._thread.check()
        return not self._thread.is_alive

    def check(self) -> None:
        """Raise RuntimeError where a record could not be published."""
        self._thread.check()

    def start(self) -> None:
        self._flowing.set()
        self._thread.start()
        self._note(f"started at {self._rate_per_s:,} records/s")

    def pause(self) -> int:
        """Pause, wait until every record is acknowledged, and return how many were published in all."""
        self._flowing.clear()
        self._idle.wait()
        self._thread.check()
        self._note(f"paused: {self.published:,} published and acknowledged")
        return self.published

    def resume(self) -> None:
        self._note("resumed")
        self._flowing.set()

    def stop(self) -> int:
        published = self.pause()
        self._thread.stopping.set()
        self._flowing.set()
        self._thread.stop()
        self._note("stopped")
        return published

    def abandon(self) -> None:
        """End the feeder without waiting, for a bench that ends before its traffic."""
        self._thread.stopping.set()
        self._flowing.set()

    def _run(self) -> None:
        try:
            while self._flowing.wait() and not self._thread.stopping.is_set():
                self._idle.clear()
                has_more = self._flow()
                if self._thread.stopping.is_set():
                    return  # it was abandoned, so nobody waits for records under way
                self._publisher.flush()
                self._idle.set()
                if not has_more:
                    return
        except BaseException as error:
            self._note(f"failed after {self.published:,}: {type(error).__name__}: {error}")
            raise
        finally:
            self._idle.set()

    def _flow(self) -> bool:
        """Publish for as long as the traffic flows; return False once there are no more records."""
        started, before = time.monotonic(), self.published
        while self._flowing.is_set() and not self._thread.stopping.is_set():
            due = int((time.monotonic() - started) * self._rate_per_s) - (self.published - before)
            for _ in range(due):
                record = next(self._records, None)
                if record is None:
                    self._note(f"all {self.published:,} published")
                    return False
                self._publisher.publish(self._topic, record)
                self.published += 1
            self._publisher.serve(TICK_S)
        return True

    def _note(self, line: str) -> None:
        with self._log_path.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")


class Recovery(NamedTuple):
    """Seconds from a fault until a read_committed reader has decisions that were made after it.

    They are those of the first partition and of the last one to have such a decision.
    """

    first_s: float
    all_partitions_s: float


class _Arrival(NamedTuple):
    at_ms: float
    decided_at_ms: int
    partition: int  # of the payment


class Watcher:
    """Reads decisions.v1 continuously, as a consumer of decisions would."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers, self._topic = bootstrap_servers, topic
        self._brokers, self._consumer = self._reader()
        self._next = dict.fromkeys(partitions_of(self._consumer, topic), 0)
        self._assign()
        self._arrivals: deque[_Arrival] = deque(maxlen=100_000)
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._consumer.close()

    def recovery(self, fault_ms: float, partitions: Iterable[int], deadline_s: float) -> Recovery | None:
        """Wait until each of `partitions` has a decision made after the fault; return None where one has none in time.

        Decisions made before the fault may become readable after it; they don't count.
        """
        wanted = set(partitions)
        with self._changed:
            is_recovered = self._changed.wait_for(lambda: wanted <= self._since(fault_ms).keys(), deadline_s)
            moments = [at_ms for partition, at_ms in self._since(fault_ms).items() if partition in wanted]
        if not is_recovered:
            return None
        return Recovery(*(round((moment - fault_ms) / 1000, 3) for moment in (min(moments), max(moments))))

    def _since(self, fault_ms: float) -> dict[int, float]:
        first: dict[int, float] = {}
        for arrival in self._arrivals:
            if arrival.decided_at_ms > fault_ms:
                first.setdefault(arrival.partition, arrival.at_ms)
        return first

    def _reader(self) -> tuple[KnownBrokers, Consumer]:
        brokers = KnownBrokers()
        options = {
            "bootstrap.servers": self._bootstrap_servers,
            "group.id": "watcher",  # the library asks for one; it is never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "log_level": 2,
        }
        return brokers, Consumer({**options, **brokers.options})

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])

    def _run(self) -> None:
        while not self._stopped.is_set():
            messages = self._consumer.consume(1, NEWS_POLL_S)
            messages += self._consumer.consume(1000, 0)
            now_ms = time.time() * 1000
            self._go_on_behind(messages)
            arrived = [_arrival(message, now_ms) for message in messages if message.error() is None]
            with self._changed:
                self._arrivals.extend(arrived)
                self._changed.notify_all()

    def _go_on_behind(self, messages: Sequence[Message]) -> None:
        """Note what was read, and read on with a new client where this one has forgotten every broker."""
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if message.error() is None and partition is not None and offset is not None:
                self._next[partition] = offset + 1
        try:
            self._brokers.check()
        except BrokerFailed:
            self._consumer.close()
            self._brokers, self._consumer = self._reader()
            self._assign()


def _arrival(message: Message, now_ms: float) -> _Arrival:
    value = message.value()
    assert isinstance(value, bytes), "raw bytes were asked for"
    decision = decision_of(b"", value)
    return _Arrival(now_ms, decision.fields["decided_at_ms"], decision.position.partition)
