"""Hears a batch's records: what each does to the saga of its payment, and what is kept and told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.domain.in_force import decided, replaced, replaces
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.execute.ledger_store import AccountKey, NewCause, NewExecution, Stored
from pipeline.execute.notice_topics import Unheeded
from pipeline.execute.orders import Said, outcome_of
from pipeline.execute.postings import Advance, Funds, Subject, advance
from pipeline.execute.saga import NOT_IN_FORCE, Cause, Ignored, Reason, Saga, hear, turn
from pipeline.execute.work_store import ORIGINS, Rows, Work


class Hearing:
    """A batch's records, one after the other, against what is stored and what funds there are."""

    def __init__(self, funds: Funds, works: dict[str, Work], early: dict[str, set[str]]) -> None:
        """early: what was heard about executions before any decision was."""
        self._funds, self._works, self._early = funds, works, early
        self.rows = Rows()
        self.touched: dict[str, Work] = {}
        self.orphans: list[Said] = []
        self.decided_again: list[Said] = []  # second decisions about a payment, and what is said about those
        self.unheeded: list[Unheeded] = []  # reversals and reviews that no money follows

    def hear(self, record: Said) -> str:
        """The state of the saga after the record."""
        work = self._works.get(record.execution_id)
        if work is None and record.subject is not None:
            return self._begin(record, record.subject)
        if work is None:
            return self._orphan(record)
        if record.cause_id in work.cause_ids:
            return Ignored.DUPLICATE
        work.cause_ids.add(record.cause_id)
        if record.decision_id != work.subject.decision_id:
            return self._ignore_other_decision(record, work)
        assert record.later is not None, "a decision of its own id was heard before"
        is_behind = record.partition == work.subject.topic_partition and record.offset > work.decided_at_offset
        is_in_turn = _is_in_turn(record.later, work)
        heard = hear(work.saga, record.cause, is_behind=is_behind, is_in_turn=is_in_turn)
        if heard is Ignored.ELSEWHERE:
            work.cause_ids.remove(record.cause_id)  # it is heard where it stands behind its decision, if it ever does
        if not isinstance(heard, Ignored) or heard not in NOT_IN_FORCE:
            work.in_force = replaced(work.in_force, record.later)
        if isinstance(heard, Ignored):
            self._keep_cause(record, work.saga, heard)
            self.unheeded.append(Unheeded(record, heard))
            return heard
        self._keep_cause(record, heard, None)
        work.saga, work.why, work.event_time_ms = heard, record.cause, record.event_time_ms
        work.origin = ORIGINS[record.cause.partition("_")[0]]
        self._go_on(work)
        return "HEARD"

    def _ignore_other_decision(self, record: Said, work: Work) -> str:
        """The payment is executed as its first decision says, and the second is told: it is never dropped silently."""
        heard = hear(work.saga, record.cause) if record.subject is not None else Ignored.OTHER_DECISION
        assert isinstance(heard, Ignored), "a payment is decided once"
        self._keep_cause(record, work.saga, heard)
        self.decided_again.append(record)
        return heard

    def _begin(self, record: Said, subject: Subject) -> str:
        saga = hear(Saga(), record.cause)
        assert isinstance(saga, Saga), "a first decision is heard"
        assert saga.aim is not None, "and sets an aim"
        outcome = outcome_of(record.cause)
        assert outcome is not None, "a decision has an outcome"
        known = subject, saga, record.event_time_ms, record.cause, {record.cause_id}
        is_early = record.execution_id in self._early
        work = Work(*known, decided(subject.decision_id, outcome), is_early, "DECISION", record.offset)
        self._works[record.execution_id] = work
        times_ms = record.event_time_ms, record.timestamp_ms
        self.rows.executions.append(NewExecution(subject, record.cause, saga.aim, *times_ms, record.offset))
        if is_early:
            work.cause_ids |= self._early[record.execution_id]
            turned, transition = turn(saga, Reason.OUT_OF_ORDER)
            self.rows.add(work, Advance(turned, [transition], []))
        self._go_on(work)
        return "HEARD"

    def _orphan(self, record: Said) -> str:
        """It is kept, so that a decision that comes after all is never executed as if nobody had taken it back."""
        known = self._early.setdefault(record.execution_id, set())
        if record.cause_id in known:
            return Ignored.DUPLICATE
        known.add(record.cause_id)
        self._keep_cause(record, Saga(), Ignored.NO_DECISION)
        self.orphans.append(record)
        return Ignored.NO_DECISION

    def _keep_cause(self, record: Said, saga: Saga, ignored: Ignored | None) -> None:
        self.rows.causes.append(
            NewCause(
                record.execution_id,
                record.cause_id,
                record.cause,
                saga.aim if ignored is None else None,
                ignored,
                saga.sequence,
                record.transaction_id,
                record.account_id,
                record.event_time_ms,
                record.timestamp_ms,
                record.partition,
                record.offset,
            )
        )

    def _go_on(self, work: Work) -> None:
        self.touched[work.subject.payment.execution_id] = work
        self.rows.add(work, advance(work.subject.payment, work.saga, self._funds, work.recalled))


def _is_in_turn(later: Reversal | ReviewOutcome, work: Work) -> bool:
    """Whether the record takes the place of the one in force."""
    if work.is_out_of_order and isinstance(later, ReviewOutcome):
        return work.in_force.is_under_review
    return replaces(work.in_force, later)


def guarded(records: Sequence[Said], stored: dict[str, Stored]) -> Iterator[AccountKey]:
    """The accounts whose balances a batch may look at: the payer's of a new decision that doesn't block, and both where
    something is said about a decision afterwards."""
    payments = {record.execution_id: record.subject.payment for record in records if record.subject is not None}
    payments |= {known.subject.payment.execution_id: known.subject.payment for known in stored.values()}
    for record in records:
        payment = payments.get(record.execution_id)
        if payment is None:
            continue
        is_later = record.subject is None
        if is_later or (record.execution_id not in stored and record.cause is not Cause.DECIDED_BLOCK):
            yield payment.account_id, payment.currency
        if is_later:
            yield payment.beneficiary_account_id, payment.currency
