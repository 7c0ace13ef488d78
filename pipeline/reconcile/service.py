"""Reconciliation (I1): what was taken in, decided, audited and executed, held against each other without end.

A stretch is opened: how far the workers have committed is asked first, then the topics that their results stand on are
read to their ends, so that every result of the stretch stands there. It is looked at until nothing in it is missing,
or its grace is over; then it is closed: what is still missing is a gap, told on alerts.v1 and kept in
control.reconciliation_gap, and the positions move on, in the transaction that stores all that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.domain.log import Record, TopicPartition
from pipeline.io.kafka.log_reader import LogReader, RangeRead
from pipeline.io.postgres import Connection, Positions, failures_named
from pipeline.reconcile.comparison_store import (
    Intake,
    Looked,
    Looking,
    Part,
    Results,
    Topics,
    record_offset,
    record_value,
)
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.gaps import Gap, expired_gaps
from pipeline.reconcile.ledger_sweep_store import LedgerSweep

CONSUMER: Final = "reconcile"
GROUP: Final = "fraud-reconcile"
INTAKE_RECORDS_MAX: Final = 20_000
"""Records of one partition in one stretch: a second or two of comparing, and a few megabytes."""
RESULT_RECORDS_MAX: Final = 100_000
"""Records of one partition of a results topic: what the intake became, and people's reviews and reversals."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A stretch as the topics stood when it was opened."""

    opened_at_ms: int
    intake: Intake
    decisions: Results
    letters: Results
    expired: Sequence[Gap]

    @property
    def parts(self) -> list[Part]:
        return [*self.intake, *self.decisions, *self.letters]


class IntakeOf(NamedTuple):
    """The topics, and the group whose commits say how far the intake has been decided."""

    topics: Topics
    worker_group: str


@dataclass(slots=True)
class Progress:
    """The next offset of each place; is_stored: kept in the database and gone on from, else of this run alone."""

    is_stored: bool
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)


