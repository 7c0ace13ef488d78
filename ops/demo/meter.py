"""The demonstration's meter: it counts decisions and dead letters as a `read_committed` reader sees them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from pipeline.decide.decision_topics import Located, Unreadable, located
from pipeline.domain.decision import Outcome, Route
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka import client
from pipeline.io.settings import Settings

ALLOWED_SHOWN: Final = 3
STOPPED_SHOWN: Final = 5
"""Number of latest decisions shown that are no ALLOW: there are few of them, and they are the ones to read."""
FIRST_LOOKED_AT: Final = 500
"""Number of first decisions that show whether accounts have a past."""
SCORES_KEPT: Final = 2000
LATENCIES_KEPT: Final = 200_000
WAIT_S: Final = 0.02
RECORDS_A_READ: Final = 500


class Snapshot(NamedTuple):
    """The counts so far, and speed and latency over the last `WINDOW_S`."""

    decisions: int
    by_outcome: dict[str, int]
    by_route: dict[str, int]
    dead_letters: int
    duplicates: int
    per_second: float
    recent_outcomes: dict[str, int]
    latency_ms_p50: int
    latency_ms_p99: int
    latest: tuple[Located, ...]


WINDOW_S: Final = 5.0
_UNPAID: Final = COLUMN["is_unpaid_beneficiary"]
_MONTH: Final = COLUMN["account_volume_percent_of_normal_month"]


class _Seen(NamedTuple):
    at_s: float
    latency_ms: int
    outcome: str


class Meter:
    """Reads in a thread of its own from `start` to `stop`; every other method may be called from any thread."""

    def __init__(self, settings: Settings, wire: WireFormat) -> None:
        self._settings, self._wire = settings, wire
        self._decisions_topic = settings.topic("decisions.v1")
        self._dead_topic = settings.topic("transactions.dead.v1")
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-meter", daemon=True)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._dead_letters: Counter[str] = Counter()
        self._ids: set[str] = set()
        self._seen: deque[_Seen] = deque()
        self._latencies_ms: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self._allowed: deque[Located] = deque(maxlen=ALLOWED_SHOWN)
        self._stopped: deque[Located] = deque(maxlen=STOPPED_SHOWN)
        self._kept: dict[str, Located] = {}
        self._after: Counter[str] = Counter()
        self._next: dict[str, dict[int, int]] = {self._decisions_topic: {}, self._dead_topic: {}}
        self._scores: deque[int] = deque(maxlen=SCORES_KEPT)
        self._first_months_percent: list[int] = []
        self._first_unpaid: list[int] = []
        self._measured_from_ms = 0
        self.first_decision_s: float | None = None
        """Time by time.monotonic() when the first decision could be read."""

    def start(self) -> None:
        self._thread.start()

    def measure_from_now(self) -> None:
        """Measure latency for records published from now on only; earlier ones waited for the worker to start."""
        self._measured_from_ms = time.time_ns() // 1_000_000

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def snapshot(self) -> Snapshot:
        now_s = time.monotonic()
        with self._lock:
            while self._seen and self._seen[0].at_s < now_s - WINDOW_S:
                self._seen.popleft()
            seen = list(self._seen)
            counts, dead, latest = Counter(self._counts), Counter(self._dead_letters), (*self._allowed, *self._stopped)
        by_outcome, by_route = _totals(counts)
        started_s = self.first_decision_s or now_s
        latencies_ms = [each.latency_ms for each in seen]
        return Snapshot(
            decisions=counts.total(),
            by_outcome=by_outcome,
            by_route=by_route,
            dead_letters=dead.total() - dead["DUPLICATE"],
            duplicates=dead["DUPLICATE"],
            per_second=len(seen) / min(max(now_s - started_s, 0.5), WINDOW_S),
            recent_outcomes=dict(Counter(each.outcome for each in seen)),
            latency_ms_p50=percentile(latencies_ms, 50),
            latency_ms_p99=percentile(latencies_ms, 99),
            latest=latest,
        )

    def latencies_ms(self) -> list[int]:
        with self._lock:
            return list(self._latencies_ms)

    def distinct_decisions(self) -> int:
        with self._lock:
            return len(self._ids)

    def dead_letter_codes(self) -> dict[str, int]:
        with self._lock:
            return dict(self._dead_letters)

    def accounted_for(self) -> int:
        """Return the decisions, dead letters and duplicates, which must come to the offsets in (I1)."""
        with self._lock:
            return self._counts.total() + self._dead_letters.total()

    def reversals(self) -> int:
        with self._lock:
            return self._after["Reversal"]

    def reviews(self) -> int:
        with self._lock:
            return self._after["ReviewOutcome"]

    def decisions_read(self) -> dict[int, int]:
        """Return the offset after the last record of decisions.v1, of whatever kind, by partition."""
        with self._lock:
            return dict(self._next[self._decisions_topic])

    def dead_letters_read(self) -> dict[int, int]:
        with self._lock:
            return dict(self._next[self._dead_topic])

    def first_paid_percent(self) -> int:
        """Return the share of the first decisions whose payee had been paid before."""
        with self._lock:
            paid = sum(unpaid == 0 for unpaid in self._first_unpaid)
            return 100 * paid // max(len(self._first_unpaid), 1)

    def first_months_percent(self) -> list[int]:
        """Return the account's last 30 days against its normal month, for each of the first decisions that knew it."""
        with self._lock:
            return list(self._first_months_percent)

    def scores_micro(self) -> list[int]:
        """Return the model's scores of the latest payments that it was asked about."""
        with self._lock:
            return list(self._scores)

    def examples(self) -> list[Located]:
        """Return one decision of each outcome, where there was one: the latest, and of the model's if possible."""
        with self._lock:
            return [self._kept[outcome] for outcome in Outcome if outcome in self._kept]

    def _run(self) -> None:
        servers, options = self._settings.bootstrap_servers, self._settings.kafka_options
        tuning = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}  # the embedded broker drops the oldest
        consumer = Consumer(client.reader_options(servers, "fraud-demo-meter", options, tuning))
        try:
            consumer.assign(self._everywhere(consumer))
            while not self._stopping.is_set():
                messages = consumer.consume(1, WAIT_S)
                if messages:
                    messages += consumer.consume(RECORDS_A_READ, 0)
                now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
                for message in messages:
                    if message.error() is None and (topic := message.topic()) is not None:
                        found = client.record_of(message)
                        self._take(topic, found, now_s, now_ms)
                        with self._lock:
                            self._next[topic][found.source.partition] = found.source.offset + 1
        finally:
            consumer.close()

    def _everywhere(self, consumer: Consumer) -> list[TopicPartition]:
        """Return all partitions from their start. Without a group, no wait for joining one is needed."""
        topics = (self._decisions_topic, self._dead_topic)
        listed = {topic: client.partitions_of(consumer, topic) for topic in topics}
        return [TopicPartition(topic, partition, 0) for topic, partitions in listed.items() for partition in partitions]

    def _take(self, topic: str, found: Record, now_s: float, now_ms: int) -> None:
        if topic == self._dead_topic:
            letter = self._wire.decode_dead_letter(found.value)
            assert not isinstance(letter, Refusal), "the worker writes dead letters that can be read"
            if letter.source_topic == self._settings.topic("transactions.v1"):
                with self._lock:
                    self._dead_letters[letter.code] += 1
            return
        decision = located(self._wire, found)
        assert not isinstance(decision, Unreadable), "what is written can be read"
        with self._lock:
            if decision is None:
                self._after[self._kind(found)] += 1
            else:
                self._count(decision, now_s, now_ms)

    def _kind(self, found: Record) -> str:
        record = self._wire.decode_decision_record(found.value)
        assert not isinstance(record, Refusal), "it was read before"
        return type(record).__name__

    def _count(self, located: Located, now_s: float, now_ms: int) -> None:
        decision = located.stored.decision
        outcome, route = decision.outcome, decision.route
        latency_ms = max(now_ms - decision.source_timestamp_ms, 0)
        self.first_decision_s = self.first_decision_s or now_s
        self._counts[outcome, route] += 1
        self._ids.add(decision.decision_id)
        month_percent = decision.snapshot.features[_MONTH]
        if len(self._ids) <= FIRST_LOOKED_AT:
            self._first_unpaid.append(decision.snapshot.features[_UNPAID])
        if len(self._ids) <= FIRST_LOOKED_AT and month_percent > NONE:
            self._first_months_percent.append(month_percent)
        if self._measured_from_ms and decision.source_timestamp_ms >= self._measured_from_ms:
            self._seen.append(_Seen(now_s, latency_ms, outcome))
            self._latencies_ms.append(latency_ms)
        (self._allowed if outcome is Outcome.ALLOW else self._stopped).append(located)
        if route is Route.MODEL:
            self._scores.append(decision.score_micro)
            self._kept[outcome] = located
        elif outcome not in self._kept:
            self._kept[outcome] = located


def percentile(values: Iterable[int], percent: int) -> int:
    """Return the percentile by nearest rank; 0 where there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else 0


def _totals(counts: Counter[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int]]:
    by_outcome: Counter[str] = Counter()
    by_route: Counter[str] = Counter()
    for (outcome, route), count in counts.items():
        by_outcome[outcome] += count
        by_route[route] += count
    return dict(by_outcome), dict(by_route)
