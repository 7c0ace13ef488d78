"""Carrying a rollback plan out: reversals appended to decisions.v1, payments to be decided anew to transactions.v1.

Invariants
1. A payment is given back in two phases: its reversal first, and the payment itself only once the ledger says that it
   is released. One whose money could not be had back, or whose reversal was overtaken, is never published.
2. Every changing line leads to one reversal, in the plan's order, in whole transactions, and at most one payment. What
   stands on the topics is the truth about how far it came: a run begins by shutting out its predecessor, ending what
   that left open, and looking every record up, in the audit log or on the topic since the first run began. So nothing
   is appended twice, and nothing is left out: what was written down about progress and releases proves neither. Nor
   does it prove that no run began: a plan is approved only where the audit log has come to the topic's end, and has no
   reversal of it.
3. Only what was approved is applied: the plan's bytes are read once, into a file of this process, and hashed; every
   record is made from a line of that file, and bears the digest. And only what is so is approved: before that, each
   line is derived again from the records, and the totals are added up from the lines.
4. One plan at a time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import structlog

from pipeline.domain.decision import Decision
from pipeline.domain.identities import ReversalId, reversal_id
from pipeline.domain.log import Outgoing, TopicPartition
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.reversal import Reversal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.postgres import Connection, failures_named
from pipeline.people.act_store import read_registry, sign_act, unproved
from pipeline.people.acts import ActKind
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry
from pipeline.people.store import person_of
from pipeline.rollback.acts import approved, begun, planned, run_subject
from pipeline.rollback.blast_radius import radius_of_lines
from pipeline.rollback.derivation_store import Derivation, Differing
from pipeline.rollback.ends_service import AUDIT, READERS_PATIENCE_S, TopicEnds, wait_for_readers
from pipeline.rollback.pace_service import CHUNK_RECORDS_MAX, Pace, chunks
from pipeline.rollback.plan_content_store import PlanContent, PlanRefused, read_content
from pipeline.rollback.plan_store import (
    Progress,
    ProgressKind,
    StoredApproval,
    StoredPlan,
    append_progress,
    append_releases,
    approve,
    audited_reversals,
    decided_payments,
    heard_reversals,
    patient,
    read_approval,
    read_plan,
    read_progress,
    replaced_names,
    turn_to_apply,
)
from pipeline.rollback.reversal import (
    ApplyRefusal,
    Approval,
    Disposition,
    PlanLine,
    ReleaseEnd,
    apply_refusal,
    release_end,
    released_id,
    released_payment,
    reversal,
)

EXECUTOR_PATIENCE_S: Final = 120.0
"""Time that the executor has to release one more payment; run again, the command waits on."""
EXECUTOR_POLL_S: Final = 0.5

log = structlog.get_logger("rollback")


class NoSuchPlan(Exception):
    """The id leads to no plan."""


class AnotherIsApplied(Exception):
    """Plans are applied one at a time, and one is."""


class ProgressBroken(Exception):
    """The topic does not hold what the plan's order leads to: somebody else has appended under its id."""


class Topics(NamedTuple):
    decisions: TopicEnds
    transactions: TopicEnds


class Writing(NamedTuple):
    """appender: makes one for a transactional id. seal: proves that reversals are ours."""

    appender: Callable[[str], TransactionalAppender]
    seal: Callable[[Sequence[Outgoing]], list[Outgoing]]


class Applied(NamedTuple):
    """`appended`: reversals of all runs so far; `here`: of this one. `releases`: how giving payments back has ended.

    `waiting`: payments that the ledger has not released yet. Not complete where it was told to stop, or some wait.
    """

    plan: StoredPlan
    appended: int
    here: int
    releases: Mapping[ReleaseEnd, int]
    waiting: int
    is_complete: bool
    seconds: float


