"""What flows while the afterlife bench breaks things: payments twice, every record of decisions.v1 twice, and what
people and rollbacks say of some of the decisions afterwards.

What is said of a decision follows from its id alone, so a second run of the traffic would say the same.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ops.bench.rig.stored import Found, Tail
from ops.bench.rig.topics_io import Outbound
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.decision_records import DecisionRecord
from pipeline.domain.identities import reversal_id, review_id
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat

AGAIN_AFTER: Final = 300
"""A payment is published again so many payments later."""
TICK_S: Final = 0.02
LOOK_S: Final = 0.5
DELIVERY_TIMEOUT_MS: Final = 300_000
"""Longer than any outage of the bench: what was handed over is delivered, in order, or the bench fails."""
FAILED_LOOKS_MAX: Final = 10
"""In a row, of up to 30 s each: more is no broker that was killed and comes back."""
DELAY_S_MAX: Final = 3.0
ANY_PARTITION: Final = -1  # by the key
PLAN_ID: Final = "6f9d1c9e-52f4-4f0c-8a55-3e1d0c5f7b21"
REVERSED_PERCENT: Final = 4
REVIEWED_PERCENT: Final = 60


def twice(records: Sequence[Outbound]) -> Iterator[Outbound]:
    recent: deque[Outbound] = deque()
    for record in records:
        yield record
        recent.append(record)
        if len(recent) > AGAIN_AFTER:
            yield recent.popleft()._replace(timestamp_ms=record.timestamp_ms)
    yield from (record._replace(timestamp_ms=records[-1].timestamp_ms) for record in recent)


class Thread:
    """One that can be stopped and that says when it failed."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self._run = run
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise RuntimeError(f"{self._thread.name} failed") from self.failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failure = error


class Feed:
    """Publishes records at a steady rate, to their end."""

    def __init__(self, bootstrap_servers: str, topic: str, records: Iterator[Outbound], rate_per_s: int) -> None:
        self._publisher, self._topic = _Publisher(bootstrap_servers), topic
        self._records, self._rate_per_s = records, rate_per_s
        self.published = 0
        self.thread = Thread("feed", self._run)

    def _run(self) -> None:
        began = time.monotonic()
        for record in self._records:
            self._publisher.publish(self._topic, record.key, record.value, ANY_PARTITION, record.timestamp_ms)
            self.published += 1
            while self.published > (time.monotonic() - began) * self._rate_per_s:
                if self.thread.stopping.wait(TICK_S):
                    return
        self._publisher.flush()


class Echo:
    """Reads decisions.v1; appends every record again, and says what people say of some decisions."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._publisher, self._tail, self._topic = _Publisher(bootstrap_servers), Tail(bootstrap_servers, topic), topic
        self._wire = WireFormat()
        self._seen: set[bytes] = set()
        self._due: list[tuple[float, int, int, bytes, bytes]] = []  # when, tie-break, partition, key, value
        self._number = 0
        self.echoed = self.said = 0
        self.thread = Thread("echo", self._run)

    @property
    def is_idle(self) -> bool:
        """Everything that was read is echoed; to be asked twice in a row, for what came meanwhile."""
        return not self._due

    def _run(self) -> None:
        failed_looks = 0
        while not self.thread.stopping.wait(LOOK_S):
            try:
                for found in self._tail.news():
                    self._hear(found)
                failed_looks = 0
            except (TimeoutError, KafkaException):  # the broker is away: what was read stays read
                failed_looks += 1
                if failed_looks > FAILED_LOOKS_MAX:
                    raise
            self._publish_due()

    def _hear(self, found: Found) -> None:
        digest = hashlib.blake2b(found.value, digest_size=16).digest()
        if digest in self._seen:
            return
        self._seen.add(digest)
        self.echoed += 1
        self._schedule(_share(found.value, "again") * DELAY_S_MAX, found.partition, found.key, found.value)
        record = self._wire.decode_decision_record(found.value)
        assert not isinstance(record, Refusal), "the worker writes what can be read"
        if (said := said_of(record)) is not None:
            value = self._wire.encode(said)
            self.said += 1
            self._schedule(_share(value, "said") * DELAY_S_MAX, found.partition, found.key, value)

    def _schedule(self, delay_s: float, partition: int, key: bytes, value: bytes) -> None:
        self._number += 1
        heapq.heappush(self._due, (time.monotonic() + delay_s, self._number, partition, key, value))

    def _publish_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, partition, key, value = heapq.heappop(self._due)
            self._publisher.publish(self._topic, key, value, partition, 0)
        self._publisher.flush()


def said_of(record: DecisionRecord) -> Reversal | ReviewOutcome | None:
    """Reversals of some decisions, and reviews of what is held: of escalations, and of what a reversal escalates."""
    match record:
        case Decision(decision_id=name) if _share(name.encode(), "reversed") * 100 < REVERSED_PERCENT:
            return _reversal(record)
        case Decision(outcome=Outcome.ESCALATE, decided_at_ms=at_ms):
            return _review(record, at_ms)
        case Reversal(corrected_outcome=Outcome.ESCALATE, reversed_at_ms=at_ms):
            return _review(record, at_ms)
        case _:
            return None


_CORRECTED: Final[dict[Outcome, tuple[Outcome | None, ...]]] = {
    Outcome.ALLOW: (Outcome.BLOCK, Outcome.ESCALATE, None),
    Outcome.ESCALATE: (Outcome.BLOCK, Outcome.ALLOW, None),
    Outcome.BLOCK: (Outcome.ALLOW, Outcome.ESCALATE, None),
}


def _reversal(decision: Decision) -> Reversal:
    choices = _CORRECTED[decision.outcome]
    return Reversal(
        reversal_id(PLAN_ID, decision.decision_id),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        plan_id=PLAN_ID,
        reversed_at_ms=decision.decided_at_ms,
        reversed_outcome=decision.outcome,
        corrected_outcome=choices[int(_share(decision.decision_id.encode(), "corrected") * 3)],
        reason="decided by a version that was taken out",
        requested_by="ann",
        approved_by="sue",
    )


def _review(escalated: Decision | Reversal, at_ms: int) -> ReviewOutcome | None:
    """The outcome of round 1: no escalation here is escalated again."""
    share = _share(escalated.decision_id.encode(), "reviewed") * 100
    if share >= REVIEWED_PERCENT:
        return None
    return ReviewOutcome(
        review_id(escalated.decision_id, 1),
        escalated.decision_id,
        escalated.transaction_id,
        escalated.account_id,
        reviewed_at_ms=at_ms,
        outcome=Outcome.ALLOW if share < REVIEWED_PERCENT / 2 else Outcome.BLOCK,
        reason="the customer was called",
        reviewed_by="sue",
        second_reviewer=None,
    )


def _share(what: bytes, salt: str) -> float:
    """0 to 1, from the bytes alone."""
    digest = hashlib.blake2b(what, digest_size=8, person=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big") / 2**64


class _Publisher:
    def __init__(self, bootstrap_servers: str) -> None:
        self._failures: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "on_delivery": self._delivered,
                "log_level": 2,
            }
        )

    def publish(self, topic: str, key: bytes, value: bytes, partition: int, timestamp_ms: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, timestamp=timestamp_ms)
                break
            except BufferError:
                self._producer.poll(TICK_S)
        self._producer.poll(0)

    def flush(self) -> None:
        self._producer.flush(DELIVERY_TIMEOUT_MS / 1000)
        assert not self._failures, self._failures[0]

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error.str())
