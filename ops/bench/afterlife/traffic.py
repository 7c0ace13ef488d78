"""The traffic while the afterlife bench breaks things: payments, records of decisions.v1, reviews and reversals.

Every payment and every record of decisions.v1 is published twice. People review, and rollbacks reverse, some of the
decisions afterwards. A decision's id alone determines this, so a second run of the traffic would do the same.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import KafkaException

from ops.bench.rig.publisher import RENEWALS_MAX, Publisher
from ops.bench.rig.sealed import Sealing
from ops.bench.rig.stored import Found, Tail
from ops.bench.rig.threads import Thread
from ops.bench.rig.topics_io import Outbound
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import reversal_id, review_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import RecordKind, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat

AGAIN_AFTER: Final = 300
"""Number of payments after which a payment is published again."""
LOOK_S: Final = 0.5
FAILED_LOOKS_MAX: Final = 10
"""Most failed looks in a row, of up to two minutes each. A broker that was killed and comes back takes fewer."""
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
    """Reads decisions.v1, appends every record again, and publishes reviews and reversals of some decisions."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._publisher = Publisher(bootstrap_servers, renewals_max=RENEWALS_MAX)  # every record comes twice anyway
        self._tail, self._topic = Tail(bootstrap_servers, topic), topic
        self._wire, self._sealing = WireFormat(), Sealing(bootstrap_servers, topic)
        self._seen: set[bytes] = set()
        self._due: list[tuple[float, int, int, bytes, bytes]] = []  # when, tie-break, partition, key, value
        self._number = 0
        self.echoed = self.said = 0
        self.thread = Thread("echo", self._run)

    @property
    def is_idle(self) -> bool:
        """Return whether everything that was read is echoed; ask twice in a row, because more may come meanwhile."""
        return not self._due

    def _run(self) -> None:
        failed_looks = 0
        while not self.thread.stopping.wait(LOOK_S):
            try:
                for found in self._tail.news():
                    self._hear(found)
                failed_looks = 0
            except (TimeoutError, KafkaException):  # the broker is away; records that were read stay read
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
            [record] = self._sealing.of([Outbound(key, value, 0)])
            self._publisher.publish(self._topic, record, partition)
        self._publisher.flush()


def said_of(record: DecisionRecord) -> Reversal | ReviewOutcome | None:
    """Return the reversal or the review of a record, where it has one.

    Some decisions are reversed. Escalations are reviewed, both those of decisions and those of reversals.
    """
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
        replaces_kind=RecordKind.DECISION,
        replaces_id=decision.decision_id,
        plan_digest="",
    )


def _review(escalated: Decision | Reversal, at_ms: int) -> ReviewOutcome | None:
    """Return the outcome of round 1; no escalation here is escalated again."""
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
    """Return a number from 0 to 1 that follows from the bytes alone."""
    digest = hashlib.blake2b(what, digest_size=8, person=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big") / 2**64