class Applier:
    """For one thread. Raises NoSuchPlan, AnotherIsApplied, ProgressBroken, PlanRefused, RegimeMissing, BrokerFailed,
    DatabaseUnavailable, DatabaseRefused; started again, it goes on where the topics stand."""

    def __init__(
        self,
        connection: Connection,
        writing: Writing,
        derivation: Derivation,
        topics: Topics,
        clock_ms: Callable[[], int],
        patience_s: float = EXECUTOR_PATIENCE_S,
    ) -> None:
        """`patience_s`: for the executor to release one more payment."""
        self._connection, self._writing, self._derivation = connection, writing, derivation
        self._topics, self._clock_ms, self._patience_s = topics, clock_ms, patience_s

    def apply(
        self,
        plan_id: str,
        approver: Identity,
        rate_per_s: float,
        stopping: threading.Event,
        advance: Callable[[int], None],
    ) -> Applied | ApplyRefusal | Differing:
        """Until all has ended, or `stopping`, or the executor is out of patience. `advance`: reversals that stand."""
        with failures_named(), turn_to_apply(self._connection, AnotherIsApplied):
            plan = read_plan(self._connection, plan_id)
            if plan is None:
                raise NoSuchPlan(plan_id)
            content = read_content(self._connection, plan_id, plan.content_hash)
            if content is None:
                return ApplyRefusal.ALTERED
            with content:
                self._require_audited(plan_id)
                approval = self._approval(plan, content, approver)
                if not isinstance(approval, Approval):
                    return approval
                pace = Pace(rate_per_s, stopping)
                return self._apply(plan, content, approval, approver, pace, advance)

    def _apply(
        self,
        plan: StoredPlan,
        content: PlanContent,
        approval: Approval,
        approver: Identity,
        pace: Pace,
        advance: Callable[[int], None],
    ) -> Applied:
        appender = self._writing.appender(f"fraud-rollback-{plan.header.plan_id}")
        appender.start()
        run = _Run(self._connection, plan.header.plan_id, approver)
        lines = _Lines(self._derivation.wire, content, approval)
        run.resume(self._topics, lines)
        advance(run.progress.appended)
        before = run.progress.appended
        self._reverse(run, lines, appender, pace, advance)
        releasing = _Releasing(self._connection, run, lines, self._topics, appender)
        waiting = releasing.go_on(pace, self._patience_s)
        is_complete = run.progress.appended == plan.changing and not waiting
        if is_complete:
            run.complete()
        here = run.progress.appended - before
        return Applied(plan, run.progress.appended, here, releasing.counts(), waiting, is_complete, pace.seconds)

    def _approval(
        self, plan: StoredPlan, content: PlanContent, approver: Identity
    ) -> Approval | ApplyRefusal | Differing:
        """That of the first run, or this one's; refused for an approver, and a plan, that may not."""
        connection, header = self._connection, content.header
        with connection.transaction():
            stored = read_approval(connection, header.plan_id)
            now_ms, registry = self._clock_ms(), read_registry(connection)
            refusal = apply_refusal(
                header,
                person_of(registry, approver),
                now_ms,
                is_proved=self._is_proved(plan, stored, registry),
                is_intact=header == plan.header and (stored is None or stored.content_hash == content.digest),
                is_approved=stored is not None,
                overtaken=0 if stored is not None else _overtaken(connection, content),
            )
            if refusal is not None:
                return refusal
            if stored is None and _is_applied(connection, content):
                return ApplyRefusal.APPLIED_BEFORE
            differing = self._differing(plan, content, is_pending=stored is None)
            if differing is not None:
                return differing
            if stored is not None:
                return stored.approval
            approval = Approval(approver.name, now_ms)
            expected = approved(header.plan_id, plan.content_hash, approval)
            act = sign_act(connection, approver, expected.kind, expected.subject, registry)
            approve(connection, plan, approval, act)
            return approval

    def _require_audited(self, plan_id: str) -> None:
        """Before a first run, have the audit log hold what stands on the topic. A database that was put back may have
        lost approval and progress, and then the audit log alone tells what was appended under this plan."""
        if not self._is_begun(plan_id, read_registry(self._connection)):
            topic = self._topics.decisions
            behind = wait_for_readers(self._connection, topic, READERS_PATIENCE_S, readers=AUDIT)
            if behind is not None:
                raise PlanRefused(f"The plan would not be applied on what is so: {behind}")

    def _differing(
        self, plan: StoredPlan, content: PlanContent, *, is_pending: bool
    ) -> Differing | ApplyRefusal | None:
        """Why the plan is not what the records lead to, whoever signed it."""
        patient(self._connection)
        differing = self._derivation.first_differing(content, is_pending=is_pending)
        if differing is not None:
            log.error("rollback_line_differs", plan_id=plan.header.plan_id, **differing._asdict())
            return differing
        radius = radius_of_lines(content.lines())
        added_up = radius.selected.decisions, radius.changing.decisions, radius
        return None if added_up == (plan.decisions, plan.changing, plan.blast_radius) else ApplyRefusal.ADDED_OTHERWISE

    def _is_proved(self, plan: StoredPlan, stored: StoredApproval | None, registry: Registry) -> bool:
        """Whether the plan is its maker's, and the approval its author's. Until the first run began, both must still
        have role and key; what is half done is finished, also after they have lost them."""
        claims = {plan.act: planned(plan.header, plan.content_hash, plan.decisions, plan.changing)}
        if stored is not None:
            claims[stored.act] = approved(plan.header.plan_id, stored.content_hash, stored.approval)
        is_pending = not self._is_begun(plan.header.plan_id, registry)
        fault = unproved(self._connection, registry, claims, is_pending=is_pending)
        if fault is not None:
            log.error("rollback_unproved", plan_id=plan.header.plan_id, why=fault)
        return fault is None

    def _is_begun(self, plan_id: str, registry: Registry) -> bool:
        """Whether an approver's run has begun, which nobody can pretend without their key."""
        written = read_progress(self._connection, plan_id)
        claims = {each.act: begun(plan_id, each.applied_by) for each in written[:1]}
        return bool(claims) and unproved(self._connection, registry, claims, is_pending=False) is None

    def _reverse(
        self,
        run: _Run,
        lines: _Lines,
        appender: TransactionalAppender,
        pace: Pace,
        advance: Callable[[int], None],
    ) -> None:
        """Append the reversals that don't stand yet."""
        topic = self._topics.decisions.name
        for chunk in chunks(lines.changing(run.progress.appended), pace.chunk_records):
            records = self._writing.seal([lines.reversal(topic, line) for line in chunk])
            run.appended(len(chunk), appender.append(records), topic)
            advance(run.progress.appended)
            if pace.is_told_to_stop(len(chunk)):
                return


