"""The review service: opens cases for what is escalated, ends those whose time is up, and publishes what was decided.

Invariants
1. Cases are opened, withdrawn and ended in the transaction that moves the position on decisions.v1, by what is in force
   there, as the executor has it; those about payments that aren't held are withdrawn once the ledger says so.
2. An outcome counts as published once its own record was read back from the topic. Until then it is sent again, under
   the same id and with the same bytes: when the broker did not take it, or after a restart that found it unread.
3. Nothing of people's is published before it was proved: signature, key, role, and the rules of the case. What counts
   as nothing is voided, and told.
4. A case is what the audit log says of its record: the database refuses another, and none is published that differs. So
   the service takes in what the audit log holds, and waits for it.

The outbox is the cases themselves: decided and not yet read back. There is no second table to get out of step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import COLUMN
from pipeline.domain.identities import DecisionId, ReviewId, review_id
from pipeline.domain.in_force import DecisionRecord, InForce, replaced, replaces
from pipeline.domain.log import LogRecord, Outgoing
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog
from pipeline.io.postgres import Connection, Positions, failures_named
from pipeline.io.quarantine import store_around
from pipeline.people.act_store import RegistryReader
from pipeline.people.watch_service import ActWatch
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.review.case_store import (
    CaseFile,
    Opening,
    RecordPlace,
    Worth,
    append_event,
    append_in_force,
    cases_of,
    count_cases,
    due_cases,
    latest_cases,
    lock_cases,
    open_cases,
    open_money,
    opened_for,
    pending_cases,
    records_in_force,
    refusal_of,
    unfounded_cases,
    unheld_cases,
    unpublished_cases,
    voided_cases,
    worths_of,
)
from pipeline.review.cases import (
    Case,
    CaseEvent,
    ReviewRules,
    State,
    expiry,
    is_expired_otherwise,
    opening,
    publication,
    withdrawal,
)
from pipeline.review.metrics import (
    REVIEW_CASES,
    REVIEW_EVENTS,
    REVIEW_FOREIGN,
    REVIEW_PUBLISHED,
    count_published,
    tell_open_money,
)
from pipeline.review.notice_topics import Untold
from pipeline.review.outcome_topics import is_as_decided, review_outcome, trusted_ms
from pipeline.review.proof_store import append_void, void_reason
from pipeline.review.recovery_store import open_recoveries
from pipeline.review.trace_service import NO_TRACES, ReviewTraces
from pipeline.seals.passed_over_store import PassedOver

CONSUMER: Final = "review"
GROUP: Final = "fraud-review"
BATCH_RECORDS_MAX: Final = 2000
READ_WAIT_S: Final = 0.2
AUDIT_WAIT_S: Final = 1.0
"""Waited within one turn; then the batch is read again."""
AUDIT_LOOK_AGAIN_S: Final = 0.02
DUE_INTERVAL_S: Final = 1.0
"""Between looks at what has expired and what is to be published; an outcome waits at most so long."""
CASES_A_LOOK: Final = 500
ACTS_RECENT: Final = 10_000
"""Signed acts that are looked at again after a start; `fraud people verify` looks at all."""
UNHELD_INTERVAL_S: Final = 15.0
"""Between looks for cases whose payments aren't held; one looks at the ledger for every open case."""
RECOVERIES_TOLD_MAX: Final = 10_000
"""Recovery cases whose amounts are added up; a person closes each, so there are never so many."""
RESEND_S: Final = 30.0
"""An outcome that was acknowledged is read back in milliseconds; this long means that it was lost."""
QUIET_READS: Final = 2

RecordT = TypeVar("RecordT")

log = structlog.get_logger("review")


