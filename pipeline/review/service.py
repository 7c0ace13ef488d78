"""The review service: opens cases for what is escalated, ends those whose time is up, and publishes what was decided.

Invariants
1. Cases are opened, withdrawn and ended in the transaction that moves the position on decisions.v1.
2. An outcome counts as published once its own record was read back from the topic. Until then it is sent again, under
   the same id and with the same bytes: when the broker did not take it, or after a restart that found it unread.
3. Nothing is published before the topic was read to the end that it had when its partitions came here.

The outbox is the cases themselves: decided and not yet read back. There is no second table to get out of step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.domain.decision import Outcome
from pipeline.domain.features import UNKNOWN
from pipeline.domain.identities import review_id
from pipeline.domain.log import LogRecord, Outgoing
from pipeline.io.avro.wire import Datum, WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog
from pipeline.io.postgres import Connection, Positions, failures_named
from pipeline.review.case_store import (
    CaseFile,
    Opening,
    Place,
    Rounds,
    append_event,
    cases_by_review,
    count_cases,
    due_cases,
    latest_cases,
    lock_cases,
    open_cases,
    planned_amounts,
    rounds_of,
    unpublished_cases,
)
from pipeline.review.cases import Case, CaseEvent, authors, expiry, opening, publication, withdrawal
from pipeline.review.metrics import REVIEW_CASES, REVIEW_EVENTS, REVIEW_FOREIGN, REVIEW_PUBLISHED

CONSUMER: Final = "review"
GROUP: Final = "fraud-review"
BATCH_RECORDS_MAX: Final = 2000
READ_WAIT_S: Final = 0.2
DUE_INTERVAL_S: Final = 1.0
"""Between looks at what has expired and what is to be published; an outcome waits at most so long."""
CASES_A_LOOK: Final = 500
RESEND_S: Final = 30.0
"""An outcome that was acknowledged is read back in milliseconds; this long means that it was lost."""
QUIET_READS: Final = 2
NO_CURRENCY: Final = "XXX"  # ISO 4217's code for none

log = structlog.get_logger("review")


class CaughtUp:
    """Whether the topic was read to the ends that it had when the partitions came here.

    A partition's end may be a commit marker, which is never read; so reads that find nothing count too.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] | None = None
        self._quiet = 0

    def saw(self, source: PositionedLog, batch: LogBatch) -> bool:
        """After every read."""
        positions = source.positions
        if self._ends is None or self._ends.keys() != positions.keys():
            self._ends, self._quiet = source.end_offsets(), 0
            return False
        self._quiet = 0 if batch.records else self._quiet + 1
        is_past = all(positions[partition] >= end for partition, end in self._ends.items())
        return is_past or self._quiet >= QUIET_READS


class ReviewTopics(NamedTuple):
    decisions: str