class _Lines:
    """The records of an approved plan's lines."""

    def __init__(self, wire: WireFormat, content: PlanContent, approval: Approval) -> None:
        self._wire, self._content, self._approval = wire, content, approval
        self.plan_id = content.header.plan_id

    def changing(self, skipped: int = 0) -> Iterator[PlanLine]:
        return islice(self._content.changing(), skipped, None)

    def releasing(self, first: int) -> Iterator[PlanLine]:
        """Of the first changing lines those that give their payment back."""
        return (line for line in islice(self._content.changing(), first) if line.disposition is Disposition.RELEASE)

    def reversal(self, topic: str, line: PlanLine) -> Outgoing:
        record = reversal(self._content.header, self._content.digest, line, self._approval)
        return Outgoing(topic, line.account_id.encode(), self._wire.encode(record))

    def payment(self, line: PlanLine) -> Transaction:
        decoded = self._wire.decode_transaction(bytes.fromhex(line.payment_hex))
        assert isinstance(decoded, Decoded), "the plan's digest covers the payment"
        return released_payment(decoded.transaction, line.decision_id, self._approval)

    def outgoing_payment(self, topic: str, line: PlanLine) -> Outgoing:
        return Outgoing(topic, line.account_id.encode(), self._wire.encode_transaction(self.payment(line)))

    def reversal_in(self, value: bytes | None) -> ReversalId | None:
        """The reversal's id, where a record of decisions.v1 is a reversal of this plan."""
        if value is None or self.plan_id.encode() not in value:
            return None
        record = self._wire.decode_decision_record(value)
        return record.reversal_id if isinstance(record, Reversal) and record.plan_id == self.plan_id else None

    def is_decided(self, payment: Transaction, records: Mapping[str, Sequence[bytes]]) -> bool:
        """Whether one of the decisions on its id is about exactly this payment."""
        decided = map(self._wire.decode_decision_record, records.get(payment.transaction_id, ()))
        return any(isinstance(each, Decision) and each.snapshot.transaction == payment for each in decided)

    def payment_in(self, value: bytes | None) -> Transaction | None:
        decoded = self._wire.decode_transaction(value)
        return decoded.transaction if isinstance(decoded, Decoded) else None


