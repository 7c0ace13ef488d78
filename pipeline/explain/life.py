"""The life of a payment, as values: what the audit log, the review, the ledger and rollback plans hold about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.audit.chain import Times
from pipeline.audit.head import Head
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.in_force import DecisionRecord, decided, replaced, replaces
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.execute.saga import Aim, State
from pipeline.replay.customer import Money

PAID_OR_ASKED: Final = frozenset(
    {
        State.SUBMITTED,
        State.IN_DOUBT,
        State.CREDITED,
        State.SETTLED,
        State.RECALLING,
        State.RECALL_IN_DOUBT,
        State.PART_RECALLING,
        State.PART_RECALL_IN_DOUBT,
    }
)
"""The beneficiary has the money, or part of it, or nobody can say that they have not."""


class AuditRow(NamedTuple):
    """A record of decisions.v1 as the audit log keeps it."""

    partition: int
    offset: int
    times: Times
    record: bytes
    leaf: bytes
    chain: bytes
    recorded_at_us: int


class CaseRow(NamedTuple):
    """An event of a case; `expires_at_ms` is the case's."""

    round: int
    sequence: int
    kind: str
    actor: str
    at_ms: int
    outcome: str | None
    reason: str | None
    claimed_until_ms: int | None
    expires_at_ms: int


class ExecutionRow(NamedTuple):
    """`caused_at_ms`: of the decision's record on its topic."""

    execution_id: str
    decision_id: str  # the one that is executed: the first that was heard about the payment
    cause: str
    aim: str
    currency: str
    amount_minor: int
    caused_at_ms: int
    partition: int
    offset: int
    recorded_at_ms: int


class CauseRow(NamedTuple):
    """`after_sequence`: of the last step before it. `ignored`: why it changed nothing."""

    cause_id: str
    cause: str
    ignored: str | None
    after_sequence: int
    caused_at_ms: int
    partition: int
    offset: int
    recorded_at_ms: int


class StepRow(NamedTuple):
    sequence: int
    step: str
    before: str
    after: str
    aim: str
    cause: str
    reason: str | None
    recorded_at_ms: int


class PostingRow(NamedTuple):
    number: int
    posting_id: str
    step: str
    attempt: int
    source_account_id: str
    destination_account_id: str
    currency: str
    amount_minor: int
    reverses: str | None
    event_time_ms: int
    recorded_at_ms: int


class PlanRow(NamedTuple):
    """A rollback plan, and its line about this decision; None from `approved_by` on where it did not come so far.

    `completed_by` and `completed_at_ms` are what the row of its progress says. `changing`: decisions that it was to
    take back. `reversals`: those whose reversals the audit log has, the last of them at `reversed_at_ms`.
    """

    plan_id: str
    requested_by: str
    requested_at_ms: int
    reason: str
    good_model_version: str
    good_policy_version: str
    good_feeds: Mapping[str, str]
    before: str | None
    after: str | None
    disposition: str
    why: str
    approved_by: str | None
    approved_at_ms: int | None
    started_by: str | None
    started_at_ms: int | None
    completed_by: str | None
    completed_at_ms: int | None
    changing: int
    reversals: int
    reversed_at_ms: int | None


class OtherDecision(NamedTuple):
    """`state`: of its payment in the ledger; None where nothing was done yet."""

    decision_id: str
    transaction_id: str
    outcome: Outcome
    decided_at_ms: int
    summary: str
    state: str | None


class Batch(NamedTuple):
    """The batch that the audit log stored a record with: the log's size before and after."""

    size_before: int
    size_after: int


class LifeRows(NamedTuple):
    audited: tuple[AuditRow, ...]
    batches: tuple[Batch | None, ...]  # of each audited record; None where the log's links name none
    cases: tuple[CaseRow, ...]
    execution: ExecutionRow | None
    causes: tuple[CauseRow, ...]
    steps: tuple[StepRow, ...]
    postings: tuple[PostingRow, ...]
    plans: tuple[PlanRow, ...]
    released_as: OtherDecision | None  # the payment after it was given back
    released_from: OtherDecision | None  # the payment before that


class Cover(NamedTuple):
    """The first signed head over a record. Its signature is checked by `fraud audit prove` and the verifier."""

    head: Head
    key_id: str


class Position(NamedTuple):
    """A record's position in its partition's log, from 0: exact from the leaf file, else first and last of its
    batch."""

    first: int
    last: int


class Audited(NamedTuple):
    """`is_leaf_sound`: the stored bytes give the leaf. `is_in_file`: the leaf file has it too; None: there is none."""

    row: AuditRow
    content: DecisionRecord
    is_leaf_sound: bool
    position: Position | None
    is_in_file: bool | None
    cover: Cover | None


class NotShown(NamedTuple):
    """Why nothing is said of what came after the decision, and how to have it."""

    why: str


class Life(NamedTuple):
    audited: tuple[Audited, ...]  # decision, reviews and reversals, in the order of their topic
    rows: LifeRows

    @property
    def state(self) -> State | None:
        """The payment's state in the ledger; None where the execution service has not heard of it."""
        if self.rows.execution is None:
            return None
        return State(self.rows.steps[-1].after) if self.rows.steps else State.NEW

    @property
    def aim(self) -> Aim | None:
        if self.rows.execution is None:
            return None
        return Aim(self.rows.steps[-1].aim if self.rows.steps else self.rows.execution.aim)

    @property
    def reviews(self) -> list[tuple[Audited, ReviewOutcome]]:
        """Outcomes of reviews, each with its place in the audit log."""
        return [(each, each.content) for each in self.audited if isinstance(each.content, ReviewOutcome)]

    @property
    def reversals(self) -> list[tuple[Audited, Reversal]]:
        return [(each, each.content) for each in self.audited if isinstance(each.content, Reversal)]


def stands(life: Life | NotShown, decision: Decision) -> Outcome | None:
    """The outcome that people put in the decision's place, the last that names one; None where none did.

    It follows from the records as the executor heeds them: one that replaces what is in force no more says nothing.
    """
    if isinstance(life, NotShown):
        return None
    now, said = decided(decision.decision_id, decision.outcome), None
    for record in (each.content for each in life.audited):
        if not isinstance(record, Decision) and replaces(now, record):
            now = replaced(now, record)
            said = now.outcome or said
    return said


def money_of(life: Life) -> Money | None:
    """Where the ledger has the payment's money, for the customer; None where the payment goes on under another id."""
    state = life.state
    if state in PAID_OR_ASKED:
        return Money.MAY_BE_OUT
    if state is State.REVERSED and any(step.after in PAID_OR_ASKED for step in life.rows.steps):
        return Money.GIVEN_BACK
    if state in (State.REFUSED, State.UNRESERVED):
        return Money.NOT_MADE
    return None if state is State.RELEASED else Money.AS_DECIDED
