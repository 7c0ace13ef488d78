"""What is decided while a live drill runs, partition by partition: when the model was out of the loop, and stayed so.

A decision doesn't say which worker made it. Each partition is one worker's at a time, so every worker that decides in
the scope is seen by its partitions. Counts are kept and decisions are not: real traffic has no bound.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ops.bench.rig.threads import Thread
from ops.drills.notes import SAMPLES_MAX, Sample
from pipeline.breaker.answer_counts import ALL, CHANNEL_PREFIX, MODEL_PREFIX, channel_scope, model_scope, segment_scope
from pipeline.decide.decision_topics import Unreadable, located
from pipeline.domain.decision import BreakerState, Decision, Route, drill_in
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka import client
from pipeline.io.kafka.known_brokers import KnownBrokers
from pipeline.io.settings import Settings

WAIT_S: Final = 0.05
RECORDS_A_READ: Final = 500
END_S: Final = 60.0
"""Longest wait for the broker to say where a partition ends."""


@dataclass(slots=True)
class Seen:
    """What was decided in the scope, of the payments of one partition; times are those of time.monotonic().

    out_s, out_ms: when a decision by a breaker that isn't closed was first read after the drill was thrown, and when
    the earliest of them was made. in_s, in_ms: the same of the latest by a closed one, made before the drill's end.
    """

    before: int = 0
    out_s: float | None = None
    out_ms: int | None = None
    in_s: float | None = None
    in_ms: int = 0

    @property
    def is_back(self) -> bool:
        """Whether the model was in the loop again before the drill's end."""
        return self.out_ms is not None and self.in_ms > self.out_ms


@dataclass(slots=True)
class Watched:
    """Everything that the watch counts. It is used under the watch's lock."""

    partitions: dict[int, Seen] = field(default_factory=dict)
    seconds: dict[int, Counter[str]] = field(default_factory=dict)
    amounts_minor: Counter[str] = field(default_factory=Counter)
    marked: int = 0
    unreadable: int = 0

    def take(
        self, decision: Decision, scope: str, drill_id: str, now_s: float, thrown: tuple[float, int] | None
    ) -> None:
        """thrown: when the drill was acknowledged, by time.monotonic(), and when it ends by the clock; None before."""
        if not is_in(decision, scope):
            return
        self._sample(decision, now_s)
        seen = self.partitions.setdefault(decision.source_partition, Seen())
        if thrown is None:
            seen.before += 1
            return
        if drill_in(decision.breaker_scope) == drill_id:
            self._count(decision)
        is_out = decision.breaker_state is not BreakerState.CLOSED
        at_ms = decision.decided_at_ms
        if is_out:
            seen.out_s = now_s if seen.out_s is None else seen.out_s
            seen.out_ms = at_ms if seen.out_ms is None else min(seen.out_ms, at_ms)
        elif at_ms < thrown[1]:
            seen.in_s, seen.in_ms = now_s, max(seen.in_ms, at_ms)

    def _count(self, decision: Decision) -> None:
        self.marked += 1
        if decision.route is Route.FALLBACK:
            transaction = decision.snapshot.transaction
            self.amounts_minor[transaction.currency] += transaction.amount_minor

    def _sample(self, decision: Decision, now_s: float) -> None:
        counts = self.seconds.setdefault(int(now_s), Counter())
        counts.update((decision.outcome.value, decision.route.value))


def is_in(decision: Decision, scope: str) -> bool:
    """Return whether a scope of the breaker holds the payment that was decided."""
    transaction = decision.snapshot.transaction
    if scope == ALL:
        return True
    if scope.startswith(MODEL_PREFIX):
        return model_scope(decision.model_version) == scope
    if scope.startswith(CHANNEL_PREFIX):
        return channel_scope(transaction.channel) == scope
    return any(segment_scope(name, value) == scope for name, value in transaction.segments.items())


