"""Carrying a rollback plan out: reversals appended to decisions.v1, payments to be decided anew to transactions.v1.

Invariants
1. A reversal and the payment that it gives back are in one Kafka transaction: a kill between the two loses neither.
2. Every changing line leads to one record, in the plan's order, in whole transactions. What stands on the topic is the
   truth about how far it came: a run begins by shutting out its predecessor, ending what that left open, and reading
   the topic on from the last progress that was written down. So nothing is appended twice.
3. Only what was approved is applied: the plan is read and hashed before anything is written.
4. One plan at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.domain.identities import ReversalId, reversal_id
from pipeline.domain.log import Outgoing, TopicPartition
from pipeline.domain.payment import Decoded
from pipeline.domain.reversal import Reversal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.postgres import Connection, failures_named
from pipeline.people.store import read_person
from pipeline.rollback.plan_store import (
    Progress,
    ProgressKind,
    StoredPlan,
    append_progress,
    approve,
    count_overtaken,
    read_approval,
    read_changing_lines,
    read_lines,
    read_plan,
    read_progress,
    turn_to_apply,
)
from pipeline.rollback.reversal import (
    ApplyRefusal,
    Approval,
    Disposition,
    PlanLine,
    apply_refusal,
    plan_digest,
    released_payment,
    reversal,
)

CHUNK_RECORDS_MAX: Final = 500
CHUNKS_A_SECOND: Final = 5
"""Portions a second in which records are appended, so that a rate is kept within a fifth of it."""

log = structlog.get_logger("rollback")


class NoSuchPlan(Exception):
    """The id leads to no plan."""


class AnotherIsApplied(Exception):
    """Plans are applied one at a time, and one is."""


class ProgressBroken(Exception):
    """The topic does not hold what the plan's order leads to: somebody else has appended under its id."""


class Topics(NamedTuple):
    decisions: str
    transactions: str


class DecisionsTopic(NamedTuple):
    """The topic as a reader of committed records sees it."""

    ends: Callable[[], Mapping[int, int]]
    read: Callable[[Mapping[int, int]], Iterable[bytes]]  # from these offsets to the ends as they are met


class Applied(NamedTuple):
    """`appended`: of all runs so far; `here`: of this one. Not complete where it was told to stop."""

    plan: StoredPlan
    appended: int
    here: int
    is_complete: bool
    seconds: float


