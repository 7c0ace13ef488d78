"""Carrying a rollback plan out: reversals appended to decisions.v1, payments to be decided anew to transactions.v1.

Invariants
1. A payment is given back in two phases: its reversal first, and the payment itself only once the ledger says that it
   is released. One whose money could not be had back, or whose reversal was overtaken, is never published.
2. Every changing line leads to one reversal, in the plan's order, in whole transactions, and at most one payment. What
   stands on the topics is the truth about how far it came: a run begins by shutting out its predecessor, ending what
   that left open, and reading the topics on from the last progress that was written down. So nothing is appended twice.
3. Only what was approved is applied: the plan's bytes are read once, into a file of this process, and hashed; every
   record is made from a line of that file, and bears the digest. And only what is so is approved: before that, each
   line is derived again from the records, and the totals are added up from the lines.
4. One plan at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

import structlog

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
from pipeline.rollback.ends_service import TopicEnds
from pipeline.rollback.plan_content_store import PlanContent, read_content
from pipeline.rollback.plan_store import (
    Progress,
    ProgressKind,
    StoredApproval,
    StoredPlan,
    append_progress,
    append_releases,
    approve,
    count_releases,
    ended_releases,
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

CHUNK_RECORDS_MAX: Final = 500
EXECUTOR_PATIENCE_S: Final = 120.0
"""Time that the executor has to release one more payment; run again, the command waits on."""
EXECUTOR_POLL_S: Final = 0.5
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
        before, waiting = run.progress.appended, 0
        if run.progress.kind is not ProgressKind.COMPLETED:
            self._reverse(run, lines, appender, pace, advance)
            waiting = _Releasing(self._connection, run, lines, self._topics, appender).go_on(pace, self._patience_s)
            if run.progress.appended == plan.changing and not waiting:
                run.note(ProgressKind.COMPLETED)
        is_complete = run.progress.kind is ProgressKind.COMPLETED
        releases = count_releases(self._connection, plan.header.plan_id)
        here = run.progress.appended - before
        return Applied(plan, run.progress.appended, here, releases, waiting, is_complete, pace.seconds)

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
        for chunk in _chunks(lines.changing(run.progress.appended), pace.chunk_records):
            records = self._writing.seal([lines.reversal(topic, line) for line in chunk])
            run.appended(len(chunk), appender.append(records), topic)
            advance(run.progress.appended)
            if pace.is_told_to_stop(len(chunk)):
                return


class Pace:
    """Keeps a rate, and knows when to stop."""

    def __init__(self, rate_per_s: float, stopping: threading.Event) -> None:
        self._rate_per_s, self._stopping = rate_per_s, stopping
        self._begun, self._due_s = time.monotonic(), 0.0
        self.chunk_records = max(1, min(CHUNK_RECORDS_MAX, int(rate_per_s / CHUNKS_A_SECOND)))

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def is_told_to_stop(self, count: int) -> bool:
        """Wait until as much time has passed as what was appended may take."""
        self._due_s += count / self._rate_per_s
        return self._stopping.wait(max(0.0, self._due_s - self.seconds))

    def pause(self, seconds: float) -> bool:
        """Wait for something else; time that passes so doesn't let the next records come faster."""
        begun = time.monotonic()
        is_stopped = self._stopping.wait(seconds)
        self._due_s += time.monotonic() - begun
        return is_stopped


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

    def payment_in(self, value: bytes | None) -> Transaction | None:
        decoded = self._wire.decode_transaction(value)
        return decoded.transaction if isinstance(decoded, Decoded) else None