def trip_s(partitions: Mapping[int, Seen], thrown_s: float) -> float | None:
    """Return how long it took until the model was out of the loop in every partition; None where that wasn't seen.

    A partition that decided nothing in the scope before the drill says nothing of its worker, and neither does one
    that decided nothing since. The latest decision by a closed breaker counts, not only the first by an open one.
    """
    asked = [seen for seen in partitions.values() if seen.before]
    outs = [max(seen.out_s, seen.in_s or 0.0) for seen in asked if seen.out_s is not None]
    return round(max(outs) - thrown_s, 2) if asked and len(outs) == len(asked) else None


def samples_of(watched: Watched, thrown_s: float, states: Mapping[int, str]) -> list[Sample]:
    """Return the drill second by second. states: the scope's, by whole seconds of time.monotonic()."""
    found, last = [], "UNKNOWN"
    every = sorted({*watched.seconds, *states})
    for second in range(every[0], every[-1] + 1) if every else ():
        counts, last = watched.seconds.get(second, Counter()), states.get(second, last)
        found.append(
            Sample(
                second - int(thrown_s),
                counts["ALLOW"],
                counts["BLOCK"],
                counts["ESCALATE"],
                counts["MODEL"],
                counts["FALLBACK"],
                last,
                is_ready=True,
            )
        )
    return found[:SAMPLES_MAX]


class LiveWatch:
    """Reads decisions.v1 from its end on, in a thread of its own."""

    def __init__(self, settings: Settings, wire: WireFormat, scope: str, drill_id: str) -> None:
        self._settings, self._wire, self._scope, self._drill_id = settings, wire, scope, drill_id
        self._lock, self._watched = threading.Lock(), Watched()
        self._thrown: tuple[float, int] | None = None
        self._ready = threading.Event()
        self._thread = Thread("drill-live", self._run)

    def start(self) -> None:
        """Return once the topic's end is known: what is decided from now on is seen. Raises TimeoutError."""
        self._thread.start()
        if not self._ready.wait(END_S):
            self._thread.check()
            raise TimeoutError("the end of decisions.v1 was not to be had")

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._thread.stop()

    def check(self) -> None:
        """Raise RuntimeError where the reader failed: then nothing can be said of what was decided."""
        self._thread.check()

    def thrown(self, at_s: float, ends_at_ms: int) -> None:
        with self._lock:
            self._thrown = at_s, ends_at_ms

    @contextlib.contextmanager
    def look(self) -> Iterator[Watched]:
        """Give what was counted, while nothing is added to it."""
        with self._lock:
            yield self._watched

    def _run(self) -> None:
        settings, topic = self._settings, self._settings.topic("decisions.v1")
        options = client.reader_options(
            settings.bootstrap_servers, settings.consumer_group, settings.kafka_options, {"fetch.wait.max.ms": 10}
        )
        brokers = KnownBrokers()  # a reader that has forgotten them all looks like partitions on which nothing tripped
        consumer = Consumer({**options, **brokers.options})
        try:
            ends = [self._end_of(consumer, topic, partition) for partition in client.partitions_of(consumer, topic)]
            consumer.assign(ends)
            self._ready.set()
            while not self._thread.stopping.is_set():
                messages = consumer.consume(RECORDS_A_READ, WAIT_S) or []
                brokers.check()
                now_s = time.monotonic()
                for message in messages:
                    if (error := message.error()) is not None:
                        if client.is_transient(error):
                            continue
                        raise KafkaException(error)
                    found = located(self._wire, client.record_of(message))
                    with self._lock:
                        if isinstance(found, Unreadable):
                            self._watched.unreadable += 1
                        elif found is not None:
                            decision = found.stored.decision
                            self._watched.take(decision, self._scope, self._drill_id, now_s, self._thrown)
        finally:
            consumer.close()

    @staticmethod
    def _end_of(consumer: Consumer, topic: str, partition: int) -> TopicPartition:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=END_S)
        return TopicPartition(topic, partition, high)
