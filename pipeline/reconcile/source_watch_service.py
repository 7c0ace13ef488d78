"""Reads decisions back from their sources, within seconds of their writing: what a stolen signing key writes is found.

Every new record of decisions.v1 is held against what its writer alone can't make: the payment on transactions.v1, the
commits of the workers' group, the other decisions of its partition, and the same decision made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.domain.log import Presented, Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Positions, failures_named, statements
from pipeline.reconcile.comparison_store import Topics
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.founded import Decided, Order, Sourced, is_committed, is_of_source, runs_of
from pipeline.reconcile.gaps import Gap, GapKind, named_gaps
from pipeline.replay.regimes import FeedsFault, RegimeOf, feeds_unasked
from pipeline.replay.verify import Check, Result, verify
from pipeline.seals.proving import SealCheck

CONSUMER: Final = "reconcile-source"
RECORDS_A_TURN: Final = 2_000
"""Of one partition; some 0.3 s."""
WARMED: Final = 2_000
"""Decisions before the position that are read again after a start, so that their copies are known as that."""
SOURCE_GAP_MAX: Final = 1_000
"""Records of transactions.v1 that are read for nothing rather than sought past."""
COMMIT_GRACE_S: Final = 15.0
"""Time for the workers' commit to show; it is written in the same transaction as the decision."""
WAITING_MAX: Final = 10_000
"""Decisions that wait for it. More are told at once: genuine ones come with their commit."""
EXPIRED_AGE_MS: Final = 86_400_000
"""Age from which a decision may have outlived its payment on transactions.v1, which is kept for days at least."""


class _Waiting(NamedTuple):
    sourced: Sourced
    until_s: float


