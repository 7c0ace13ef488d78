"""What stands about a decision, for the customer, is what the executor heeds; and where the money may be out."""

from __future__ import annotations

import pytest

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.reversal import RecordKind, RecordName
from pipeline.execute.saga import State
from pipeline.explain.life import (
    Audited,
    AuditRow,
    ExecutionRow,
    Life,
    LifeRows,
    NotShown,
    StepRow,
    money_of,
    stands,
)
from pipeline.replay.customer import Money
from tests.archive import OPEN, Archive, payment
from tests.decisions import decision_of, reversal_of, review_of

ROW = AuditRow(0, 0, None, b"", b"", b"", 0)  # type: ignore[arg-type]


def life(*records: DecisionRecord, state: State = State.NEW, before: tuple[State, ...] = ()) -> Life:
    execution = ExecutionRow("e", "d", "DECISION", "SETTLE", "GBP", 1, 0, 0, 0, 0)
    ways = zip((State.NEW, *before), (*before, state), strict=True)
    steps = tuple(StepRow(at, "STEP", *way, "SETTLE", "DECISION", None, 0) for at, way in enumerate(ways, 1))
    rows = LifeRows((), (), (), execution, (), steps, (), (), None, None)
    return Life(tuple(Audited(ROW, record, True, None, None, None) for record in records), rows)


@pytest.fixture
def escalated(archive: Archive) -> Decision:
    [value] = archive.values([payment(1)], [OPEN], ip_fraud_reports=1)
    decision = decision_of(value)
    assert decision.outcome is Outcome.ESCALATE
    return decision


def test_a_reversal_of_what_is_in_force_no_more_is_not_told(escalated: Decision) -> None:
    review, late = review_of(escalated), reversal_of(escalated, Outcome.BLOCK)
    assert stands(life(escalated, review, late), escalated) is Outcome.ALLOW
    heeded = reversal_of(escalated, Outcome.BLOCK, replaces=RecordName(RecordKind.REVIEW, review.review_id))
    assert stands(life(escalated, review, heeded), escalated) is Outcome.BLOCK
    assert stands(life(escalated, heeded), escalated) is None


def test_a_review_of_no_open_round_is_not_told(escalated: Decision) -> None:
    blocked = reversal_of(escalated, Outcome.BLOCK)
    assert stands(life(escalated, blocked, review_of(escalated)), escalated) is Outcome.BLOCK


def test_what_is_given_back_leaves_the_last_outcome_that_was_named(escalated: Decision) -> None:
    review = review_of(escalated)
    back = reversal_of(escalated, None, replaces=RecordName(RecordKind.REVIEW, review.review_id))
    assert stands(life(escalated, review, back), escalated) is Outcome.ALLOW
    assert stands(life(escalated, reversal_of(escalated, None)), escalated) is None
    assert stands(NotShown("no database"), escalated) is None


@pytest.mark.parametrize("state", State)
def test_money_that_is_not_proved_to_be_with_the_payer_or_in_clearing_may_be_out(state: State) -> None:
    here: dict[State, Money | None] = {
        **dict.fromkeys((State.NEW, State.RESERVED, State.DEBITED, State.HELD, State.REVERSED), Money.AS_DECIDED),
        **dict.fromkeys((State.REFUSED, State.UNRESERVED), Money.NOT_MADE),
        State.RELEASED: None,
    }
    assert here.get(state, Money.MAY_BE_OUT) == money_of(life(state=state))


def test_money_that_was_out_and_is_back_is_told_as_given_back() -> None:
    assert money_of(life(state=State.REVERSED, before=(State.SETTLED, State.RECALLING))) is Money.GIVEN_BACK
    assert money_of(life(state=State.REVERSED, before=(State.UNRESERVED, State.REFUSED))) is Money.AS_DECIDED
