"""What flows while the afterlife bench breaks things: payments twice, every record of decisions.v1 twice, and what
people and rollbacks say of some of the decisions afterwards.

What is said of a decision follows from its id alone, so a second run of the traffic would say the same.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException

from ops.bench.rig.publisher import Publisher
from ops.bench.rig.stored import Found, Tail
from ops.bench.rig.threads import Thread
from ops.bench.rig.topics_io import Outbound
from pipeline.domain.identities import reversal_id, review_id
from pipeline.io.avro.wire import WireFormat

AGAIN_AFTER: Final = 300
"""A payment is published again so many payments later."""
LOOK_S: Final = 0.5
FAILED_LOOKS_MAX: Final = 10
"""In a row, of up to 30 s each: more is no broker that was killed and comes back."""
DELAY_S_MAX: Final = 3.0
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


class Echo:
    """Reads decisions.v1; appends every record again, and says what people say of some decisions."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._publisher, self._tail, self._topic = Publisher(bootstrap_servers), Tail(bootstrap_servers, topic), topic
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
        fields = self._wire.decode("decision.v1", found.value)
        assert isinstance(fields, dict), "the worker writes what can be read"
        for value in said_of(self._wire, fields):
            self.said += 1
            self._schedule(_share(value, "said") * DELAY_S_MAX, found.partition, found.key, value)

    def _schedule(self, delay_s: float, partition: int, key: bytes, value: bytes) -> None:
        self._number += 1
        heapq.heappush(self._due, (time.monotonic() + delay_s, self._number, partition, key, value))

    def _publish_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, partition, key, value = heapq.heappop(self._due)
            self._publisher.publish(self._topic, Outbound(key, value, 0), partition)
        self._publisher.flush()


def said_of(wire: WireFormat, fields: dict[str, Any]) -> list[bytes]:
    """Reversals of some decisions, and reviews of what is held: of escalations, and of what a reversal escalates."""
    name = fields["decision_id"]
    about = {each: fields[each] for each in ("decision_id", "transaction_id", "account_id")}
    at_ms = fields.get("decided_at_ms", fields.get("reversed_at_ms", 0))
    if fields["record"] == "Decision":
        if _share(name.encode(), "reversed") * 100 < REVERSED_PERCENT:
            return [_reversal(wire, about, fields["outcome"], at_ms)]
        return _review(wire, about, at_ms) if fields["outcome"] == "ESCALATE" else []
    if fields["record"] == "Reversal" and fields["corrected_outcome"] == "ESCALATE":
        return _review(wire, about, at_ms)
    return []


_CORRECTED: Final[dict[str, tuple[str | None, ...]]] = {
    "ALLOW": ("BLOCK", "ESCALATE", None),
    "ESCALATE": ("BLOCK", "ALLOW", None),
    "BLOCK": ("ALLOW", "ESCALATE", None),
}


def _reversal(wire: WireFormat, about: dict[str, Any], outcome: str, at_ms: int) -> bytes:
    corrected = _CORRECTED[outcome][int(_share(about["decision_id"].encode(), "corrected") * 3)]
    fields = {
        "-type": "fraud.v1.Reversal",
        "reversal_id": reversal_id(PLAN_ID, about["decision_id"]),
        "plan_id": PLAN_ID,
        "reversed_at_ms": at_ms,
        "reversed_outcome": outcome,
        "corrected_outcome": corrected,
        "reason": "decided by a version that was taken out",
        "requested_by": "ann",
        "approved_by": "sue",
        **about,
    }
    return wire.encode("decision.v1", fields)


def _review(wire: WireFormat, about: dict[str, Any], at_ms: int) -> list[bytes]:
    """Of round 1: no escalation here is escalated again."""
    share = _share(about["decision_id"].encode(), "reviewed") * 100
    if share >= REVIEWED_PERCENT:
        return []
    fields = {
        "-type": "fraud.v1.ReviewOutcome",
        "review_id": review_id(about["decision_id"], 1),
        "reviewed_at_ms": at_ms,
        "outcome": "ALLOW" if share < REVIEWED_PERCENT / 2 else "BLOCK",
        "reason": "the customer was called",
        "reviewed_by": "sue",
        "second_reviewer": None,
        **about,
    }
    return [wire.encode("decision.v1", fields)]


def _share(what: bytes, salt: str) -> float:
    """0 to 1, from the bytes alone."""
    digest = hashlib.blake2b(what, digest_size=8, person=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big") / 2**64