class ReviewService:
    """One process, one thread."""

    def __init__(
        self,
        source: PositionedLog,
        appender: Appender,
        wire: WireFormat,
        topics: ReviewTopics,
        expiry_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._source, self._appender, self._wire, self._topics = source, appender, wire, topics
        self._expiry_ms, self._clock_ms = expiry_ms, clock_ms
        self._positions = Positions(CONSUMER, topics.decisions)
        self._sent: dict[str, float] = {}  # review id → when; not yet read back
        self._caught_up = CaughtUp()
        self._looked_at = 0.0

    def step(self, connection: Connection) -> str | None:
        """A batch, and what is due. Why it isn't ready: before it has read to the end it publishes nothing.

        Raises DatabaseUnavailable, DatabaseRefused, PositionMoved, BrokerFailed, RecordUndecodable.
        """
        batch = self._source.read(BATCH_RECORDS_MAX, READ_WAIT_S)
        if batch.records:
            with failures_named():
                self.store(connection, batch)
        if not self._caught_up.saw(self._source, batch):
            return "it has not read decisions.v1 to its end yet"
        if not self._source.positions:
            return "no partition of decisions.v1 is its own"
        if time.monotonic() - self._looked_at >= DUE_INTERVAL_S:
            with failures_named():
                self.look(connection)
            self._looked_at = time.monotonic()
        return None

    def store(self, connection: Connection, batch: LogBatch) -> None:
        """A batch and the positions after it."""
        kinds: dict[str, list[LogRecord]] = {"Decision": [], "Reversal": [], "ReviewOutcome": []}
        for record in batch.records:
            kinds[record.fields["record"]].append(record)
        with connection.transaction():
            self._open_escalated(connection, kinds["Decision"])
            self._take_back(connection, kinds["Reversal"])
            self._read_back(connection, kinds["ReviewOutcome"])
            for span in batch.spans:
                self._positions.advance(connection, *span)

    def look(self, connection: Connection) -> None:
        """Ends what is due, publishes what is decided."""
        partitions = list(self._source.positions)
        with connection.transaction():
            self._expire(connection, partitions)
        self._publish(unpublished_cases(connection, partitions, CASES_A_LOOK))
        is_open, is_waiting = count_cases(connection)
        REVIEW_CASES.labels("open").set(is_open)
        REVIEW_CASES.labels("unpublished").set(is_waiting)

    def _open_escalated(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        """Round 1 of every decision that has none; a record that stands on the topic twice opens one case."""
        escalated = {r.fields["decision_id"]: r for r in records[::-1] if r.fields["outcome"] == Outcome.ESCALATE}
        known = rounds_of(connection, escalated) if escalated else {}
        fresh = [record for decision_id, record in escalated.items() if decision_id not in known]
        self._open(connection, [self._escalated(record) for record in fresh])

    def _escalated(self, record: LogRecord) -> Opening:
        fields, snapshot = record.fields, record.fields["snapshot"]
        payment, gbp_minor = snapshot["transaction"], snapshot["features"]["amount_gbp_minor"]
        amounts = payment["currency"], payment["amount_minor"], gbp_minor
        case = self._case(record, 1, *amounts)
        return Opening(case, case.decision_id, fields["summary"], Place(record.partition, record.offset))

    def _take_back(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        """Withdraws what is under review of decisions that are reversed; opens a round for those to be reviewed."""
        if not records:
            return
        decision_ids = [record.fields["decision_id"] for record in records]
        lock_cases(connection, decision_ids)
        rounds = rounds_of(connection, decision_ids)
        planned = planned_amounts(connection, [_planned_key(record.fields) for record in records])
        for record in records:
            fields = record.fields
            before = rounds.get(fields["decision_id"], Rounds(0, frozenset()))
            if fields["reversal_id"] in before.causes:
                continue
            self._withdraw(connection, record)
            if fields["corrected_outcome"] != Outcome.ESCALATE:
                continue
            amounts = planned.get(_planned_key(fields))
            worth = (NO_CURRENCY, UNKNOWN, UNKNOWN) if amounts is None else amounts[:3]
            case = self._case(record, before.number + 1, *worth)
            summary = fields["reason"] if amounts is None else amounts.summary
            self._open(
                connection, [Opening(case, fields["reversal_id"], summary, Place(record.partition, record.offset))]
            )
            rounds[case.decision_id] = Rounds(case.round, before.causes | {fields["reversal_id"]})

    def _withdraw(self, connection: Connection, record: LogRecord) -> None:
        for file in latest_cases(connection, [record.fields["decision_id"]]):
            event = withdrawal(file.standing, record.fields["reason"], record.timestamp_ms)
            if event is not None:
                self._append(connection, file.case, event, Place(record.partition, record.offset))

    def _read_back(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        """Marks as published what stands on the topic as it was decided; its second copy changes nothing."""
        if not records:
            return
        lock_cases(connection, [record.fields["decision_id"] for record in records])
        files = cases_by_review(connection, {record.fields["review_id"] for record in records})
        for record in records:
            name = record.fields["review_id"]
            file = files.get(name)
            if file is None or not _is_as_decided(record.fields, name, file):
                REVIEW_FOREIGN.inc()
                log.error("foreign_outcome", review_id=name, partition=record.partition, offset=record.offset)
                continue
            self._sent.pop(name, None)
            event = publication(file.standing, record.timestamp_ms)
            if event is not None:
                self._append(connection, file.case, event, Place(record.partition, record.offset))
                files[name] = file._replace(events=(*file.events, event))

    def _expire(self, connection: Connection, partitions: Sequence[int]) -> None:
        now_ms = self._clock_ms()
        for file in due_cases(connection, partitions, now_ms, CASES_A_LOOK):
            if (event := expiry(file.case, file.standing, now_ms)) is not None:
                self._append(connection, file.case, event, Place())

    def _publish(self, files: Iterable[CaseFile]) -> None:
        now = time.monotonic()
        due = {review_id(file.case.decision_id, file.case.round): file for file in files}
        due = {name: file for name, file in due.items() if now - self._sent.get(name, -RESEND_S) >= RESEND_S}
        if not due:
            return
        try:
            self._appender.append([self._outgoing(name, file) for name, file in due.items()])
        except BrokerFailed as error:
            log.warning("outcomes_not_published", count=len(due), why=str(error))
            return
        self._sent.update(dict.fromkeys(due, now))
        REVIEW_PUBLISHED.inc(len(due))

    def _outgoing(self, name: str, file: CaseFile) -> Outgoing:
        value = self._wire.encode("decision.v1", review_outcome(name, file))
        return Outgoing(self._topics.decisions, file.case.account_id.encode(), value)

    def _case(self, record: LogRecord, case_round: int, currency: str, amount_minor: int, gbp_minor: int) -> Case:
        fields, at_ms = record.fields, record.timestamp_ms
        ids = fields["decision_id"], case_round, fields["transaction_id"], fields["account_id"]
        return Case(*ids, currency, amount_minor, gbp_minor, at_ms, at_ms + self._expiry_ms)

    def _open(self, connection: Connection, openings: Sequence[Opening]) -> None:
        if openings:
            open_cases(connection, openings, [opening(one.case) for one in openings])
            REVIEW_EVENTS.labels("OPENED").inc(len(openings))

    def _append(self, connection: Connection, case: Case, event: CaseEvent, place: Place) -> None:
        append_event(connection, case, event, place)
        REVIEW_EVENTS.labels(event.kind).inc()
        log.info("case", decision_id=case.decision_id, round=case.round, kind=str(event.kind))


def review_outcome(name: str, file: CaseFile) -> Datum:
    """The record of a decided case: the same each time."""
    decided = file.standing.last
    assert decided is not None, "the case is decided"
    reviewed_by, second_reviewer = authors(file.standing)
    return {
        "-type": "fraud.v1.ReviewOutcome",
        "review_id": name,
        "decision_id": file.case.decision_id,
        "transaction_id": file.case.transaction_id,
        "account_id": file.case.account_id,
        "reviewed_at_ms": decided.at_ms,
        "outcome": decided.outcome,
        "reason": decided.reason,
        "reviewed_by": reviewed_by,
        "second_reviewer": second_reviewer,
    }


def _is_as_decided(fields: Datum, name: str, file: CaseFile) -> bool:
    """Whether the record says what was decided here; who may write the topic could say otherwise."""
    if file.standing.last is None:
        return False
    expected = {key: value for key, value in review_outcome(name, file).items() if key != "-type"}
    return {key: value for key, value in fields.items() if key != "record"} == expected


def _planned_key(fields: Datum) -> tuple[str, str]:
    return fields["plan_id"], fields["decision_id"]