class _Run:
    """One run of `apply`: how far the plan has come, written down as it goes."""

    def __init__(self, connection: Connection, plan_id: str, by: Identity) -> None:
        self._connection, self._plan_id, self._by = connection, plan_id, by
        self.progress, self._act = Progress(ProgressKind.STARTED, by.name, 0, {}, {}), ""
        self.first, self._is_noted_complete = self.progress, False

    def resume(self, topics: Topics, lines: _Lines) -> None:
        """Find out how far earlier runs came, by what stands there."""
        ends = dict(topics.decisions.ends()), dict(topics.transactions.ends())
        written = read_progress(self._connection, self._plan_id)
        if not written:
            self.first = Progress(ProgressKind.STARTED, self._by.name, 0, *ends)
            self._begin(self.first._replace(appended=self._standing(topics.decisions, lines)), 1)
            return
        # The first row is its author's, as is proved before a run goes on; the others are anybody's who has the role.
        self.first = written[0]
        self._is_noted_complete = any(each.kind is ProgressKind.COMPLETED for each in written)
        standing = self._standing(topics.decisions, lines)
        self._begin(Progress(ProgressKind.RESUMED, self._by.name, standing, *ends), len(written) + 1)
        log.info("rollback_resumed", plan_id=self._plan_id, written=written[-1].appended, found=standing)

    def appended(self, count: int, ends: Mapping[TopicPartition, int], topic: str) -> None:
        after = {**self.progress.end_offsets, **_of_topic(ends, topic)}
        appended = self.progress.appended + count
        self._note(self.progress._replace(kind=ProgressKind.APPENDED, appended=appended, end_offsets=after))

    def released(self, ended: Mapping[str, ReleaseEnd], ends: Mapping[TopicPartition, int], topic: str) -> None:
        after = {**self.progress.transaction_ends, **_of_topic(ends, topic)}
        with self._connection.transaction():
            append_releases(self._connection, self._plan_id, ended)
            self._note(self.progress._replace(kind=ProgressKind.PUBLISHED, transaction_ends=after))

    def complete(self) -> None:
        """Say once that all is done."""
        if not self._is_noted_complete:
            self._note(self.progress._replace(kind=ProgressKind.COMPLETED))
            self._is_noted_complete = True

    def _begin(self, progress: Progress, sequence: int) -> None:
        """The run's first row, which its author signs."""
        with self._connection.transaction():
            subject, registry = run_subject(self._plan_id, sequence), read_registry(self._connection)
            self._act = sign_act(self._connection, self._by, ActKind.ROLLBACK_APPLIED, subject, registry)
            self._note(progress)

    def _note(self, progress: Progress) -> None:
        self.progress = progress._replace(applied_by=self._by.name)
        append_progress(self._connection, self._plan_id, self.progress, self._act)

    def _standing(self, decisions: TopicEnds, lines: _Lines) -> int:
        """The number of reversals that stand on the topic: the first ones of the plan's order, or something is wrong.

        Those that the audit log holds are looked up there; only where some are missing the topic is read.
        """
        ids: list[str] = []
        found: set[str] = set()
        for chunk in chunks(lines.changing(), CHUNK_RECORDS_MAX):
            ids += [reversal_id(self._plan_id, line.decision_id) for line in chunk]
            found |= audited_reversals(self._connection, self._plan_id, [line.decision_id for line in chunk])
        if found != set(ids):
            records = decisions.read(self.first.end_offsets)
            found |= {name for record in records if (name := lines.reversal_in(record.value)) is not None}
        if found != set(ids[: len(found)]):
            raise ProgressBroken(self._plan_id)
        return len(found)