class Applier:
    """For one thread. Raises NoSuchPlan, AnotherIsApplied, ProgressBroken, BrokerFailed, DatabaseUnavailable,
    DatabaseRefused; started again, it goes on where the topic stands."""

    def __init__(
        self,
        connection: Connection,
        appender: Callable[[str], TransactionalAppender],
        wire: WireFormat,
        topics: Topics,
        decisions: DecisionsTopic,
        clock_ms: Callable[[], int],
    ) -> None:
        """`appender` for a transactional id."""
        self._connection, self._appender, self._wire = connection, appender, wire
        self._topics, self._decisions, self._clock_ms = topics, decisions, clock_ms

    def apply(
        self, plan_id: str, approver: str, rate_per_s: float, stopping: threading.Event, advance: Callable[[int], None]
    ) -> Applied | ApplyRefusal:
        """Until all is appended, or `stopping`. `advance` is told how many records stand there."""
        with failures_named(), turn_to_apply(self._connection, AnotherIsApplied):
            return self._apply(plan_id, approver, rate_per_s, stopping, advance)

    def _apply(
        self, plan_id: str, approver: str, rate_per_s: float, stopping: threading.Event, advance: Callable[[int], None]
    ) -> Applied | ApplyRefusal:
        begun = time.monotonic()
        plan = read_plan(self._connection, plan_id)
        if plan is None:
            raise NoSuchPlan(plan_id)
        approval = self._approval(plan, approver)
        if isinstance(approval, ApplyRefusal):
            return approval
        appender = self._appender(f"fraud-rollback-{plan_id}")
        appender.start()
        run = _Run(self._connection, plan, approver, self._resume(plan, approver))
        advance(run.progress.appended)
        before = run.progress.appended
        if run.progress.kind is not ProgressKind.COMPLETED:
            for records in self._chunks(plan, approval, before, rate_per_s):
                run.appended(len(records), appender.append([one for pair in records for one in pair]), self._topics)
                advance(run.progress.appended)
                if _is_told_to_stop(stopping, begun, (run.progress.appended - before) / rate_per_s):
                    break
            if run.progress.appended == plan.changing:
                run.note(ProgressKind.COMPLETED)
        is_complete = run.progress.kind is ProgressKind.COMPLETED
        here = run.progress.appended - before
        return Applied(plan, run.progress.appended, here, is_complete, time.monotonic() - begun)

    def _approval(self, plan: StoredPlan, approver: str) -> Approval | ApplyRefusal:
        """That of the first run, or this one's; refused for an approver, and a plan, that may not."""
        connection, plan_id = self._connection, plan.header.plan_id
        with connection.transaction():
            is_intact = plan_digest(plan.header, read_lines(connection, plan_id)) == plan.content_hash
            approved = read_approval(connection, plan_id)
            now_ms = self._clock_ms()
            refusal = apply_refusal(
                plan.header,
                read_person(connection, approver),
                now_ms,
                is_intact=is_intact,
                is_approved=approved is not None,
                overtaken=count_overtaken(connection, plan_id),
            )
            if refusal is not None:
                return refusal
            if approved is None:
                approved = Approval(approver, now_ms)
                approve(connection, plan, approved)
            return approved

    def _resume(self, plan: StoredPlan, approver: str) -> Progress:
        """The number of records done, by what was written down and what stands on the topic after that."""
        plan_id = plan.header.plan_id
        written = read_progress(self._connection, plan_id)
        if not written:
            started = Progress(ProgressKind.STARTED, approver, 0, dict(self._decisions.ends()))
            append_progress(self._connection, plan_id, started)
            return started
        last = written[-1]
        if last.kind is ProgressKind.COMPLETED:
            return last
        ends = dict(self._decisions.ends())
        found = [name for value in self._decisions.read(last.end_offsets) if (name := self._ours(value, plan_id))]
        fresh = self._not_counted(plan_id, last.appended, found)
        resumed = Progress(ProgressKind.RESUMED, approver, last.appended + fresh, ends)
        append_progress(self._connection, plan_id, resumed)
        log.info("rollback_resumed", plan_id=plan_id, written=last.appended, found=fresh)
        return resumed

    def _ours(self, value: bytes, plan_id: str) -> ReversalId | None:
        """The reversal id, where the record is a reversal of this plan."""
        if plan_id.encode() not in value:
            return None
        record = self._wire.decode_decision_record(value)
        return record.reversal_id if isinstance(record, Reversal) and record.plan_id == plan_id else None

    def _not_counted(self, plan_id: str, counted: int, found: Sequence[ReversalId]) -> int:
        """The number found that were not written down: the next ones of the plan's order, or something is wrong."""
        with self._connection.transaction():
            ids = [reversal_id(plan_id, line.decision_id) for line in read_changing_lines(self._connection, plan_id)]
        fresh = set(found).difference(ids[:counted])
        if fresh != set(ids[counted : counted + len(fresh)]):
            raise ProgressBroken(plan_id)
        return len(fresh)

    def _chunks(
        self, plan: StoredPlan, approval: Approval, skipped: int, rate_per_s: float
    ) -> Iterator[list[list[Outgoing]]]:
        """The records that are appended together: for each line its own, and the payment that is given back with it."""
        size = max(1, min(CHUNK_RECORDS_MAX, int(rate_per_s / CHUNKS_A_SECOND)))
        for begin in range(skipped, plan.changing, size):
            with self._connection.transaction():
                lines = list(read_changing_lines(self._connection, plan.header.plan_id, begin, size))
            yield [self._outgoing(plan, line, approval) for line in lines]

    def _outgoing(self, plan: StoredPlan, line: PlanLine, approval: Approval) -> list[Outgoing]:
        key, record = line.account_id.encode(), reversal(plan.header, line, approval)
        outgoing = [Outgoing(self._topics.decisions, key, self._wire.encode(record))]
        if line.disposition is Disposition.RELEASE:
            decoded = self._wire.decode_transaction(bytes.fromhex(line.payment_hex))
            assert isinstance(decoded, Decoded), "the plan's hash covers the payment"
            payment = released_payment(decoded.transaction, line.decision_id, approval)
            outgoing.append(Outgoing(self._topics.transactions, key, self._wire.encode_transaction(payment)))
        return outgoing


class _Run:
    """One run of `apply`: how far the plan has come, written down as it goes."""

    def __init__(self, connection: Connection, plan: StoredPlan, approver: str, progress: Progress) -> None:
        self._connection, self._plan, self._approver = connection, plan, approver
        self.progress = progress

    def appended(self, count: int, ends: Mapping[TopicPartition, int], topics: Topics) -> None:
        ours = {partition: end for (topic, partition), end in ends.items() if topic == topics.decisions}
        after = {**self.progress.end_offsets, **ours}
        self.progress = self.progress._replace(appended=self.progress.appended + count, end_offsets=after)
        self.note(ProgressKind.APPENDED)

    def note(self, kind: ProgressKind) -> None:
        self.progress = self.progress._replace(kind=kind, applied_by=self._approver)
        append_progress(self._connection, self._plan.header.plan_id, self.progress)


def _is_told_to_stop(stopping: threading.Event, begun: float, due_s: float) -> bool:
    """Waits until as much time has passed as what was appended may take."""
    return stopping.wait(max(0.0, begun + due_s - time.monotonic()))
