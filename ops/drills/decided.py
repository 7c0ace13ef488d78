"""What the lane decides, read straight from its topic by a thread that no fault of the drill touches."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from ops.bench.rig.threads import Thread
from pipeline.decide.decision_topics import Unreadable, located
from pipeline.domain.decision import Decision
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka import client
from pipeline.io.kafka.known_brokers import KnownBrokers
from pipeline.io.settings import Settings

WAIT_S: Final = 0.05
RECORDS_A_READ: Final = 500


class Decided(NamedTuple):
    """A decision, and when it could be read, by time.monotonic()."""

    at_s: float
    decision: Decision


class DecidedReader:
    """Reads decisions and dead letters from the start of the lane's topics until `stop`."""

    def __init__(self, direct: Settings, wire: WireFormat) -> None:
        """direct: the lane's names, and the addresses of the servers themselves."""
        self._direct, self._wire = direct, wire
        self._topics = (direct.topic("decisions.v1"), direct.topic("transactions.dead.v1"))
        self._lock = threading.Lock()
        self._decided: list[Decided] = []
        self._dead = Counter[str]()
        self._thread = Thread("drill-decided", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the reader; whether it had failed, `check` has told."""
        with contextlib.suppress(RuntimeError):
            self._thread.stop()

    def check(self) -> None:
        """Raise RuntimeError where the reader failed: then nothing can be said of what was decided."""
        self._thread.check()

    def since(self, number: int = 0) -> list[Decided]:
        """Return what was read from decision `number` on."""
        with self._lock:
            return self._decided[number:]

    def dead_letters(self) -> dict[str, int]:
        with self._lock:
            return dict(self._dead)

    def accounted_for(self) -> int:
        """Return decisions, dead letters and duplicates, which must come to the records published (I1)."""
        with self._lock:
            return len(self._decided) + self._dead.total()

    def _run(self) -> None:
        direct = self._direct
        tuning = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
        options = client.reader_options(direct.bootstrap_servers, direct.consumer_group, direct.kafka_options, tuning)
        brokers = KnownBrokers()  # a reader that has forgotten them all looks like a lane in which nothing is decided
        consumer = Consumer({**options, **brokers.options})
        try:
            where = [
                (topic, partition) for topic in self._topics for partition in client.partitions_of(consumer, topic)
            ]
            consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in where])
            while not self._thread.stopping.is_set():
                messages = consumer.consume(RECORDS_A_READ, WAIT_S) or []
                brokers.check()
                now_s = time.monotonic()
                for message in messages:
                    if message.error() is None:
                        self._take(str(message.topic()), client.record_of(message), now_s)
        finally:
            consumer.close()

    def _take(self, topic: str, found: Record, now_s: float) -> None:
        if topic == self._topics[1]:
            letter = self._wire.decode_dead_letter(found.value)
            assert not isinstance(letter, Refusal), "the worker writes dead letters that can be read"
            if letter.source_topic == self._direct.topic("transactions.v1"):
                with self._lock:
                    self._dead[letter.code] += 1
            return
        decision = located(self._wire, found)
        assert not isinstance(decision, Unreadable), "what is written can be read"
        if decision is not None:
            with self._lock:
                self._decided.append(Decided(now_s, decision.stored.decision))
