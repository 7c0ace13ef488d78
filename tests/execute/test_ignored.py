"""Records that the executor's credential says are ignored: that is proved from the audit log as strictly as an aim."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.execute.ledger_store import NewCause
from pipeline.execute.orders import said
from pipeline.execute.saga import Aim, Ignored, Step
from tests.execute.given import PAYEE, Desk, decision, execution_of, reversal, review
from tests.execute.test_bound_ledger import refused, store, walk_of


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.open(GB29_0001=10_000, GB29_0002=0)
    return desk


def cause(record, execution, *, aim=None, ignored=None, after=0) -> NewCause:
    one = said(record)
    ids = one.transaction_id, one.account_id, one.event_time_ms, one.timestamp_ms, one.partition, one.offset
    return NewCause(execution, one.cause_id, one.cause, aim, ignored, after, *ids)


def faults(desk) -> list[str]:
    """The causes that the view finds."""
    rows = desk.as_role("fraud_reader").execute("SELECT cause_id::text FROM ledger.cause_fault").fetchall()
    return [name for (name,) in rows]


def sequence(desk, record) -> int:
    return walk_of(desk, record).saga.sequence


def test_a_reversal_to_block_is_not_ignored_so_that_a_late_review_pays(desk):
    held = decision("ESCALATE")
    desk.hear(held)
    taken_back, late = desk.batch(reversal(held, "BLOCK"), review(held, "ALLOW")).records
    name, walk = execution_of(held), walk_of(desk, held)
    at = walk.saga.sequence
    with refused("is_rightly_ignored"):
        store(desk, cause(taken_back, name, ignored=Ignored.OVERTAKEN, after=at))
    walk.saga = walk.saga._replace(aim=Aim.SETTLE)
    with refused("is_rightly_ignored"):
        store(
            desk,
            cause(taken_back, name, ignored=Ignored.OVERTAKEN, after=at),
            cause(late, name, aim=Aim.SETTLE, after=at),
            *walk.take(Step.DEBIT, Step.SUBMIT).taken(),
        )
    assert (desk.state(held), desk.balance(PAYEE)) == ("HELD", 0)


def test_nothing_is_heard_before_what_stands_before_it(desk):
    """The reversal is left out, and the review behind it is heeded."""
    held = decision("ESCALATE")
    desk.hear(held)
    _, late = desk.batch(reversal(held, "BLOCK"), review(held, "ALLOW")).records
    walk = walk_of(desk, held)
    at, walk.saga = walk.saga.sequence, walk.saga._replace(aim=Aim.SETTLE)
    with refused("is_in_its_turn"):
        store(
            desk,
            cause(late, execution_of(held), aim=Aim.SETTLE, after=at),
            *walk.take(Step.DEBIT, Step.SUBMIT).taken(),
        )


@pytest.mark.parametrize("ignored", Ignored)
def test_a_recall_is_suppressed_by_no_reason(desk, ignored):
    paid = decision()
    desk.hear(paid)
    [taken_back] = desk.batch(reversal(paid, "BLOCK")).records
    for execution in (execution_of(paid), paid.decision_id):
        is_its_own = execution == execution_of(paid)
        with refused("is_rightly_ignored" if is_its_own or ignored in ELSEWHERE else "is_in_its_turn"):
            store(desk, cause(taken_back, execution, ignored=ignored, after=sequence(desk, paid)))


ELSEWHERE = (Ignored.NO_DECISION, Ignored.ALREADY_DECIDED, Ignored.OTHER_DECISION)


@pytest.mark.parametrize("ignored", Ignored)
@pytest.mark.parametrize("outcome", ["ALLOW", "BLOCK"])
def test_what_a_person_decided_is_suppressed_by_no_reason(desk, ignored, outcome):
    held = decision("ESCALATE")
    desk.hear(held)
    [reviewed] = desk.batch(review(held, outcome)).records
    with refused("is_rightly_ignored"):
        store(desk, cause(reviewed, execution_of(held), ignored=ignored, after=sequence(desk, held)))


def test_an_older_aim_is_no_reason_not_to_hold(desk):
    """Paid, then recalled into a hold: that it was to be settled once doesn't make the review one of nothing."""
    paid = decision()
    desk.hear(paid, again := reversal(paid, "ESCALATE"))
    assert (desk.state(paid), again.corrected_outcome) == ("HELD", "ESCALATE")
    [reviewed] = desk.batch(review(paid, "BLOCK")).records
    rules = set()
    for after in range(sequence(desk, paid) + 1):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation) as caught:
            store(desk, cause(reviewed, execution_of(paid), ignored=Ignored.NOT_HELD, after=after))
        rules.add(caught.value.diag.constraint_name)
    assert rules == {"is_heard_after_the_last_step", "is_rightly_ignored"}


def test_a_review_of_another_round_is_not_heeded_and_that_of_the_open_one_not_ignored(desk):
    held = decision("ESCALATE")
    again = reversal(held, "ESCALATE")
    desk.hear(held, again)
    first, second = desk.batch(review(held, "ALLOW"), review(held, "BLOCK", 2)).records
    at = sequence(desk, held)
    with refused("is_in_its_turn"):
        store(desk, cause(first, execution_of(held), aim=Aim.SETTLE, after=at))
    store(desk, cause(first, execution_of(held), ignored=Ignored.OTHER_ROUND, after=at))
    with refused("is_rightly_ignored"):
        store(desk, cause(second, execution_of(held), ignored=Ignored.OTHER_ROUND, after=at))
    assert faults(desk) == []


def test_what_is_rightly_ignored_is_stored_and_found_by_nobody(desk):
    """By the executor itself: all reasons that it has."""
    held, twice = decision("ESCALATE"), decision("ESCALATE")
    blocked, unknown = reversal(held, "BLOCK"), decision()
    late, given_back = reversal(held, "ALLOW"), reversal(held, None, after=blocked)
    desk.hear(held, blocked, late, review(held, "ALLOW"), given_back, reversal(held, "ALLOW", after=given_back))
    desk.hear(reversal(unknown, "BLOCK"), twice)
    reasons = desk.connection.execute("SELECT ignored FROM ledger.cause WHERE ignored IS NOT NULL").fetchall()
    assert {each for (each,) in reasons} >= {"OVERTAKEN", "OTHER_ROUND", "ALREADY_RELEASED", "NO_DECISION"}
    assert faults(desk) == []


@pytest.mark.parametrize("ignored", [Ignored.OVERTAKEN, Ignored.NO_DECISION, Ignored.NOT_HELD])
def test_what_a_superuser_has_ignored_is_found(desk, owner, ignored):
    paid = decision()
    desk.hear(paid)
    [taken_back] = desk.batch(reversal(paid, "BLOCK")).records
    planted = cause(taken_back, execution_of(paid), ignored=ignored, after=sequence(desk, paid))
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        desk.ledger.append_causes(owner, [planted])
    assert faults(desk) == [planted.cause_id]