class _Run:
    """One run of `apply`: how far the plan has come, written down as it goes."""

    def __init__(self, connection: Connection, plan_id: str, by: Identity) -> None:
        self._connection, self._plan_id, self._by = connection, plan_id, by
        self.progress, self._act = Progress(ProgressKind.STARTED, by.name, 0, {}, {}), ""

    def resume(self, topics: Topics, lines: _Lines) -> None:
        """Find out how far earlier runs came, by what was written down and what stands on the topics after that."""
        ends = dict(topics.decisions.ends()), dict(topics.transactions.ends())
        written = read_progress(self._connection, self._plan_id)
        if not written:
            self._begin(Progress(ProgressKind.STARTED, self._by.name, 0, *ends), 1)
            return
        last = written[-1]
        if last.kind is ProgressKind.COMPLETED:
            self.progress = last
            return
        fresh = self._reversals_since(last, topics.decisions, lines)
        published = self._payments_since(last, last.appended + fresh, topics.transactions, lines)
        with self._connection.transaction():
            if published:
                append_releases(self._connection, self._plan_id, dict.fromkeys(published, ReleaseEnd.PUBLISHED))
            self._begin(Progress(ProgressKind.RESUMED, self._by.name, last.appended + fresh, *ends), len(written) + 1)
        found = {"written": last.appended, "found": fresh, "payments": len(published)}
        log.info("rollback_resumed", plan_id=self._plan_id, **found)

    def appended(self, count: int, ends: Mapping[TopicPartition, int], topic: str) -> None:
        after = {**self.progress.end_offsets, **_of_topic(ends, topic)}
        appended = self.progress.appended + count
        self._note(self.progress._replace(kind=ProgressKind.APPENDED, appended=appended, end_offsets=after))

    def released(self, ended: Mapping[str, ReleaseEnd], ends: Mapping[TopicPartition, int], topic: str) -> None:
        after = {**self.progress.transaction_ends, **_of_topic(ends, topic)}
        with self._connection.transaction():
            append_releases(self._connection, self._plan_id, ended)
            self._note(self.progress._replace(kind=ProgressKind.PUBLISHED, transaction_ends=after))

    def note(self, kind: ProgressKind) -> None:
        self._note(self.progress._replace(kind=kind))

    def _begin(self, progress: Progress, sequence: int) -> None:
        """The run's first row, which its author signs."""
        with self._connection.transaction():
            subject, registry = run_subject(self._plan_id, sequence), read_registry(self._connection)
            self._act = sign_act(self._connection, self._by, ActKind.ROLLBACK_APPLIED, subject, registry)
            self._note(progress)

    def _note(self, progress: Progress) -> None:
        self.progress = progress._replace(applied_by=self._by.name)
        append_progress(self._connection, self._plan_id, self.progress, self._act)

    def _reversals_since(self, last: Progress, decisions: TopicEnds, lines: _Lines) -> int:
        """The number found that were not written down: the next ones of the plan's order, or something is wrong."""
        found = {
            name for record in decisions.read(last.end_offsets) if (name := lines.reversal_in(record.value)) is not None
        }
        ids = [reversal_id(self._plan_id, line.decision_id) for line in lines.changing()]
        fresh = found.difference(ids[: last.appended])
        if fresh != set(ids[last.appended : last.appended + len(fresh)]):
            raise ProgressBroken(self._plan_id)
        return len(fresh)

    def _payments_since(self, last: Progress, appended: int, transactions: TopicEnds, lines: _Lines) -> list[str]:
        """The decisions whose payments stand on the topic, and were not written down."""
        found = {
            payment.transaction_id: payment
            for record in transactions.read(last.transaction_ends)
            if (payment := lines.payment_in(record.value)) is not None
        }
        published = []
        for line in lines.releasing(appended):
            payment = found.get(released_id(line.transaction_id, line.decision_id))
            if payment is not None and payment == lines.payment(line):
                published.append(line.decision_id)
        done = ended_releases(self._connection, self._plan_id, published)
        return [decision_id for decision_id in published if decision_id not in done]


class _Releasing:
    """The second phase: publishes what the ledger has released, and notes what it will not release."""

    def __init__(
        self, connection: Connection, run: _Run, lines: _Lines, topics: Topics, appender: TransactionalAppender
    ) -> None:
        self._connection, self._run, self._lines = connection, run, lines
        self._topic, self._appender = topics.transactions.name, appender

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
        for chunk in _chunks(self._lines.releasing(self._run.progress.appended), pace.chunk_records):
            names = [line.decision_id for line in chunk]
            done = ended_releases(self._connection, self._lines.plan_id, names)
            left = [line for line in chunk if line.decision_id not in done]
            now = {} if pace.is_stopped or not left else self._end(left)
            ended, waiting = ended + len(now), waiting + len(left) - len(now)
            if now:
                pace.is_told_to_stop(len(now))
        return ended, waiting

    def _end(self, lines: Sequence[PlanLine]) -> dict[str, ReleaseEnd]:
        """Publish the payments of those that are released, and note how each has ended."""
        names: list[str] = [line.decision_id for line in lines]
        ids = [reversal_id(self._lines.plan_id, name) for name in names]
        heard = heard_reversals(self._connection, names, ids)
        ended: dict[str, ReleaseEnd] = {
            name: end for name in names if (end := release_end(heard.get(name))) is not None
        }
        if not ended:
            return {}
        payments = [
            self._lines.outgoing_payment(self._topic, line)
            for line in lines
            if ended.get(line.decision_id) is ReleaseEnd.PUBLISHED
        ]
        self._run.released(ended, self._appender.append(payments) if payments else {}, self._topic)
        return ended


def _overtaken(connection: Connection, content: PlanContent) -> int:
    """Lines whose record in force is another than when the plan was made."""
    count = 0
    for chunk in _chunks(content.changing(), CHUNK_RECORDS_MAX):
        names = replaced_names(connection, [line.decision_id for line in chunk])
        count += sum(names.get(line.decision_id) != (line.replaces_kind, line.replaces_id) for line in chunk)
    return count


def _of_topic(ends: Mapping[TopicPartition, int], topic: str) -> dict[int, int]:
    return {partition: end for (name, partition), end in ends.items() if name == topic}


_Each = TypeVar("_Each")


def _chunks(lines: Iterable[_Each], size: int) -> Iterator[list[_Each]]:
    left = iter(lines)
    while chunk := list(islice(left, size)):
        yield chunk