class _Releasing:
    """The second phase: publishes what the ledger has released, and notes what it will not release."""

    def __init__(
        self, connection: Connection, run: _Run, lines: _Lines, topics: Topics, appender: TransactionalAppender
    ) -> None:
        self._connection, self._run, self._lines = connection, run, lines
        self._topic, self._appender = topics.transactions, appender
        self._ended: dict[str, ReleaseEnd] = {}
        self._on_topic: set[str] | None = None  # decisions whose payments stand there; None: not read yet

    def counts(self) -> dict[ReleaseEnd, int]:
        return dict(sorted(Counter(self._ended.values()).items()))

    def go_on(self, pace: Pace, patience_s: float) -> int:
        """Go on until every payment's giving back has ended; return how many wait.

        Some wait where it was told to stop, or `patience_s` have passed without one more that ended.
        """
        given_up = time.monotonic() + patience_s
        while True:
            ended, waiting = self._look(pace)
            if ended:
                given_up = time.monotonic() + patience_s
            if not waiting or pace.is_stopped or time.monotonic() >= given_up:
                return waiting
            pace.pause(EXECUTOR_POLL_S)

    def _look(self, pace: Pace) -> tuple[int, int]:
        """One look at every line that has not ended: how many have now, and how many have not."""
        ended = waiting = 0
        for chunk in chunks(self._lines.releasing(self._run.progress.appended), pace.chunk_records):
            left = [line for line in chunk if line.decision_id not in self._ended]
            published = 0 if pace.is_stopped or not left else self._end(left)
            now = sum(line.decision_id in self._ended for line in left)
            ended, waiting = ended + now, waiting + len(left) - now
            if published:
                pace.is_told_to_stop(published)
        return ended, waiting

    def _end(self, lines: Sequence[PlanLine]) -> int:
        """Publish the payments of those that are released and don't stand there yet, and note how each has ended;
        return how many were published."""
        names: list[str] = [line.decision_id for line in lines]
        ids = [reversal_id(self._lines.plan_id, name) for name in names]
        heard = heard_reversals(self._connection, names, ids)
        ended: dict[str, ReleaseEnd] = {
            name: end for name in names if (end := release_end(heard.get(name))) is not None
        }
        if not ended:
            return 0
        released = [line for line in lines if ended.get(line.decision_id) is ReleaseEnd.PUBLISHED]
        standing = self._standing(released)
        payments = [
            self._lines.outgoing_payment(self._topic.name, line)
            for line in released
            if line.decision_id not in standing
        ]
        self._run.released(ended, self._appender.append(payments) if payments else {}, self._topic.name)
        self._ended |= ended
        return len(payments)

    def _standing(self, lines: Sequence[PlanLine]) -> set[str]:
        """The decisions whose payments were published before: they were decided anew, or stand on the topic."""
        wanted = {line.decision_id: self._lines.payment(line) for line in lines}
        anew = decided_payments(self._connection, [payment.transaction_id for payment in wanted.values()])
        found = {name for name, payment in wanted.items() if self._lines.is_decided(payment, anew)}
        if len(found) < len(wanted) and self._on_topic is None:
            self._on_topic = self._read_topic()
        return found | (self._on_topic or set())

    def _read_topic(self) -> set[str]:
        records = self._topic.read(self._run.first.transaction_ends)
        there = {
            payment.transaction_id: payment
            for record in records
            if (payment := self._lines.payment_in(record.value)) is not None
        }
        return {
            line.decision_id
            for line in self._lines.releasing(self._run.progress.appended)
            if there.get(released_id(line.transaction_id, line.decision_id)) == self._lines.payment(line)
        }


def _overtaken(connection: Connection, content: PlanContent) -> int:
    """Lines whose record in force is another than when the plan was made."""
    count = 0
    for chunk in chunks(content.changing(), CHUNK_RECORDS_MAX):
        names = replaced_names(connection, [line.decision_id for line in chunk])
        count += sum(names.get(line.decision_id) != (line.replaces_kind, line.replaces_id) for line in chunk)
    return count


def _is_applied(connection: Connection, content: PlanContent) -> bool:
    """Whether the audit log has reversals under this plan."""
    return any(
        audited_reversals(connection, content.header.plan_id, [line.decision_id for line in chunk])
        for chunk in chunks(content.changing(), CHUNK_RECORDS_MAX)
    )


def _of_topic(ends: Mapping[TopicPartition, int], topic: str) -> dict[int, int]:
    return {partition: end for (name, partition), end in ends.items() if name == topic}