class SourceWatch:
    """For one thread, with a reader of its own. Raises what the adapters raise, KeySetRefused among it."""

    def __init__(
        self,
        log: LogReader,
        wire: WireFormat,
        topics: Topics,
        worker_group: str,
        check: SealCheck,
        open_archive: Callable[[], RegimeOf],
        findings: Findings,
        now_ms: Callable[[], int],
        feeds_fault: FeedsFault = feeds_unasked,
    ) -> None:
        """open_archive: looks anew for policies and models. feeds_fault: why no feed may decide unsigned."""
        self._log, self._wire, self._topics, self._worker_group = log, wire, topics, worker_group
        self._check, self._open_archive, self._findings, self._now_ms = check, open_archive, findings, now_ms
        self._regime_of, self._feeds_fault = open_archive(), feeds_fault
        self._positions = Positions(CONSUMER, topics.decisions)
        self._next: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._decided: dict[int, Decided] = {}
        self._waiting: list[_Waiting] = []
        self.is_behind = False

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._next, self._stored, self._decided, self._waiting = {}, {}, {}, []

    def step(self, connection: Connection) -> list[Gap]:
        """Look at what has come, RECORDS_A_TURN of each partition at most; return what is wrong, told and stored."""
        extents = self._log.extents(self._topics.decisions)
        self._resume(connection, {partition: extent.low for partition, extent in extents.items()})
        gaps: list[Gap] = []
        self.is_behind = False
        for partition in extents:
            read = self._log.presented_range(
                self._topics.decisions, partition, self._next[partition], None, RECORDS_A_TURN
            )
            self.is_behind |= not read.is_at_end
            if read.taken:
                gaps += self._tell(connection, self._faults(connection, partition, read.taken))
            self._next[partition] = read.end_offset
        gaps += self._tell(connection, self._uncommitted())
        self._advance(connection)
        return gaps

    def _resume(self, connection: Connection, oldest: Mapping[int, int]) -> None:
        if self._next.keys() == oldest.keys():
            return
        with failures_named():
            self._stored = self._positions.read(connection, oldest)
        self._next = {partition: max(self._stored[partition], low) for partition, low in oldest.items()}
        self._decided = {partition: Decided() for partition in oldest}
        for partition, position in self._next.items():
            first = max(oldest[partition], position - WARMED)
            for record in self._log.presented_range(self._topics.decisions, partition, first, position, WARMED).taken:
                if (sourced := self._sourced(record)) is not None:
                    source_offset = sourced.stored.decision.source_offset
                    self._decided[partition].see(source_offset, record.value, is_taken_up=True)

    def _faults(self, connection: Connection, partition: int, records: Sequence[Presented]) -> list[Gap]:
        faults: dict[GapKind, list[int]] = {}

        def fault(kind: GapKind, offset: int) -> None:
            faults.setdefault(kind, []).append(offset)

        decisions: list[Sourced] = []
        unproved: list[int] = []
        for record in records:
            if self._check.unproved(record) is not None:
                unproved.append(record.offset)
            elif (sourced := self._sourced(record)) is not None:
                decisions.append(sourced)
        sources, oldest = self._sources(decisions)
        committed = self._log.committed_of(self._worker_group, self._topics.intake)
        for sourced in decisions:
            source_offset = sourced.stored.decision.source_offset
            is_expired = source_offset < oldest.get(partition, 0)
            if not (is_expired and sourced.logged_at_ms < self._now_ms() - EXPIRED_AGE_MS) and not is_of_source(
                sourced, sources.get(source_offset), self._wire.decode_transaction
            ):
                fault(GapKind.SOURCE_DIFFERS, sourced.offset)
            elif (kind := self._order_fault(connection, sourced, committed)) is not None:
                fault(kind, sourced.offset)
        for sourced, kind in self._decided_otherwise(decisions):
            fault(kind, sourced.offset)
        self._await_commits(decisions)
        order = [record.offset for record in records]
        gaps = named_gaps(self._topics.decisions, partition, order, faults)
        if unproved:  # one for them all, or whoever mixes them with honest records could bury what else is found
            where = self._topics.decisions, partition, unproved[0], unproved[-1], len(unproved)
            gaps.append(Gap(GapKind.UNPROVED, *where))
        return gaps

    def _sourced(self, record: Presented) -> Sourced | None:
        """The decision that a record holds; None for another record, and for what can't be decoded."""
        stored = self._wire.decode_stored_decision(record.value)
        if stored is None or isinstance(stored, Refusal):
            return None
        return Sourced(record.partition, record.offset, record.timestamp_ms, record.value, stored)

    def _sources(self, decisions: Sequence[Sourced]) -> tuple[dict[int, Record], dict[int, int]]:
        """The records at the sources in the decisions' own partition, and how far back each partition reaches."""
        own = {
            each.stored.decision.source_offset: each
            for each in decisions
            if each.stored.decision.source_partition == each.partition
        }
        extents = self._log.extents(self._topics.intake)
        found: dict[int, Record] = {}
        for partition in {each.partition for each in own.values()} & extents.keys():
            low, high = extents[partition]
            wanted = {offset: None for offset in own if low <= offset < high}
            for first, end in runs_of(wanted, SOURCE_GAP_MAX):
                read = self._log.read_range(self._topics.intake, partition, first, end, end - first, _itself)
                found |= {record.source.offset: record for record in read.taken}
        return found, {partition: extent.low for partition, extent in extents.items()}

    def _order_fault(self, connection: Connection, sourced: Sourced, committed: Mapping[int, int]) -> GapKind | None:
        decision = sourced.stored.decision
        is_taken_up = is_committed(decision, committed)
        order = self._decided[sourced.partition].see(decision.source_offset, sourced.value, is_taken_up=is_taken_up)
        if order in (Order.NEXT, Order.COPY):
            return None
        if order is Order.LATE and self._is_copy_of_old(connection, sourced):
            return None
        return GapKind.DECIDED_TWICE if order is Order.OTHER else GapKind.DECIDED_LATE

    def _is_copy_of_old(self, connection: Connection, sourced: Sourced) -> bool:
        """Whether the audit log has the same bytes from an earlier place."""
        decision = sourced.stored.decision
        wanted = {
            "source_partition": decision.source_partition,
            "source_offset": decision.source_offset,
            "record": sourced.value,
            "partition": sourced.partition,
            "offset": sourced.offset,
        }
        with failures_named():
            found = connection.execute(
                statements("pipeline.reconcile", "reconcile")["earlier_copies"], wanted
            ).fetchone()
        return found is not None

    def _decided_otherwise(self, decisions: Sequence[Sourced]) -> list[tuple[Sourced, GapKind]]:
        checks = self._decided_again(decisions)
        if any(check.result is Result.UNVERIFIABLE for check in checks):
            self._regime_of = self._open_archive()  # a version may have been added since
            checks = self._decided_again(decisions)
        kinds = {Result.DIFFERS: GapKind.DECIDED_OTHERWISE, Result.UNVERIFIABLE: GapKind.NOT_VERIFIED}
        return [
            (sourced, kinds[check.result])
            for sourced, check in zip(decisions, checks, strict=True)
            if check.result in kinds
        ]

    def _decided_again(self, decisions: Sequence[Sourced]) -> list[Check]:
        """Whoever has the key writes what they like: a decision that makes our code fail is one that can't be made."""
        try:
            return verify([each.stored for each in decisions], self._regime_of, self._feeds_fault)
        except Exception as error:  # whatever a record makes our code raise
            if len(decisions) == 1:
                decision_id = decisions[0].stored.decision.decision_id
                return [Check(decision_id, Result.UNVERIFIABLE, why=f"deciding it raises {type(error).__name__}")]
        middle = len(decisions) // 2
        return [*self._decided_again(decisions[:middle]), *self._decided_again(decisions[middle:])]

    def _await_commits(self, decisions: Sequence[Sourced]) -> None:
        until_s = time.monotonic() + COMMIT_GRACE_S
        self._waiting += [_Waiting(sourced, until_s) for sourced in decisions]

    def _uncommitted(self) -> list[Gap]:
        """Decisions about payments that no worker has taken up."""
        if not self._waiting:
            return []
        committed = self._log.committed_of(self._worker_group, self._topics.intake)
        waiting = [each for each in self._waiting if not is_committed(each.sourced.stored.decision, committed)]
        now_s, spared = time.monotonic(), len(waiting) - WAITING_MAX
        due = [each.sourced for at, each in enumerate(waiting) if at < spared or now_s >= each.until_s]
        self._waiting = [each for at, each in enumerate(waiting) if at >= spared and now_s < each.until_s]
        return [
            Gap(GapKind.UNCOMMITTED, self._topics.decisions, each.partition, each.offset, each.offset, 1)
            for each in due
        ]

    def _tell(self, connection: Connection, gaps: Sequence[Gap]) -> Sequence[Gap]:
        """Tell at once, and store; told again after a crash, it is the same alert and the same row."""
        if gaps:
            self._findings.tell(gaps, self._now_ms())
            with failures_named():
                self._findings.store_gaps(connection, gaps)
        return gaps

    def _advance(self, connection: Connection) -> None:
        """Move the positions, not past a decision that still waits for its commit."""
        ends = dict(self._next)
        for each in self._waiting:
            ends[each.sourced.partition] = min(ends[each.sourced.partition], each.sourced.offset)
        moved = {partition: end for partition, end in ends.items() if end > self._stored.get(partition, 0)}
        if not moved:
            return
        with failures_named(), connection.transaction():
            for partition, end in moved.items():
                self._positions.advance(connection, partition, self._stored.get(partition, 0), end)
        self._stored |= moved


def _itself(record: Record) -> Record:
    return record
