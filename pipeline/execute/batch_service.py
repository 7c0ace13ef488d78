"""Executes decisions a batch at a time: heard and reserved, paid by the rail, posted, announced, completed.

Invariants
1. What is asked of the rail was stored before, in the state SUBMITTED or RECALLING; its answer is stored after. So a
   crash in between leaves a saga of which the rail is asked what became of its key, before it is asked to do anything:
   so is asked about whatever was read from storage, however it was come by (Work.is_asked).
2. Records are heard in the transaction that moves the position. Two positions, then: `executor`, up to which records
   were heard, and `executor-settled`, up to which all that was heard is at rest and announced, or has been in doubt.
   What lies between is what a restart finishes; it is at most one batch a partition. What has been in doubt is looked
   for by its steps, until it is at rest.
3. Upstream is told before a saga's step into rest is stored: told at least once, in the same bytes.
4. Two processes that believe a partition to be theirs can't both store a step: a position moves once from where it
   is, and a step's primary key is its execution and number.

A batch is a few transactions whatever its size: hear and reserve; the rail's answers; complete. What fails midway is
begun again from what is stored, by `resume`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.execute.asking_client import (
    answers,
    asked_key,
    doubt_of,
    forgotten_case,
    guarded_by_answers,
    ruled,
    take_answer,
)
from pipeline.execute.hearing_store import Hearing, guarded
from pipeline.execute.ledger_store import (
    AccountKey,
    Doubted,
    Ledger,
)
from pipeline.execute.metrics import (
    EXECUTION_IN_DOUBT,
    EXECUTION_RECORDS,
    EXECUTION_STAGE_SECONDS,
    count_stored,
)
from pipeline.execute.notice_topics import Notice, Notices
from pipeline.execute.orders import Said, said
from pipeline.execute.postings import (
    NO_WORD,
    Advance,
    Funds,
    RailWord,
)
from pipeline.execute.rail_client import Rail
from pipeline.execute.ruling_watch_service import RulingWatch
from pipeline.execute.saga import (
    ANNOUNCED,
    AWAITS_RAIL,
    DOUBTFUL,
    Answer,
    Step,
    take,
)
from pipeline.execute.work_store import Retried, Rows, Work, work_of
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection, Positions, failures_named
from pipeline.io.quarantine import store_around
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.ruling.proved_store import ProvedRulings, RulingByDoubt
from pipeline.traces.processing_service import UNTRACED, BatchTraces, Place

RAIL_ROUNDS_MAX: Final = 4
"""A saga waits for the rail at most twice on its way to an aim: recalled, then paid again."""
DOUBTFUL_MAX: Final = 500
"""Looked at in one go, before others have their turn."""
CHECKPOINTS_MAX: Final = 20
"""After one batch; each waits for everybody who posts."""
CHECKPOINT_PAUSE_S: Final = 1.0
CHECKPOINT_PAUSE_S_MAX: Final = 60.0
"""Bounds of the pause after a checkpoint waited in vain, as it does while somebody keeps a posting open."""

RESTORE: Final = "RESTORE"
"""Origin of steps that a ledger takes while it catches up with the rail."""
LONG_TAILS_MAX: Final = 10_000
"""Kept for later where checkpoints wait. An account beyond comes up again with its next payment."""

log = structlog.get_logger("execute")


class Executor:
    """For one thread. `connection` is replaced by the caller when it was lost."""

    def __init__(
        self,
        ledger: Ledger,
        rail: Rail,
        notices: Notices,
        topic: str,
        *,
        rail_keeps_keys_s: float,
        word: RailWord | None = None,
        traces: BatchTraces = UNTRACED,
    ) -> None:
        """rail_keeps_keys_s: how long the rail keeps keys; an older one is asked about and never submitted.

        word: of a ledger that is caught up after it was put back from a backup. The rail may then know every key.
        """
        self._ledger, self._rail, self._notices = ledger, rail, notices
        self._keys_kept_s, self._is_restoring = rail_keeps_keys_s, word is not None
        self._word: RailWord = NO_WORD if word is None else word
        self.heard, self.settled = Positions("executor", topic), Positions("executor-settled", topic)
        self._rulings = ProvedRulings()
        self.watch = RulingWatch(ledger, rail, notices)
        """Of what was ruled: whether the rail says otherwise after all."""
        self._settled: dict[int, int] = {}
        self._long_tails: list[AccountKey] = []
        self._checkpoint_due_s, self._checkpoint_pause_s = 0.0, CHECKPOINT_PAUSE_S
        self._doubted: Doubted | None = None  # the last that was asked about in the present round
        self._in_doubt = 0  # still, of those that were asked about in the present round
        self.traces = traces
        self._appended: list[Rows] = []  # by the transaction under way

    def accept(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        """Hears a batch, but for what was put aside, and takes it to rest, or into doubt. Unproved records are none of
        it, but the positions move past them."""
        if not batch.records:
            self._pass_over(connection, batch.spans)
            return

        def is_aside(record: LogRecord[DecisionRecord]) -> bool:
            return is_put_aside(connection, self.heard.topic, record.partition, record.offset, record.value)

        store_around(
            batch,
            lambda part: self._accept(connection, part),
            is_aside,
            lambda one: self._pass_over(connection, one.spans),
        )

    def _pass_over(self, connection: Connection, spans: Sequence[PositionMove]) -> None:
        with failures_named(), connection.transaction():
            for span in spans:
                self.heard.advance(connection, *span)
        with failures_named():
            self._finish(connection, [], spans)

    def _accept(self, connection: Connection, batch: LogBatch[DecisionRecord]) -> None:
        records = [said(record) for record in batch.records]
        with failures_named():
            records = self._filed(connection, records)
            with _timed("hear"), self._transaction(connection):
                works = self._hear(connection, batch.spans, records)
            self._finish(connection, works, [PositionMove(*span) for span in batch.spans])
            self._note(works)
            self._take_checkpoints(connection)

    def _note(self, works: Sequence[Work]) -> None:
        """Say in the records' traces where their payments have come to."""
        for work in works:
            error = work.saga.state.value if work.saga.state in DOUBTFUL else None
            self.traces.current.note(work.subject.decision_id, {"fraud.execution_state": work.saga.state.value}, error)

    def _filed(self, connection: Connection, records: Sequence[Said]) -> list[Said]:
        """The records with the time under which each execution is filed, where the broker's can't be that."""
        filed_ms = self._ledger.file(connection, (record.timestamp_ms for record in records))
        return [
            record
            if record.subject is None or filed_ms[record.timestamp_ms] == record.subject.caused_at_ms
            else record._replace(subject=record.subject._replace(caused_at_ms=filed_ms[record.timestamp_ms]))
            for record in records
        ]

    def resume(self, connection: Connection, partitions: Iterable[int]) -> None:
        """Finishes what was heard in these partitions and isn't settled."""
        with failures_named():
            heard = self.heard.read(connection, partitions)
            self._settled = self.settled.read(connection, partitions)
            spans = [
                PositionMove(each, self._settled[each], heard[each])
                for each in heard
                if heard[each] > self._settled[each]
            ]
            wanted: set[str] = set()
            for span in spans:
                wanted |= set(self._ledger.unfinished(connection, span.partition, span.before))
            stored = self._ledger.read(connection, sorted(wanted))
            works = [work_of(each) for each in stored.values() if not each.saga.is_at_rest]
            if spans:
                log.info("resumed", executions=len(works), partitions=[span.partition for span in spans])
            with self.traces.trying_again(_places(works)):
                self._finish(connection, works, spans)
                self._note(works)

    def retry_doubtful(self, connection: Connection, partitions: Sequence[int]) -> Retried:
        """Asks the rail again about what is in doubt, and finishes what it answered.

        At most DOUBTFUL_MAX at a time, those first that were asked about the longest ago: each call goes on behind the
        one before, and round again, so that what stays in doubt keeps nothing else from being asked about.
        """
        with failures_named():
            found = self._ledger.doubtful(connection, partitions, DOUBTFUL_MAX, self._doubted)
            is_last = len(found) < DOUBTFUL_MAX
            self._doubted = None if is_last else found[-1]
            stored = self._ledger.read(connection, [each.execution_id for each in found])
            works = [work_of(each) for each in stored.values()]
            with self.traces.trying_again(_places(works)):
                if waiting := [work for work in works if work.saga.state in DOUBTFUL]:
                    self._ask_rail(connection, waiting)
                if works:
                    self._finish(connection, works, [])
                self._note(works)
            doubtful = [work for work in works if work.saga.state in DOUBTFUL]
            self._in_doubt += len(doubtful)
            if is_last:
                EXECUTION_IN_DOUBT.set(self._in_doubt)
                self._in_doubt = 0
            self._notices.raise_doubt([_notice(work) for work in doubtful])
            return Retried(len(works), len(doubtful), is_last)

    # Hearing

    def _hear(self, connection: Connection, spans: Sequence[PositionMove], records: Sequence[Said]) -> list[Work]:
        for partition, before, after in spans:
            self.heard.advance(connection, partition, before, after)
        records = self._placed(connection, records)
        wanted = list({record.execution_id for record in records})
        stored = self._ledger.read(connection, wanted)
        early = self._early(connection, [record for record in records if record.execution_id not in stored])
        limits, long_tails = self._ledger.limits(connection, guarded(records, stored))
        self._long_tails += long_tails
        hearing = Hearing(Funds(limits, self._word), {key: work_of(each) for key, each in stored.items()}, early)
        for end, count in Counter(map(hearing.hear, records)).items():
            EXECUTION_RECORDS.labels(end).inc(count)
        self._append(connection, hearing.rows)
        self._notices.raise_orphans(hearing.orphans)
        self._notices.raise_decided_again(hearing.decided_again)
        self._notices.raise_unheeded(hearing.unheeded)
        return [work for work in hearing.touched.values() if not work.saga.is_at_rest]

    def _placed(self, connection: Connection, records: Sequence[Said]) -> list[Said]:
        """The records, each with the execution of the payment that its decision is about, where one was heard."""
        known = {record.decision_id: record.execution_id for record in records if record.subject is not None}
        asked = {record.decision_id for record in records if record.decision_id not in known}
        known |= self._ledger.executions_of(connection, sorted(asked))
        return [record._replace(execution_id=known.get(record.decision_id, record.execution_id)) for record in records]

    def _early(self, connection: Connection, records: Sequence[Said]) -> dict[str, set[str]]:
        """What was heard about executions before any decision was, when it was kept under the decision's own id."""
        names = {each for record in records for each in (record.execution_id, record.decision_id)}
        found = self._ledger.cause_ids(connection, sorted(names))
        early: dict[str, set[str]] = {}
        for record in records:
            heard = found.get(record.execution_id, set()) | found.get(record.decision_id, set())
            if heard:
                early.setdefault(record.execution_id, set()).update(heard)
        return early

    # Finishing

    def _finish(self, connection: Connection, works: Sequence[Work], spans: Sequence[PositionMove]) -> None:
        for _ in range(RAIL_ROUNDS_MAX):
            waiting = [work for work in works if work.saga.state in AWAITS_RAIL and work.saga.state not in DOUBTFUL]
            if not waiting:
                break
            self._ask_rail(connection, waiting)
        else:
            raise AssertionError(f"sagas still wait for the rail after {RAIL_ROUNDS_MAX} rounds")
        self._complete(connection, works, spans)

    def _ask_rail(self, connection: Connection, works: Sequence[Work]) -> None:
        with _timed("rail"):
            # Where one of them was asked before, all are asked about first: a key that is new is new to the rail, too.
            asked = [work for work in works if work.is_asked or self._is_restoring]
            old_keys = self._old_keys(connection, asked) if asked else frozenset[str]()
            for work in works:
                work.is_asked = True
            with self.traces.asking([work.subject.decision_id for work in works]):
                said_of_them = answers(self._rail, works, old_keys, is_retry=bool(asked))
        answered = ruled(works, said_of_them, self._ruled(connection, works, said_of_them))
        with _timed("answer"), self._transaction(connection):
            rows = Rows()
            limits, long_tails = self._ledger.limits(connection, guarded_by_answers(works, answered))
            self._long_tails += long_tails
            funds = Funds(limits, self._word)
            for work, one in zip(works, answered, strict=True):
                take_answer(work, one, funds, rows)
            forgotten = [work for work, one in zip(works, answered, strict=True) if one.answer is Answer.FORGOTTEN]
            told = self._hand_to_people(connection, forgotten, rows)
            self._append(connection, rows)
        self._notices.raise_forgotten(told)

    def _ruled(self, connection: Connection, works: Sequence[Work], said: Sequence[Answer]) -> RulingByDoubt:
        """What people have ruled where the rail has forgotten the key. While a ledger catches up, nothing is ruled."""
        forgotten = [work for work, one in zip(works, said, strict=True) if one is Answer.FORGOTTEN]
        doubts = [doubt for work in forgotten if (doubt := doubt_of(work)) is not None]
        return {} if self._is_restoring else self._rulings.of_doubts(connection, doubts)

    def _old_keys(self, connection: Connection, works: Sequence[Work]) -> frozenset[str]:
        """The keys that the rail was asked with longer ago than it keeps keys, by the database's clock; and those that
        it has forgotten once, whatever the clock or the setting says now."""
        ages_s = self._ledger.asked_ages_s(connection, [(work.subject, work.saga) for work in works])
        known = self._ledger.cases_of(connection, [work.subject.payment.execution_id for work in works])
        return frozenset(
            asked_key(work)
            for work, age_s in zip(works, ages_s, strict=True)
            if age_s >= self._keys_kept_s or (work.subject.payment.execution_id, work.saga.sequence) in known
        )

    def _hand_to_people(self, connection: Connection, works: Sequence[Work], rows: Rows) -> list[Notice]:
        """Open a case for each of which neither rail nor ledger can say whether it was done; told once."""
        if not works:
            return []
        known = self._ledger.cases_of(connection, [work.subject.payment.execution_id for work in works])
        new = [work for work in works if (work.subject.payment.execution_id, work.saga.sequence) not in known]
        rows.recoveries += [forgotten_case(work) for work in new]
        return [_notice(work) for work in new]

    def _complete(self, connection: Connection, works: Sequence[Work], spans: Sequence[PositionMove]) -> None:
        resting = [work for work in works if work.saga.next_step in ANNOUNCED]
        rows = Rows()
        for work in resting:
            step = work.saga.next_step
            assert step is not None, "it is one of ANNOUNCED"
            saga, transition = take(work.saga, step)
            rows.add(work, Advance(saga, [transition], []))
        with _timed("announce"):
            self._notices.tell([_notice(work) for work in resting])
        with _timed("complete"), self._transaction(connection):
            self._append(connection, rows)
            for partition, _, after in spans:
                self.settled.advance(connection, partition, self._settled.get(partition, 0), after)
        self._settled |= {partition: after for partition, _, after in spans}

    def _append(self, connection: Connection, rows: Rows) -> None:
        self._ledger.append_executions(connection, rows.executions)
        self._ledger.append_causes(connection, rows.causes)
        if self._is_restoring:
            rows.transitions = [row._replace(origin=RESTORE) for row in rows.transitions]
        # What the rail will be asked is stored after the postings, without which the database refuses it.
        self._ledger.append_transitions(
            connection, [row for row in rows.transitions if row.transition.step != Step.SUBMIT]
        )
        self._ledger.append_postings(connection, rows.postings)
        self._ledger.append_transitions(
            connection, [row for row in rows.transitions if row.transition.step == Step.SUBMIT]
        )
        self._ledger.append_recoveries(connection, rows.recoveries)
        self._appended.append(rows)

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        """Count what the block appends once it is committed: what was rolled back has moved no money."""
        self._appended.clear()
        with connection.transaction():
            yield
        for rows in self._appended:
            count_stored(rows)

    def _take_checkpoints(self, connection: Connection) -> None:
        if time.monotonic() < self._checkpoint_due_s:
            return
        for _ in range(min(len(self._long_tails), CHECKPOINTS_MAX)):
            if not self._ledger.take_checkpoint(connection, self._long_tails[0]):
                log.warning("checkpoint_waits", accounts=len(self._long_tails), pause_s=self._checkpoint_pause_s)
                self._checkpoint_due_s = time.monotonic() + self._checkpoint_pause_s
                self._checkpoint_pause_s = min(2 * self._checkpoint_pause_s, CHECKPOINT_PAUSE_S_MAX)
                del self._long_tails[LONG_TAILS_MAX:]
                return
            self._checkpoint_pause_s = CHECKPOINT_PAUSE_S
            del self._long_tails[0]


def _notice(work: Work) -> Notice:
    returned_minor = work.recalled.returned_minor
    return Notice(work.subject, work.saga.state, work.saga.sequence, work.why, work.event_time_ms, returned_minor)


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    EXECUTION_STAGE_SECONDS.labels(stage).observe(time.perf_counter() - began)


def _places(works: Iterable[Work]) -> dict[str, Place]:
    """Where the records of these payments' decisions stand, by the decisions' ids."""
    return {work.subject.decision_id: (work.subject.topic_partition, work.decided_at_offset) for work in works}
