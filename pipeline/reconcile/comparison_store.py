"""One look at a stretch: the comparisons of the core, on rows of the audit log and of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.log import Record, TopicPartition
from pipeline.execute.saga import State
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, statements
from pipeline.reconcile.gaps import (
    PASSING,
    Execution,
    Gap,
    GapKind,
    accounting_gaps,
    audit_gaps,
    execution_gaps,
    fault_gaps,
    repetition_gaps,
)

LATE_RECORDS_MAX: Final = 1_000_000
"""Read again to see what late results are about; they are rare, and near each other."""
_DECISION, _DUPLICATE, _QUARANTINED = "DECISION", "DUPLICATE", "QUARANTINED"


def record_value(record: Record) -> bytes:
    """Empty where it has none."""
    return record.value or b""


def record_offset(record: Record) -> int:
    return record.source.offset


class Topics(NamedTuple):
    intake: str
    decisions: str
    letters: str


class Part(NamedTuple):
    """[first, end) of one partition."""

    topic: str
    partition: int
    first: int
    end: int

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


Intake = Mapping[Part, Sequence[int]]
"""Offsets of the records that were taken in."""
Results = Mapping[Part, Mapping[int, bytes]]
"""Digests of the records by their offset."""


class Looked(NamedTuple):
    gaps: Sequence[Gap]
    taken_in: int
    decisions: int
    dead_letters: int
    duplicates: int
    audited: int
    executed: int

    @property
    def may_be_late(self) -> bool:
        """Whether something is missing that may still come."""
        return any(gap.kind in PASSING for gap in self.gaps)


class Looking:
    """For one thread. Raises psycopg's errors and BrokerFailed."""

    def __init__(self, wire: WireFormat, log: LogReader, topics: Topics, consumer: str) -> None:
        """consumer: whose positions say what of the intake was reconciled before."""
        self._wire, self._log, self._topics, self._consumer = wire, log, topics, consumer
        self._statements = statements("pipeline.reconcile", "reconcile")

    def look(self, connection: Connection, intake: Intake, decisions: Results, letters: Results) -> Looked:
        """All in one view of the database."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            audit, audited = self._audit(connection, decisions, letters)
            became = {part: self._rows(connection, "outcomes", part) for part in intake}
            accounting = self._accounting(intake, became, audit)
            late = self._late(connection, decisions, letters)
            execution, executed = self._execution(connection, decisions)
        kinds = [kind for rows in became.values() for _, kind in rows]
        made, doubled = kinds.count(_DECISION), kinds.count(_DUPLICATE)
        put_aside = kinds.count(_QUARANTINED)
        gaps = [*accounting, *late, *audit, *execution]
        taken_in = sum(map(len, intake.values()))
        return Looked(gaps, taken_in, made, len(kinds) - made - doubled - put_aside, doubled, audited, executed)

    def is_filled(self, connection: Connection, gap: Gap) -> bool:
        """Whether what was missing has come since."""
        part = Part(gap.topic, gap.partition, gap.first_offset, gap.last_offset + 1)
        match gap.kind:
            case GapKind.UNACCOUNTED:
                return len({offset for offset, _ in self._rows(connection, "outcomes", part)}) >= gap.records
            case GapKind.NOT_AUDITED:
                name = "audited_letters" if gap.topic == self._topics.letters else "audited_records"
                return len({offset for offset, _ in self._rows(connection, name, part)}) >= gap.records
            case GapKind.NOT_EXECUTED | GapKind.UNFINISHED | GapKind.RAIL_SILENT:
                rows = [*self._decided(connection, part), *self._later(connection, part)]
                return not any(found.kind in PASSING for found in execution_gaps(part.place, rows))
            case GapKind.STALE_HOLD:
                return not self._rows(connection, "stale_hold", part)
        return False

    def _audit(self, connection: Connection, decisions: Results, letters: Results) -> tuple[list[Gap], int]:
        gaps: list[Gap] = []
        audited = 0
        for part, digests in decisions.items():
            rows = self._rows(connection, "audited_records", part)
            repeated = {offset for (offset,) in self._rows(connection, "repeated_decisions", part)}
            gaps += [*audit_gaps(part.place, digests, rows), *repetition_gaps(part.place, list(digests), repeated)]
            audited += len(rows)
        for part, digests in letters.items():
            rows = self._rows(connection, "audited_letters", part)
            gaps += audit_gaps(part.place, dict.fromkeys(digests, b""), rows)
        return gaps, audited

    def _accounting(self, intake: Intake, became: Mapping[Part, list[Any]], audit: Iterable[Gap]) -> list[Gap]:
        """Count a record that stands on a results topic and only isn't audited yet: that gap is the audit log's."""
        accounted = {part: [offset for offset, _ in rows] for part, rows in became.items()}
        gaps = _accounting_gaps(intake, accounted)
        if not any(gap.kind is GapKind.UNACCOUNTED for gap in gaps):
            return gaps
        for place, offset in self._unaudited_sources(audit):
            for part in intake:
                if part.place == place and part.first <= offset < part.end:
                    accounted[part].append(offset)
        return _accounting_gaps(intake, accounted)

    def _unaudited_sources(self, audit: Iterable[Gap]) -> Iterator[tuple[TopicPartition, int]]:
        """Which records of the intake the results are about that the audit log doesn't hold."""
        for gap in audit:
            if gap.kind is not GapKind.NOT_AUDITED:
                continue
            first, end = gap.first_offset, gap.last_offset + 1
            stretch = self._log.read_range(gap.topic, gap.partition, first, end, gap.records, record_value)
            for value in stretch.taken:
                if (source := self._source(gap.topic, value)) is not None:
                    yield source

    def _source(self, topic: str, value: bytes) -> tuple[TopicPartition, int] | None:
        """None of what is about no record of the intake: a review, a reversal, another topic's dead letter."""
        is_letter = topic == self._topics.letters
        match self._wire.decode_dead_letter(value) if is_letter else self._wire.decode_decision_record(value):
            case Decision(source_partition=partition, source_offset=offset):
                return TopicPartition(self._topics.intake, partition), offset
            case DeadLetter(source_topic=self._topics.intake, source_partition=partition, source_offset=offset):
                return TopicPartition(self._topics.intake, partition), offset
            case _:
                return None

    def _late(self, connection: Connection, decisions: Results, letters: Results) -> list[Gap]:
        """Results about records that were reconciled before: each of those must still have become one thing only."""
        sources: dict[int, set[int]] = {}
        for name, parts in (("late_decisions", decisions), ("late_letters", letters)):
            for part in parts:
                asked = {"consumer": self._consumer, "intake": self._topics.intake}
                for _, partition, offset in self._rows(connection, name, part, **asked):
                    sources.setdefault(partition, set()).add(offset)
        return [gap for each in sources.items() for gap in self._late_gaps(connection, *each)]

    def _late_gaps(self, connection: Connection, partition: int, offsets: set[int]) -> list[Gap]:
        low, _ = self._log.extents(self._topics.intake)[partition]
        still_there = {offset for offset in offsets if offset >= low}
        if not still_there:
            return []
        part = Part(self._topics.intake, partition, min(still_there), max(still_there) + 1)
        stretch = self._log.read_range(*part, LATE_RECORDS_MAX, record_offset)
        records = sorted(still_there.intersection(stretch.taken))
        accounted = [offset for offset, _ in self._rows(connection, "outcomes", part) if offset in still_there]
        return accounting_gaps(part.place, records, accounted)

    def _execution(self, connection: Connection, decisions: Results) -> tuple[list[Gap], int]:
        gaps: list[Gap] = []
        executed = 0
        for part in decisions:
            decided, later = self._decided(connection, part), self._later(connection, part)
            faults = [(offset, GapKind(fault)) for offset, fault in self._rows(connection, "execution_faults", part)]
            faults += [(at, GapKind.CAUSE_UNFOUNDED) for (at,) in self._rows(connection, "cause_faults", part)]
            gaps += [*execution_gaps(part.place, [*decided, *later]), *fault_gaps(part.place, faults)]
            executed += sum(row.is_heard for row in decided)
        return gaps, executed

    def _decided(self, connection: Connection, part: Part) -> list[Execution]:
        return [_execution(row) for row in self._rows(connection, "executions", part)]

    def _later(self, connection: Connection, part: Part) -> list[Execution]:
        """What became of reviews and reversals."""
        rows = self._rows(connection, "later_records", part)
        return [_execution((offset, Outcome.ALLOW, is_heard, state, True)) for offset, is_heard, state in rows]

    def _rows(self, connection: Connection, name: str, part: Part, **more: object) -> list[Any]:
        return connection.execute(self._statements[name], {**part._asdict(), **more}).fetchall()


def _accounting_gaps(intake: Intake, accounted: Mapping[Part, Sequence[int]]) -> list[Gap]:
    return [gap for part, records in intake.items() for gap in accounting_gaps(part.place, records, accounted[part])]


def _execution(row: tuple[int, str, bool, str | None, bool]) -> Execution:
    offset, outcome, is_heard, state, is_changed = row
    return Execution(offset, Outcome(outcome), is_heard, None if state is None else State(state), is_changed)