class Reconciler:
    """For one thread. Raises what the adapters raise: BrokerFailed, DatabaseUnavailable, DatabaseRefused."""

    def __init__(
        self,
        log: LogReader,
        looking: Looking,
        findings: Findings,
        intake: IntakeOf,
        now_ms: Callable[[], int],
        *,
        is_stored: bool,
    ) -> None:
        """is_stored: go on from the stored positions and move them; else from the oldest records, moving nothing."""
        self._log, self._looking, self._findings = log, looking, findings
        self._topics, self._worker_group = intake
        self._now_ms = now_ms
        self._positions = {topic: Positions(CONSUMER, topic) for topic in self._topics}
        self._progress = Progress(is_stored)
        self._decided: set[int] = set()
        self._committed: Mapping[int, int] = {}
        self._sweep = LedgerSweep(self._topics.decisions, CONSUMER, is_stored=is_stored)

    def open(self, connection: Connection) -> Comparison | None:
        """None where nothing has come since the last one. The intake waits until the results are read to their end."""
        self._resume(connection)
        committed = self._log.committed_of(self._worker_group, self._topics.intake)
        expired: list[Gap] = []
        decisions, decisions_at_end = self._results(self._topics.decisions, expired)
        letters, letters_at_end = self._results(self._topics.letters, expired)
        intake: dict[Part, Sequence[int]] = {}
        if decisions_at_end and letters_at_end:
            intake = self._intake(committed, expired)
        self._decided |= {part.partition for part in decisions}
        self._committed = committed
        stretch = Comparison(self._now_ms(), intake, decisions, letters, expired)
        return stretch if stretch.parts else None

    def uncommitted(self) -> list[int]:
        """Partitions that decisions stand on while the workers' group has committed nothing there, as of the last open.

        Whatever was taken in there was held against nothing: the offsets were deleted, or another group is asked.
        """
        return sorted(self._decided - self._committed.keys())

    def look(self, connection: Connection, stretch: Comparison) -> Looked:
        with failures_named():
            return self._looking.look(connection, stretch.intake, stretch.decisions, stretch.letters)

    def close(self, connection: Connection, stretch: Comparison, looked: Looked) -> list[Gap]:
        """The gaps of the stretch, told, stored, and passed over from now on. PositionMoved where another did."""
        gaps = [*stretch.expired, *looked.gaps]
        self._findings.tell(gaps, self._now_ms())
        with failures_named(), connection.transaction():
            shown = json.dumps([list(part) for part in stretch.parts])
            self._findings.store(connection, gaps, looked, shown, stretch.opened_at_ms)
            self._advance(connection, stretch.parts)
        for part in stretch.parts:
            self._progress.next_offsets[part.place] = part.end
        return gaps

    def close_filled(self, connection: Connection) -> list[Gap]:
        """Gaps that have been filled since they were told; from now on they are closed."""
        with failures_named():
            return self._findings.close_filled(connection, self._looking)

    def name_quarantined(self, connection: Connection) -> list[Gap]:
        """Records that were put aside: told and stored once, and named in every run of its own, for ever."""
        with failures_named():
            found = self._findings.quarantined(connection, self._topics, is_untold=self._progress.is_stored)
            return self._told(connection, found)

    def name_stale_holds(self, connection: Connection) -> list[Gap]:
        """Payments that no case can free any more: told and stored once, and named in every run of its own."""
        with failures_named():
            return self._told(connection, self._sweep.stale_holds(connection))

    def sweep_ledger(self, connection: Connection) -> list[Gap] | None:
        """Look at the next postings and their executions, wherever those stand; None where there are none."""
        with failures_named():
            looked = self._sweep.faults(connection)
            if looked is None:
                return None
            gaps, through = looked
            with connection.transaction():
                self._told(connection, gaps)
                self._sweep.move_on(connection, through)
            return gaps

    def watch_months(self, connection: Connection) -> None:
        """Tell where the months' partitions run short, and what stands outside every month."""
        with failures_named():
            self._findings.watch_months(connection, self._now_ms())

    def forget(self) -> None:
        """Positions are asked for again: after a failure it isn't known what was stored."""
        self._progress.next_offsets.clear()
        self._sweep.forget()

    def _told(self, connection: Connection, gaps: list[Gap]) -> list[Gap]:
        self._findings.tell(gaps, self._now_ms())
        if self._progress.is_stored:
            self._findings.store_gaps(connection, gaps)
        return gaps

    def _resume(self, connection: Connection) -> None:
        if not self._progress.is_stored or self._progress.next_offsets:
            return
        for topic, positions in self._positions.items():
            partitions = self._log.extents(topic)
            with failures_named():
                stored = positions.read(connection, partitions)
            found = {TopicPartition(topic, partition): offset for partition, offset in stored.items() if offset}
            self._progress.next_offsets.update(found)

    def _results(self, topic: str, expired: list[Gap]) -> tuple[dict[Part, Mapping[int, bytes]], bool]:
        """The records that came since, and whether those were all."""
        parts: dict[Part, Mapping[int, bytes]] = {}
        is_at_end = True
        for place, first in self._starts(topic, expired):
            read = self._log.read_range(*place, first, None, RESULT_RECORDS_MAX, _digest)
            is_at_end &= read.is_at_end
            if read.end_offset > first:
                parts[Part(*place, first, read.end_offset)] = dict(read.taken)
        return parts, is_at_end

    def _intake(self, committed: Mapping[int, int], expired: list[Gap]) -> dict[Part, Sequence[int]]:
        parts: dict[Part, Sequence[int]] = {}
        for place, first in self._starts(self._topics.intake, expired):
            end = committed.get(place.partition, first)
            read = self._log.read_range(*place, first, end, INTAKE_RECORDS_MAX, record_offset)
            end = _end(read, end)
            if end > first:
                parts[Part(*place, first, end)] = read.taken
        return parts

    def _starts(self, topic: str, expired: list[Gap]) -> Iterator[tuple[TopicPartition, int]]:
        """The offset to go on from in each partition; one that the topic no longer reaches back to is told as a gap."""
        for partition, (low, _) in self._log.extents(topic).items():
            place = TopicPartition(topic, partition)
            position = self._progress.next_offsets.get(place, low)
            expired += expired_gaps(place, position, low)
            yield place, max(position, low)

    def _advance(self, connection: Connection, parts: Sequence[Part]) -> None:
        if not self._progress.is_stored:
            return
        for part in parts:
            before = self._progress.next_offsets.get(part.place, 0)
            self._positions[part.topic].advance(connection, part.partition, before, part.end)


def _digest(record: Record) -> tuple[int, bytes]:
    """A record's place and the SHA-256 of its value, so that a stretch of results is bounded in memory."""
    return record.source.offset, hashlib.sha256(record_value(record)).digest()


def _end(read: RangeRead[int], wanted_end: int) -> int:
    """The end of a stretch: where it was cut short at its bound, else the committed offset, markers included."""
    return wanted_end if read.is_at_end else read.end_offset