class CaughtUp:
    """Whether the topic was read to the ends that it had when the partitions came here.

    A partition's end may be a commit marker, which is never read; so reads that find nothing count too.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] | None = None
        self._quiet = 0

    def saw(self, source: PositionedLog[DecisionRecord], batch: LogBatch[DecisionRecord]) -> bool:
        """After every read."""
        positions = source.positions
        if self._ends is None or self._ends.keys() != positions.keys():
            self._ends, self._quiet = source.end_offsets(), 0
            return False
        self._quiet = 0 if batch.spans else self._quiet + 1
        is_past = all(positions[partition] >= end for partition, end in self._ends.items())
        return is_past or self._quiet >= QUIET_READS


class _Read(NamedTuple, Generic[RecordT]):
    """A record of decisions.v1 and where it was read."""

    record: RecordT
    place: RecordPlace
    timestamp_ms: int  # as `trusted_ms` has it


class ReviewTopics(NamedTuple):
    decisions: str
    alerts: str


class Seals(NamedTuple):
    """seal: proves that outcomes are ours. passed_over: keeps what nobody proves to have written."""

    seal: Callable[[Sequence[Outgoing]], list[Outgoing]]
    passed_over: PassedOver


class ReviewService:
    """One process, one thread."""

    def __init__(
        self,
        source: PositionedLog[DecisionRecord],
        appender: Appender,
        wire: WireFormat,
        topics: ReviewTopics,
        expiry_ms: int,
        clock_ms: Callable[[Connection], int],
        rules: ReviewRules,
        seals: Seals,
        traces: ReviewTraces = NO_TRACES,
    ) -> None:
        """clock_ms: the database server's, by which cases are due."""
        self._source, self._appender, self._wire, self._topics = source, appender, wire, topics
        self._expiry_ms, self._clock_ms, self._rules, self._seals = expiry_ms, clock_ms, rules, seals
        self._traces = traces
        self._untold = Untold(AlertPublisher(appender.append, wire, topics.alerts))
        self._people, self._acts = RegistryReader(), ActWatch(ACTS_RECENT)
        self._positions, self._audited = Positions(CONSUMER, topics.decisions), Positions("audit", topics.decisions)
        self._sent: dict[str, float] = {}  # review id → when; not yet read back
        self._caught_up = CaughtUp()
        self._looked_at = 0.0
        self._unheld_at = self._money_at = -UNHELD_INTERVAL_S
        self._published: list[CaseFile] = []  # by the transaction under way
        self._unpublished: str | None = None  # why outcomes wait, as the last look found

    def step(self, connection: Connection) -> str | None:
        """A batch, and what is due. Why it isn't ready: before it has read to the end it publishes nothing.

        Raises DatabaseUnavailable, DatabaseRefused, PositionMoved, BrokerFailed, RecordUndecodable.
        """
        batch = self._source.read(BATCH_RECORDS_MAX, READ_WAIT_S)
        self._seals.passed_over.note(connection, batch.unproved)
        if batch.spans:
            with failures_named():
                if not self._is_audited(connection, batch):
                    self._source.rewind()
                    return "the audit log hasn't reached what it has read, so nothing of that is taken in"
                self.store(connection, batch)
        if not self._caught_up.saw(self._source, batch):
            return "it has not read decisions.v1 to its end yet"
        if not self._source.positions:
            return "no partition of decisions.v1 is its own"
        if time.monotonic() - self._looked_at >= DUE_INTERVAL_S:
            with failures_named():
                self._unpublished = self.look(connection)
            self._looked_at = time.monotonic()
        return self._unpublished

    def _is_audited(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> bool:
        """Wait for the audit log, which the database compares every case with."""
        ends: dict[int, int] = {}
        for record in batch.records:
            ends[record.partition] = max(record.offset + 1, ends.get(record.partition, 0))
        deadline = time.monotonic() + AUDIT_WAIT_S
        while True:
            audited = self._audited.read(connection, ends)
            if all(audited[partition] >= end for partition, end in ends.items()):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(AUDIT_LOOK_AGAIN_S)

    def store(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        """A batch, but for what was put aside, and the positions after it."""

        def is_aside(record: LogRecord[DecisionRecord]) -> bool:
            return is_put_aside(connection, self._topics.decisions, record.partition, record.offset, record.value)

        def pass_over(one: LogBatch[DecisionRecord]) -> None:
            with connection.transaction():
                self._advance(connection, one)

        with self._traces.processing(batch.records):
            store_around(batch, lambda part: self._store(connection, part), is_aside, pass_over)

    def _advance(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        for span in batch.spans:
            self._positions.advance(connection, *span)

    def _store(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        decisions: list[_Read[Decision]] = []
        later: list[_Read[Reversal] | _Read[ReviewOutcome]] = []  # in log order: the first of two holds
        now_ms = self._clock_ms(connection)
        for record in batch.records:
            place, at_ms = RecordPlace(record.partition, record.offset), trusted_ms(record.timestamp_ms, now_ms)
            match record.content:
                case Decision() as decision:
                    decisions.append(_Read(decision, place, at_ms))
                case Reversal() as reversal:
                    later.append(_Read(reversal, place, at_ms))
                case ReviewOutcome() as outcome:
                    later.append(_Read(outcome, place, at_ms))
        self._published.clear()
        with failures_named(), connection.transaction():
            self._open_escalated(connection, decisions)
            for is_reversal, run in groupby(later, lambda read: isinstance(read.record, Reversal)):
                if is_reversal:
                    self._take_back(connection, [read for read in run if isinstance(read.record, Reversal)])
                else:
                    self._read_back(connection, [read for read in run if isinstance(read.record, ReviewOutcome)])
            self._advance(connection, batch)
        for file in self._published:
            count_published(file)

    def look(self, connection: Connection) -> str | None:
        """Ends what is due, publishes what is decided. Why that still waits, or None."""
        partitions = list(self._source.positions)
        with connection.transaction():
            self._expire(connection, partitions)
            if time.monotonic() - self._unheld_at >= UNHELD_INTERVAL_S:
                self._withdraw_unheld(connection, partitions)
                self._void(connection, pending_cases(connection, partitions, CASES_A_LOOK))
                self._doubt_voids(connection, voided_cases(connection, partitions, CASES_A_LOOK))
                if not self._untold.is_full:
                    self._untold.doubt_acts(self._acts.look(connection)[0])
                self._unheld_at = time.monotonic()
            decided = self._void(connection, unpublished_cases(connection, partitions, CASES_A_LOOK))
        self._untold.tell()
        self._traces.look_up(connection, decided)
        unpublished = self.publish(decided)
        is_open, is_waiting = count_cases(connection)
        REVIEW_CASES.labels("open").set(is_open)
        REVIEW_CASES.labels("unpublished").set(is_waiting)
        if time.monotonic() - self._money_at >= UNHELD_INTERVAL_S:
            tell_open_money(open_money(connection), open_recoveries(connection, RECOVERIES_TOLD_MAX))
            self._money_at = time.monotonic()
        return unpublished

    def publish(self, files: Iterable[CaseFile]) -> str | None:
        """Sends the outcomes of decided cases, each again after RESEND_S. Why they wait for a broker, or None.

        While it is away, escalations are still taken in. What it refuses for good raises BrokerFailed.
        """
        now = time.monotonic()
        due = {review_id(file.case.decision_id, file.case.round): file for file in files}
        due = {name: file for name, file in due.items() if now - self._sent.get(name, -RESEND_S) >= RESEND_S}
        if not due:
            return None
        records = self._seals.seal([self._outgoing(name, file) for name, file in due.items()])
        spans = self._traces.mark(records, [file.case.decision_id for file in due.values()])
        try:
            self._appender.append(records)
        except BrokerAway as error:
            log.warning("outcomes_not_published", count=len(due), why=str(error))
            return f"{len(due)} outcomes are not published: {error}"
        self._traces.sent(spans)
        self._sent.update(dict.fromkeys(due, now))
        REVIEW_PUBLISHED.inc(len(due))
        return None

    def _open_escalated(self, connection: Connection, decisions: Sequence[_Read[Decision]]) -> None:
        """Round 1 of every decision that has none; a record that stands on the topic twice opens one case."""
        escalated = {
            read.record.decision_id: read for read in decisions[::-1] if read.record.outcome is Outcome.ESCALATE
        }
        known = opened_for(connection, escalated) if escalated else set()
        fresh = [read for decision_id, read in escalated.items() if decision_id not in known]
        self._open(connection, [self._escalated(read) for read in fresh])

    def _escalated(self, read: _Read[Decision]) -> Opening:
        decision = read.record
        payment, features, _ = decision.snapshot
        worth = Worth(payment.currency, payment.amount_minor, features[COLUMN["amount_gbp_minor"]])
        case = self._case(decision, 1, worth, read.timestamp_ms)
        return Opening(case, case.decision_id, decision.summary, read.place)

    def _take_back(self, connection: Connection, reversals: Sequence[_Read[Reversal]]) -> None:
        """Withdraws what is under review of decisions that are reversed; opens a round for those to be reviewed.

        A reversal of what is not in force changes nothing here either, as the executor changes nothing.
        """
        decision_ids = [read.record.decision_id for read in reversals]
        lock_cases(connection, decision_ids)
        known = records_in_force(connection, _firsts(reversals))
        worths = worths_of(connection, decision_ids)
        opened = opened_for(connection, [read.record.reversal_id for read in reversals])
        for read in reversals:
            reversal = read.record
            before = known[reversal.decision_id]
            if not replaces(before, reversal):
                continue
            after = replaced(before, reversal)
            if not self._take_place(connection, reversal.decision_id, after, read.place):
                continue
            known[reversal.decision_id] = after
            if reversal.reversal_id in opened:
                continue  # the round before had ended then
            self._withdraw(connection, read)
            if reversal.corrected_outcome is not Outcome.ESCALATE:
                continue
            case = self._case(reversal, after.rounds, worths[reversal.decision_id], read.timestamp_ms)
            self._open(connection, [Opening(case, reversal.reversal_id, reversal.reason, read.place)])

    def _withdraw(self, connection: Connection, read: _Read[Reversal]) -> None:
        for file in latest_cases(connection, [read.record.decision_id]):
            event = withdrawal(file.standing, read.record.reason, read.timestamp_ms)
            if event is not None:
                self._append(connection, file.case, event, read.place)

    def _read_back(self, connection: Connection, outcomes: Sequence[_Read[ReviewOutcome]]) -> None:
        """Marks as published what stands on the topic as it was decided; its second copy changes nothing."""
        decision_ids = [read.record.decision_id for read in outcomes]
        lock_cases(connection, decision_ids)
        known = records_in_force(connection, _firsts(outcomes))
        files = cases_of(connection, decision_ids)
        for read in outcomes:
            name, about = read.record.review_id, read.record.decision_id
            after = replaced(known[about], read.record)
            if replaces(known[about], read.record) and self._take_place(connection, about, after, read.place):
                known[about] = after
            file = files.get(name)
            if file is None or not is_as_decided(read.record, file):
                REVIEW_FOREIGN.inc()
                log.error("foreign_outcome", review_id=name, **read.place._asdict())
                continue
            self._sent.pop(name, None)
            event = publication(file.standing, read.timestamp_ms)
            if event is not None:
                self._published.append(file)
                self._append(connection, file.case, event, read.place)
                files[name] = file._replace(events=(*file.events, event))

    def _withdraw_unheld(self, connection: Connection, partitions: Sequence[int]) -> None:
        """Withdraws cases about payments that aren't held: people would decide what moves nothing."""
        now_ms = self._clock_ms(connection)
        for file, why in unheld_cases(connection, partitions, CASES_A_LOOK):
            reason = f"The payment is not held ({why}), so there is nothing to decide."
            if file.standing.state is State.DECIDED:
                continue  # just now: the executor tells that it moves nothing
            if (event := withdrawal(file.standing, reason, now_ms)) is not None:
                self._append(connection, file.case, event, None)

    def _expire(self, connection: Connection, partitions: Sequence[int]) -> None:
        now_ms = self._clock_ms(connection)
        for file in due_cases(connection, partitions, now_ms, CASES_A_LOOK):
            if (event := expiry(file.case, file.standing, now_ms)) is not None:
                self._append(connection, file.case, event, None)

    def _void(self, connection: Connection, files: Sequence[CaseFile]) -> list[CaseFile]:
        """Void what people did in these cases and nobody proved; return the cases without a fault.

        An outcome that was sent was proved then, and can't be called back.
        """
        if not files:
            return []
        sound: list[CaseFile] = []
        registry = self._people.read(connection)
        lock_cases(connection, [file.case.decision_id for file in files])
        unfounded = unfounded_cases(connection, files)
        for file in files:
            if (file.case.decision_id, file.case.round) in unfounded or is_expired_otherwise(file.case, file.standing):
                self._untold.unfounded(file, self._clock_ms(connection))
                continue
            name = review_id(file.case.decision_id, file.case.round)
            fault = None if name in self._sent else void_reason(connection, registry, file, self._rules)
            if fault is None:
                sound.append(file)
                continue
            now_ms = self._clock_ms(connection)
            append_void(connection, file, fault, now_ms)
            REVIEW_EVENTS.labels("VOIDED").inc()
            self._untold.void(file, fault, now_ms)
        return sound

    def _doubt_voids(self, connection: Connection, files: Sequence[CaseFile]) -> None:
        """Tell, once, of what was voided though it counts: signatures are proved here, and not by the database."""
        registry, now_ms = self._people.read(connection), self._clock_ms(connection)
        for file in files:
            before = file._replace(events=file.events[:-1])
            if self._untold.is_told_void(file) or void_reason(connection, registry, before, self._rules) is not None:
                continue
            self._untold.doubt_void(file, now_ms)

    def _outgoing(self, name: ReviewId, file: CaseFile) -> Outgoing:
        value = self._wire.encode(review_outcome(name, file))
        return Outgoing(self._topics.decisions, file.case.account_id.encode(), value)

    def _case(self, about: Decision | Reversal, case_round: int, worth: Worth, at_ms: int) -> Case:
        ids = about.decision_id, case_round, about.transaction_id, about.account_id
        return Case(*ids, *worth, at_ms, at_ms + self._expiry_ms)

    def _open(self, connection: Connection, openings: Sequence[Opening]) -> None:
        """All at once; where the database refuses one, each by itself, and what it refuses is told."""
        if not openings:
            return

        def store(some: Sequence[Opening]) -> None:
            open_cases(connection, some, [opening(one.case) for one in some])
            REVIEW_EVENTS.labels("OPENED").inc(len(some))

        if refusal_of(connection, partial(store, openings)) is None:
            return
        for one in openings:
            why = refusal_of(connection, partial(store, [one]))
            if why is not None:
                self._untold.refuse(one.case.decision_id, one.place, why, self._clock_ms(connection))

    def _take_place(self, connection: Connection, decision_id: DecisionId, now: InForce, place: RecordPlace) -> bool:
        """Say that a record took another's place; False where the audit log knows no such record."""
        why = refusal_of(connection, lambda: append_in_force(connection, decision_id, now, place))
        if why is not None:
            self._untold.refuse(decision_id, place, why, self._clock_ms(connection))
        return why is None

    def _append(self, connection: Connection, case: Case, event: CaseEvent, place: RecordPlace | None) -> None:
        append_event(connection, case, event, place)
        REVIEW_EVENTS.labels(event.kind).inc()
        log.info("case", decision_id=case.decision_id, round=case.round, kind=str(event.kind))


def _firsts(reads: Sequence[_Read[ReviewOutcome]] | Sequence[_Read[Reversal]]) -> dict[DecisionId, int]:
    """The first place at which each decision is spoken of."""
    return {read.record.decision_id: read.place.offset for read in reads[::-1]}
