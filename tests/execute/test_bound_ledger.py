"""The executor's credential in other hands: every gain that its rights might give is tried in SQL, and refused.

Each attack is one change to something that is stored as it is; a test beside it stores that unchanged, so that what is
refused is refused for the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import psycopg
import pytest

from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.identities import funding_id, posting_id
from pipeline.execute.ledger_admin_store import append_fundings, append_openings
from pipeline.execute.ledger_store import (
    NewCause,
    NewExecution,
    NewPosting,
    NewRecovery,
    NewTransition,
)
from pipeline.execute.opening_files import FUNDED_MAX_MINOR, OVERDRAFT_MAX_MINOR
from pipeline.execute.orders import said
from pipeline.execute.postings import MOVEMENTS, Posting, Subject, posting_of, reserve_account
from pipeline.execute.references import Funding, Opening
from pipeline.execute.restoring.life_store import begin_life, begin_restore
from pipeline.execute.saga import (
    AIMS,
    RAIL_KEY_FORGOTTEN,
    RAIL_PAID_OTHERWISE,
    Aim,
    Cause,
    Reason,
    Saga,
    State,
    Step,
    Transition,
    take,
)
from pipeline.io.postgres import DatabaseRefused, connect, failures_named
from tests.execute.given import NOON_MS, PAYEE, PAYER, Desk, decision, execution_of, reversal, review
from tests.execute.saga_tables import hearing_rows, movement_rows, step_rows
from tests.servers import url_as

STRANGER = "GB29-0666"


POSTS_ITS_OWN = "posts_its_own"
"""The one rule that PostgreSQL itself says no by, and that quotes the row."""


@contextmanager
def refused(rule: str) -> Iterator[None]:
    """By the rule of this name, and in words that quote nothing."""
    with pytest.raises(psycopg.IntegrityError) as caught:
        yield
    assert caught.value.diag.constraint_name == rule
    assert rule == POSTS_ITS_OWN or "GB29" not in str(caught.value)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.open(GB29_0001=10_000, GB29_0002=0, GB29_0666=0)
    return desk


def audited(desk: Desk, record) -> NewExecution:
    """The row of a decision that the audit log has and the executor has not heard."""
    one = said(desk.batch(record).records[0])
    assert one.subject is not None
    aim, at_ms = AIMS[None, one.cause], one.timestamp_ms
    assert isinstance(aim, Aim)
    filed_ms = desk.ledger.file(desk.connection, [at_ms])[at_ms]
    subject = one.subject._replace(caused_at_ms=filed_ms)
    return NewExecution(subject, one.cause, aim, one.event_time_ms, one.timestamp_ms, one.offset)


def store(desk: Desk, *rows) -> None:
    """In one transaction, by the executor's own statements and in its order."""
    with desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, [row for row in rows if isinstance(row, NewExecution)])
        desk.ledger.append_causes(desk.connection, [row for row in rows if isinstance(row, NewCause)])
        steps, postings = split(rows)
        desk.ledger.append_transitions(desk.connection, [row for row in steps if row.transition.step != Step.SUBMIT])
        desk.ledger.append_postings(desk.connection, postings)
        desk.ledger.append_transitions(desk.connection, [row for row in steps if row.transition.step == Step.SUBMIT])
        desk.ledger.append_recoveries(desk.connection, [row for row in rows if isinstance(row, NewRecovery)])


class Walk:
    """An execution's rows, step by step, as the executor would store them."""

    def __init__(self, subject: Subject, saga: Saga) -> None:
        self.subject, self.saga = subject, saga
        self.rows: list[object] = []

    def take(self, *steps: Step, part_minor: int = 0, is_posted: bool = True) -> Walk:
        for step in steps:
            self.saga, transition = take(self.saga, step)
            self.rows.append(self.step(transition))
            posting = posting_of(self.subject.payment, self.saga, step, part_minor)
            if posting is not None and is_posted:
                self.rows.append(self.posting(posting))
        return self

    def step(self, transition: Transition) -> NewTransition:
        return NewTransition(self.subject.payment.execution_id, self.subject.caused_at_ms, transition, "DECISION")

    def posting(self, posting: Posting) -> NewPosting:
        return NewPosting(posting, NOON_MS, self.subject.caused_at_ms)

    def taken(self) -> list[object]:
        rows, self.rows = self.rows, []
        return rows


def walk_of(desk: Desk, record) -> Walk:
    """Where the executor left it."""
    stored = desk.ledger.read(desk.connection, [execution_of(record)])[execution_of(record)]
    return Walk(stored.subject, stored.saga)


def new_walk(execution: NewExecution) -> Walk:
    return Walk(execution.subject, Saga(aim=execution.aim))


# What the database's tables say


def test_the_saga_stands_in_the_database_as_in_the_code(owner):
    def rows(table):
        found = owner.execute(f"SELECT * FROM ledger.{table}".encode()).fetchall()
        return sorted(row[:-1] for row in found)  # the last column says which transaction wrote it

    assert rows("saga_hearing") == hearing_rows()
    assert rows("saga_movement") == movement_rows()
    assert rows("saga_step") == step_rows()
    ((function,),) = owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'bind_transitions'").fetchall()
    listed = re.search(r"step\.step IN \(([^)]*)\)", function)
    assert listed is not None
    assert sorted(re.findall(r"'(\w+)'", listed[1])) == sorted(MOVEMENTS)


# Executions


def test_execution_of_an_audited_decision_is_stored(desk):
    row = audited(desk, decision())
    store(desk, row, *new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken())
    desk.resume()


def test_made_up_execution_is_refused(desk):
    desk.hear(decision())
    row = audited(desk, decision())
    made_up = row.subject.payment._replace(execution_id="00000000-0000-4000-8000-000000000000", amount_minor=10**8)
    with refused("is_as_audited"):
        store(desk, row._replace(subject=row.subject._replace(payment=made_up)))


def test_decision_that_is_not_audited_yet_is_refused(desk):
    one = said(desk.unaudited(decision()).records[0])
    assert one.subject is not None
    row = NewExecution(one.subject, one.cause, Aim.SETTLE, one.event_time_ms, one.timestamp_ms, one.offset)
    with refused("is_as_audited"):
        store(desk, row)


PAYMENT_CHANGES = {
    "amount": {"amount_minor": 701},
    "currency": {"currency": "EUR"},
    "payee": {"beneficiary_account_id": STRANGER},
    "payer": {"account_id": STRANGER},
    "execution": {"execution_id": "00000000-0000-4000-8000-000000000000"},
}
ROW_CHANGES = {
    "outcome": {"cause": Cause.DECIDED_ALLOW, "aim": Aim.SETTLE},
    "aim": {"aim": Aim.SETTLE},
    "offset": {"topic_offset": 77},
    "time": {"logged_at_ms": NOON_MS + 1_000_000},
    "time of the payment": {"event_time_ms": NOON_MS - 1},
}
SUBJECT_CHANGES = {
    "decision": {"decision_id": "00000000-0000-4000-8000-000000000000"},
    "transaction": {"transaction_id": "tx-another"},
    "partition": {"topic_partition": 1},
    "filed under": {"caused_at_ms": NOON_MS + 86_400_000},
}


@pytest.mark.parametrize("change", PAYMENT_CHANGES.values(), ids=PAYMENT_CHANGES)
def test_decision_is_not_executed_as_another_payment(desk, change):
    row = audited(desk, decision())
    payment = row.subject.payment._replace(**change)
    with refused("is_as_audited"):
        store(desk, row._replace(subject=row.subject._replace(payment=payment)))


def counted(count_1h: int, amount_gbp_minor: int) -> Decision:
    """A decision on a payment whose snapshot has this count and worth."""
    made = decision()
    features = list(made.snapshot.features)
    features[COLUMN["account_count_1h"]] = count_1h
    features[COLUMN["amount_gbp_minor"]] = amount_gbp_minor
    return made._replace(snapshot=made.snapshot._replace(features=tuple(features)))


@pytest.mark.parametrize("told_minor", [0, 1, 641])
def test_payment_is_not_told_as_worth_less_than_it_was_counted(desk, told_minor):
    """Decision workers would take it out of the volume of its account."""
    row = audited(desk, counted(3, 640))
    assert row.subject.amount_gbp_minor == 640
    with refused("is_as_audited"):
        store(desk, row._replace(subject=row.subject._replace(amount_gbp_minor=told_minor)))
    store(desk, row._replace(subject=row.subject._replace(amount_gbp_minor=NONE)))  # of which nobody makes anything


def test_payment_that_was_never_counted_is_not_told_as_counted(desk):
    row = audited(desk, counted(NONE, 640))
    assert row.subject.amount_gbp_minor == NONE
    with refused("is_as_audited"):
        store(desk, row._replace(subject=row.subject._replace(amount_gbp_minor=640)))


@pytest.mark.parametrize("change", SUBJECT_CHANGES.values(), ids=SUBJECT_CHANGES)
def test_decision_is_not_executed_as_another_decision(desk, change):
    row = audited(desk, decision())
    with refused("is_as_audited"):
        store(desk, row._replace(subject=row.subject._replace(**change)))


@pytest.mark.parametrize("outcome", ["ESCALATE", "BLOCK"])
@pytest.mark.parametrize("change", ROW_CHANGES.values(), ids=ROW_CHANGES)
def test_decision_is_not_executed_otherwise(desk, change, outcome):
    row = audited(desk, decision(outcome))
    with refused("is_as_audited"):
        store(desk, row._replace(**change))


def test_decision_is_executed_once(desk):
    desk.hear(paid := decision())
    desk.hear(paid)
    stored = walk_of(desk, paid).subject
    with pytest.raises(psycopg.errors.UniqueViolation):
        store(desk, NewExecution(stored, Cause.DECIDED_ALLOW, Aim.SETTLE, NOON_MS, NOON_MS, 0))


# Steps


def test_steps_of_the_saga_are_stored(desk):
    desk.hear(held := decision("ESCALATE"))
    walk = walk_of(desk, held)
    assert walk.saga.state is State.HELD


STRAY_STEPS = {
    "held, paid": ("ESCALATE", Transition(3, Step.DEBIT, State.HELD, State.DEBITED, Aim.SETTLE, None)),
    "held, paid as it was held": ("ESCALATE", Transition(3, Step.DEBIT, State.HELD, State.DEBITED, Aim.HOLD, None)),
    "blocked, reserved": ("BLOCK", Transition(2, Step.RESERVE, State.REFUSED, State.RESERVED, Aim.SETTLE, None)),
    "paid, recalled by nobody": (
        "ALLOW",
        Transition(6, Step.RECALL, State.SETTLED, State.RECALLING, Aim.REVERSE, None),
    ),
    "out of order": ("ALLOW", Transition(8, Step.RECALL, State.SETTLED, State.RECALLING, Aim.SETTLE, None)),
    "from elsewhere": ("ALLOW", Transition(6, Step.CREDIT, State.SUBMITTED, State.CREDITED, Aim.SETTLE, None)),
    "to elsewhere": ("ESCALATE", Transition(3, Step.DEBIT, State.HELD, State.SETTLED, Aim.HOLD, None)),
    "turned for no such reason": (
        "ESCALATE",
        Transition(3, Step.DENY, State.HELD, State.UNRESERVED, Aim.REFUSE, Reason.INSUFFICIENT_FUNDS),
    ),
    "turned to be paid": (
        "ESCALATE",
        Transition(3, Step.KEEP, State.HELD, State.CREDITED, Aim.SETTLE, Reason.BENEFICIARY_FUNDS_GONE),
    ),
}


@pytest.mark.parametrize(("outcome", "transition"), STRAY_STEPS.values(), ids=STRAY_STEPS)
def test_step_that_the_saga_does_not_take_is_refused(desk, outcome, transition):
    desk.hear(record := decision(outcome))
    walk = walk_of(desk, record)
    with refused("follows_the_saga"):
        store(desk, walk.step(transition))


def test_steps_skipped_within_one_statement_are_refused(desk):
    row = audited(desk, decision())
    first, _, third = split(new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken())[0]
    with refused("follows_the_saga"), desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, [row])
        desk.ledger.append_transitions(desk.connection, [first, third])


def test_step_of_no_execution_is_refused(desk):
    row = audited(desk, decision())
    with refused("follows_the_saga"):
        store(desk, *new_walk(row).take(Step.RESERVE).taken()[:1])


@pytest.mark.parametrize("stray", [0, 1, 2], ids=["first", "in the same statement", "in a later one"])
def test_step_filed_under_another_time_than_its_execution_is_refused(desk, stray):
    """Where a step is looked for by its execution's time, nobody would see it."""
    row = audited(desk, decision())
    steps = split(new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.UNDEBIT).taken())[0]
    steps[stray] = steps[stray]._replace(caused_at_ms=row.subject.caused_at_ms + 1)
    with refused("follows_the_saga"), desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, [row])
        desk.ledger.append_transitions(desk.connection, steps[:2])
        desk.ledger.append_transitions(desk.connection, steps[2:])


def test_whole_way_filed_under_another_time_is_refused(desk):
    row = audited(desk, decision())
    steps = split(new_walk(row).take(Step.RESERVE, Step.DEBIT).taken())[0]
    with refused("follows_the_saga"), desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, [row])
        other_ms = row.subject.caused_at_ms + 1
        desk.ledger.append_transitions(desk.connection, [step._replace(caused_at_ms=other_ms) for step in steps])


def test_steps_of_one_statement_are_each_looked_at(desk):
    """One stray step among many that are right."""
    rows = [audited(desk, decision()) for _ in range(5)]
    steps = [split(new_walk(row).take(Step.RESERVE, Step.DEBIT).taken())[0] for row in rows]
    with desk.connection.transaction(force_rollback=True):
        desk.ledger.append_executions(desk.connection, rows)
        desk.ledger.append_transitions(desk.connection, [step for both in steps for step in both])
    steps[3][1] = steps[3][1]._replace(transition=steps[3][1].transition._replace(after=State.SUBMITTED))
    with refused("follows_the_saga"), desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, rows)
        desk.ledger.append_transitions(desk.connection, [step for both in steps for step in both])


@pytest.mark.parametrize("unposted", [Step.RESERVE, Step.DEBIT])
def test_rail_is_asked_for_nothing_that_the_books_have_not_moved(desk, unposted):
    """The payer keeps their money, or somebody else's that is set aside is paid out."""
    row = audited(desk, decision())
    walk = new_walk(row)
    for step in (Step.RESERVE, Step.DEBIT, Step.SUBMIT):
        walk.take(step, is_posted=step is not unposted)
    with refused("is_posted"):
        store(desk, row, *walk.taken())


def test_recall_that_the_books_do_not_show_is_refused(desk):
    desk.hear(paid := decision())
    batch = desk.batch(reversal(paid, "BLOCK"))
    cause = heard(batch.records[0], paid, Aim.REVERSE, 5)
    walk = walk_of(desk, paid)
    walk.saga = walk.saga._replace(aim=Aim.REVERSE)
    with refused("is_posted"):
        store(desk, cause, *walk.take(Step.RECALL, is_posted=False).taken())


# Postings


POSTING_CHANGES = {
    "another amount": {"amount_minor": 9_999},
    "a smaller amount": {"amount_minor": 1},
    "another payee": {"destination_account_id": STRANGER},
    "from a stranger": {"source_account_id": STRANGER},
    "from the outside": {"source_account_id": "/funding"},
    "another currency": {"currency": "EUR"},
    "once more": {"attempt": 2},
    "another step": {"step": Step.GIVE_BACK},
    "a funding": {"step": "FUND"},
    "the undoing of something": {"reverses": "00000000-0000-4000-8000-000000000000"},
    "another execution": {"execution_id": "00000000-0000-4000-8000-000000000000"},
}


def test_posting_at_another_time_than_what_it_follows_from_is_refused(desk):
    """A balance as of a time would be another."""
    row = audited(desk, decision())
    rows = [
        each._replace(event_time_ms=NOON_MS - 86_400_000) if isinstance(each, NewPosting) else each
        for each in new_walk(row).take(Step.RESERVE).taken()
    ]
    with refused("is_of_its_step"):
        store(desk, row, *rows)


@pytest.mark.parametrize("change", POSTING_CHANGES.values(), ids=POSTING_CHANGES)
@pytest.mark.parametrize("step", [Step.RESERVE, Step.DEBIT])
def test_posting_that_its_step_does_not_move_is_refused(desk, step, change):
    if change.get("destination_account_id") and step is Step.DEBIT:
        change = {"destination_account_id": PAYEE}
    row = audited(desk, decision())
    walk = new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT)
    rows = [
        each._replace(posting=each.posting._replace(**change))
        if isinstance(each, NewPosting) and each.posting.step == step
        else each
        for each in walk.taken()
    ]
    with refused(POSTS_ITS_OWN if change == {"step": "FUND"} else "is_of_its_step"):
        store(desk, row, *rows)


def test_posting_after_the_fact_is_refused(desk):
    desk.hear(paid := decision())
    walk = walk_of(desk, paid)
    posting = posting_of(walk.subject.payment, walk.saga, Step.CREDIT)
    assert posting is not None
    with pytest.raises(psycopg.errors.UniqueViolation):
        store(desk, walk.posting(posting))
    with refused("is_of_its_step"):
        store(desk, walk.posting(posting._replace(attempt=2)))
    with refused("is_of_its_step"):
        store(desk, walk.posting(posting._replace(step=Step.UNRESERVE, source_account_id=reserve_account(PAYER))))


def test_posting_between_strangers_is_refused(desk):
    desk.hear(decision())
    statement = (
        "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at)"
        " SELECT gen_random_uuid(), {execution}, {step}, {attempt}, {payer}, {payee}, 'GBP', 1, now(), caused_at"
        " FROM ledger.execution"
    )
    tried = 0
    for execution in ("execution_id", "gen_random_uuid()"):
        for step in (*Step, "FUND", "", "MINE"):
            named = {"payer": f"'{PAYER}'", "payee": f"'{STRANGER}'", "execution": execution}
            with refused(POSTS_ITS_OWN if step == "FUND" else "is_of_its_step"):
                desk.connection.execute(statement.format(step=f"'{step}'", attempt=9, **named).encode())
            tried += 1
    assert tried > 40


def test_payment_without_funds_is_refused(desk):
    row = audited(desk, decision(amount_minor=10_001))
    with refused("is_covered"):
        store(desk, row, *new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken())


def test_payment_from_an_account_that_was_never_opened_is_refused(desk):
    row = audited(desk, decision(payer="GB29-0777", amount_minor=1))
    with refused("is_covered"):
        store(desk, row, *new_walk(row).take(Step.RESERVE).taken())


def test_two_who_take_at_once_see_each_other(desk, executor_url):
    """Each alone has money enough; the second waits for the first, and is refused."""
    first, second = (audited(desk, decision(amount_minor=6_000)) for _ in range(2))
    with closing(connect(executor_url, "second")) as other:
        other.execute("SET lock_timeout = '200ms'")
        desk.ledger.append_executions(other, [second])
        rows = new_walk(second).take(Step.RESERVE).taken()
        with desk.connection.transaction():
            desk.ledger.append_executions(desk.connection, [first])
            steps, posted = split(new_walk(first).take(Step.RESERVE).taken())
            desk.ledger.append_transitions(desk.connection, steps)
            desk.ledger.append_postings(desk.connection, posted)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                taken_by(desk, other, rows)
        with refused("is_covered"):
            taken_by(desk, other, rows)


def taken_by(desk, connection, rows) -> None:
    with connection.transaction():
        desk.ledger.append_transitions(connection, split(rows)[0])
        desk.ledger.append_postings(connection, split(rows)[1])


def split(rows):
    return (
        [each for each in rows if isinstance(each, NewTransition)],
        [each for each in rows if isinstance(each, NewPosting)],
    )


# Parts


@pytest.fixture
def spent(desk):
    """A payment of 700 of which the payee has 500, and its reversal, which nobody has heard."""
    desk.hear(paid := decision())
    desk.hear(decision(payer=PAYEE, payee=STRANGER, amount_minor=200))
    record = desk.batch(reversal(paid, "BLOCK")).records[0]
    walk = walk_of(desk, paid)
    walk.saga = walk.saga._replace(aim=Aim.REVERSE)
    return walk, heard(record, paid, Aim.REVERSE, 5)


def restored(rows):
    """As a ledger takes them over from the rail."""
    return [each._replace(origin="RESTORE") if isinstance(each, NewTransition) else each for each in rows]


def test_nothing_is_taken_over_from_the_rail_but_in_a_restore(desk):
    row = audited(desk, decision(payer=STRANGER))
    rows = restored(new_walk(row).take(Step.RESERVE, Step.DEBIT).taken())
    with refused("is_restored_in_a_restore"):
        store(desk, row, *rows)
    begin_restore(desk.connection, 2)
    store(desk, row, *rows)
    assert desk.balance(STRANGER) == -700
    begin_life(desk.connection, 2, "it has caught up", {})
    later = audited(desk, decision(payer=STRANGER))
    with refused("is_restored_in_a_restore"):
        store(desk, later, *restored(new_walk(later).take(Step.RESERVE).taken()))


def test_what_was_taken_over_is_posted_in_the_restore_or_covered(desk):
    row = audited(desk, decision(payer=STRANGER))
    steps, postings = split(restored(new_walk(row).take(Step.RESERVE).taken()))
    begin_restore(desk.connection, 2)
    store(desk, row, *steps)
    begin_life(desk.connection, 2, "it has caught up", {})
    with refused("is_covered"):
        store(desk, *postings)


@pytest.mark.parametrize("is_restoring", [False, True])
def test_an_attempt_that_was_taken_over_exempts_no_later_one(desk, is_restoring):
    held = decision("ESCALATE", payer=STRANGER)
    row = audited(desk, held)
    walk = new_walk(row)
    begin_restore(desk.connection, 2)
    store(desk, row, *restored(walk.take(Step.RESERVE, Step.HOLD).taken()))
    begin_life(desk.connection, 2, "it has caught up", {})
    record = desk.batch(reversal(held, "BLOCK")).records[0]
    walk.saga = walk.saga._replace(aim=Aim.REVERSE)
    store(desk, heard(record, held, Aim.REVERSE, 2), *walk.take(Step.UNRESERVE, Step.REVERSE).taken())
    again = desk.batch(reversal(held, "ALLOW", after=record.content)).records[0]
    walk.saga = walk.saga._replace(aim=Aim.SETTLE)
    if is_restoring:
        begin_restore(desk.connection, 3)
    with refused("is_covered"):
        store(desk, heard(again, held, Aim.SETTLE, 4), *walk.take(Step.RESERVE).taken())


def test_a_recall_is_taken_over_in_a_restore_whatever_the_payee_has(desk, spent):
    walk, cause = spent
    rows = walk.take(Step.RECALL).taken()
    with refused("is_covered"):
        store(desk, cause, *rows)
    begin_restore(desk.connection, 2)
    store(desk, cause, *restored(rows))
    assert desk.balance(PAYEE) == -200


@pytest.mark.parametrize(
    ("account_id", "minor", "reason"),
    [
        (STRANGER, 700, RAIL_PAID_OTHERWISE),
        (PAYER, 701, RAIL_PAID_OTHERWISE),
        (PAYER, 700, RAIL_KEY_FORGOTTEN),
    ],
)
def test_a_case_sets_nothing_aside_but_what_its_payment_took(desk, account_id, minor, reason):
    desk.hear(paid := decision())
    with refused("is_of_its_step"):
        store(desk, NewRecovery(execution_of(paid), 5, reason, 700, "GBP", account_id, minor))
    store(desk, NewRecovery(execution_of(paid), 5, RAIL_PAID_OTHERWISE, 700, "GBP", PAYER, 700))


@pytest.mark.parametrize("amount_minor", [8_600, 8_601])
def test_what_is_set_aside_is_spent_by_nobody(desk, amount_minor):
    """Of 10,000 a payment took 700, and as much is set aside."""
    desk.hear(paid := decision())
    store(desk, NewRecovery(execution_of(paid), 5, RAIL_PAID_OTHERWISE, 700, "GBP", PAYER, 700))
    limits, _ = desk.ledger.limits(desk.connection, [(PAYER, "GBP")])
    assert limits[PAYER, "GBP"].balance_minor == 8_600
    row = audited(desk, decision(amount_minor=amount_minor))
    rows = new_walk(row).take(Step.RESERVE).taken()
    if amount_minor > 8_600:
        with refused("is_covered"):
            store(desk, row, *rows)
    else:
        store(desk, row, *rows)
        assert desk.balance(PAYER) == 700


def test_part_that_is_there_is_recalled(desk, spent):
    walk, cause = spent
    store(desk, cause, *walk.take(Step.RECALL_PART, part_minor=500).taken())


@pytest.mark.parametrize(("part_minor", "rule"), [(501, "is_covered"), (701, "is_a_part_that_is_out")])
def test_no_more_is_recalled_than_is_there(desk, spent, part_minor, rule):
    walk, cause = spent
    with refused(rule):
        store(desk, cause, *walk.take(Step.RECALL_PART, part_minor=part_minor).taken())


@pytest.mark.parametrize("returned_minor", [499, 501, 700])
def test_no_more_comes_back_than_was_recalled(desk, spent, returned_minor):
    walk, cause = spent
    store(desk, cause, *walk.take(Step.RECALL_PART, part_minor=500).taken())
    walk.saga = walk.saga._replace(aim=Aim.REVERSE)
    rows = walk.take(Step.PART_RECALLED, part_minor=returned_minor).taken()
    turned = rows[0]._replace(transition=rows[0].transition._replace(aim=Aim.SETTLE, reason=Reason.PARTLY_RECALLED))
    with refused("is_a_part_that_is_out"):
        store(desk, turned, *rows[1:])


def test_a_part_is_not_the_rest(desk, spent):
    walk, cause = spent
    store(desk, cause, *walk.take(Step.RECALL_PART, part_minor=500).taken())
    with refused("is_a_part_that_is_out"):
        store(desk, *walk.take(Step.REST_RECALLED, part_minor=500).taken())


# Causes


def heard(record, about, aim: Aim | None, after_sequence: int, **changes) -> NewCause:
    """The row of a review or a reversal, as the executor would store it."""
    one = said(record)
    ignored = None if aim else "OVERTAKEN"
    row = NewCause(
        execution_of(about),
        one.cause_id,
        one.cause,
        aim,
        ignored,
        after_sequence,
        one.transaction_id,
        one.account_id,
        one.event_time_ms,
        one.timestamp_ms,
        one.partition,
        one.offset,
    )
    return row._replace(**changes)


@pytest.fixture
def held(desk):
    desk.hear(record := decision("ESCALATE"))
    return record


def freed(desk, held, cause) -> None:
    """Hear it, and take the next step with its aim."""
    walk = walk_of(desk, held)
    walk.saga = walk.saga._replace(aim=Aim.SETTLE)
    store(desk, cause, *walk.take(Step.DEBIT, Step.SUBMIT).taken())


def test_hold_is_freed_by_its_review(desk, held):
    record = desk.batch(review(held, "ALLOW")).records[0]
    freed(desk, held, heard(record, held, Aim.SETTLE, 2))
    desk.resume()


def test_review_that_nobody_wrote_frees_no_hold(desk, held):
    record = desk.unaudited(review(held, "ALLOW")).records[0]
    with refused("is_as_audited"):
        freed(desk, held, heard(record, held, Aim.SETTLE, 2))


def test_review_is_not_stored_as_of_another_time(desk, held):
    record = desk.batch(review(held, "ALLOW")).records[0]
    with refused("is_as_audited"):
        freed(desk, held, heard(record, held, Aim.SETTLE, 2, event_time_ms=NOON_MS - 86_400_000))


def test_review_that_blocks_frees_no_hold(desk, held):
    record = desk.batch(review(held, "BLOCK")).records[0]
    with refused("is_as_audited"):
        freed(desk, held, heard(record, held, Aim.SETTLE, 2, cause=Cause.REVIEWED_ALLOW))
    with refused("sets_its_aim"):
        freed(desk, held, heard(record, held, Aim.SETTLE, 2))


def test_review_of_another_decision_frees_no_hold(desk, held):
    desk.hear(other := decision("ESCALATE"))
    record = desk.batch(review(other, "ALLOW")).records[0]
    with refused("is_in_its_turn"):
        freed(desk, held, heard(record, held, Aim.SETTLE, 2))


def test_decision_about_another_payment_frees_no_hold(desk, held):
    record = desk.batch(other := decision()).records[0]
    cause = heard(record, held, Aim.SETTLE, 2)
    assert cause.cause is Cause.DECIDED_ALLOW
    assert other.outcome == "ALLOW"
    with refused("is_in_its_turn"):
        freed(desk, held, cause)


def test_reversal_of_what_is_no_longer_in_force_changes_nothing(desk, held):
    """A person has blocked it since; the reversal was planned before."""
    desk.hear(review(held, "BLOCK"))
    record = desk.batch(reversal(held, "ALLOW")).records[0]
    walk = walk_of(desk, held)
    sequence = walk.saga.sequence
    walk.saga = walk.saga._replace(aim=Aim.SETTLE)
    with refused("is_in_its_turn"):
        store(
            desk, heard(record, held, Aim.SETTLE, sequence), *walk.take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken()
        )


def test_review_of_a_block_pays_nothing(desk):
    desk.hear(blocked := decision("BLOCK"))
    record = desk.batch(review(blocked, "ALLOW")).records[0]
    walk = walk_of(desk, blocked)
    walk.saga = walk.saga._replace(aim=Aim.SETTLE)
    with refused("is_in_its_turn"):
        store(desk, heard(record, blocked, Aim.SETTLE, 1), *walk.take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken())


def test_reversal_is_not_slipped_in_before_what_was_done(desk):
    """Heard as if before the payment was made, it would be kept and do nothing."""
    desk.hear(paid := decision())
    record = desk.batch(reversal(paid, "BLOCK")).records[0]
    with refused("is_heard_after_the_last_step"):
        store(desk, heard(record, paid, Aim.REVERSE, 1))


def test_steps_after_a_reversal_follow_it(desk):
    """All in one transaction: decided, taken back, and paid all the same."""
    row = audited(desk, paid := decision())
    record = desk.batch(reversal(paid, "BLOCK")).records[0]
    walk = new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT)
    with refused("follows_the_saga"):
        store(desk, row, heard(record, paid, Aim.REVERSE, 1), *walk.taken())
    with refused("is_followed"), desk.connection.transaction():
        desk.ledger.append_executions(desk.connection, [row])
        steps, posted = split(new_walk(row).take(Step.RESERVE, Step.DEBIT).taken())
        desk.ledger.append_transitions(desk.connection, steps)
        desk.ledger.append_postings(desk.connection, posted)
        desk.ledger.append_causes(desk.connection, [heard(record, paid, Aim.REVERSE, 1)])


def test_recovery_case_of_no_such_step_is_refused(desk):
    desk.hear(paid := decision())
    for reason in (Reason.BENEFICIARY_FUNDS_GONE, Reason.RECALL_REFUSED):
        with refused("is_of_its_step"):
            store(desk, NewRecovery(execution_of(paid), 5, reason, 700, "GBP"))


# Rights

FORBIDDEN = {
    "an account": "INSERT INTO ledger.account VALUES ('GB29-0009', 'GBP', 0, now())",
    "an overdraft": "INSERT INTO ledger.account VALUES ('GB29-0009', 'GBP', 1000000000000, now())",
    "a funding": "INSERT INTO ledger.funding VALUES (gen_random_uuid(), 'GB29-0001', 'GBP', 100, now())",
    "a checkpoint": "INSERT INTO ledger.balance_checkpoint VALUES ('GB29-0001', 'GBP', 1, 1000000)",
    "a number": (
        "INSERT INTO ledger.posting (number, posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at)"
        " SELECT 0, gen_random_uuid(), execution_id, 'RESERVE', 1, 'a', 'b', 'GBP', 1, now(), caused_at"
        " FROM ledger.execution"
    ),
    "a time": "INSERT INTO ledger.transition (execution_id, recorded_at) VALUES (gen_random_uuid(), now())",
    "the numbers": "SELECT setval('ledger.posting_number', 1)",
    "a rule": "INSERT INTO ledger.saga_step VALUES ('HELD', 'HOLD', 'DEBIT', '', 'DEBITED', 'SETTLE')",
    "a rule gone": "DELETE FROM ledger.saga_movement",
    "the audit log": "INSERT INTO audit.review_log (review_id) VALUES (gen_random_uuid())",
    "the triggers": "ALTER TABLE ledger.posting DISABLE TRIGGER bind_postings",
    "replication": "SET session_replication_role = replica",
    "a month by itself": "INSERT INTO ledger.posting_unfiled (posting_id) VALUES (gen_random_uuid())",
    "another's rights": "SET ROLE fraud_treasurer",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
def test_executor_has_no_right_to(desk, statement):
    desk.hear(decision())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.connection.execute(statement.encode())


def test_treasurer_executes_nothing(desk):
    desk.hear(paid := decision())
    treasurer = desk.as_role("fraud_treasurer")
    row = audited(desk, decision())
    for append in (desk.ledger.append_executions, desk.ledger.append_transitions):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            append(treasurer, [row] if append == desk.ledger.append_executions else split(steps_of(row))[0])
    posting = posting_of(walk_of(desk, paid).subject.payment, walk_of(desk, paid).saga, Step.CREDIT)
    assert posting is not None
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.ledger.append_postings(treasurer, [NewPosting(posting._replace(attempt=2), NOON_MS, NOON_MS)])


def steps_of(row: NewExecution) -> list[object]:
    return new_walk(row).take(Step.RESERVE).taken()


def test_treasurer_moves_nothing_but_what_is_funded(desk):
    statement = (
        "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at)"
        " SELECT gen_random_uuid(), execution_id, 'FUND', {}, {}, {}, currency, {}, now(), caused_at"
        " FROM ledger.funding WHERE account_id = 'GB29-0001'"
    )
    for changed in ((2, "'/funding'", "account_id", "amount_minor"), (2, "'GB29-0001'", "'GB29-0002'", "amount_minor")):
        with refused("is_of_its_step"):
            desk.as_role("fraud_treasurer").execute(statement.format(*changed).encode())


def test_overdraft_has_a_bound(desk):
    treasurer = desk.as_role("fraud_treasurer")
    append_openings(treasurer, [Opening("GB29-0008", "GBP", OVERDRAFT_MAX_MINOR, 0)], NOON_MS)
    with pytest.raises(psycopg.errors.CheckViolation, match="overdraft_is_bounded"):
        append_openings(treasurer, [Opening("GB29-0009", "GBP", OVERDRAFT_MAX_MINOR + 1, 0)], NOON_MS)


def fund(desk, account_id, *amounts_minor):
    treasurer = desk.as_role("fraud_treasurer")
    with failures_named(), treasurer.transaction():
        for amount_minor in amounts_minor:
            append_fundings(treasurer, [Funding("FUNDING", str(uuid4()), account_id, "GBP", amount_minor)], NOON_MS)


@pytest.mark.parametrize(
    "amounts_minor", [[2**63 - 1], [FUNDED_MAX_MINOR + 1], [FUNDED_MAX_MINOR, 1], [1, FUNDED_MAX_MINOR]]
)
def test_funding_has_a_bound(desk, amounts_minor):
    desk.open(GB29_0008=0)
    with pytest.raises(DatabaseRefused, match="funding_is_bounded"):
        fund(desk, "GB29-0008", *amounts_minor)
    fund(desk, "GB29-0008", FUNDED_MAX_MINOR)
    assert desk.balance("GB29-0008") == FUNDED_MAX_MINOR


def test_a_balance_beyond_64_bits_stops_nobody(desk, owner):
    """However it came about: a superuser plants it."""
    desk.open(GB29_0003=10_000)
    owner.execute("SET session_replication_role = replica")
    for _ in range(3):
        owner.execute(
            "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
            " destination_account_id, currency, amount_minor, event_time, caused_at)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 'FUND', 1, '/funding', name, 'GBP', 9223372036854775807,"
            " now(), now() FROM unnest(ARRAY['GB29-0001', 'GB29-0002']) AS name"
        )
    paid, back, other = decision(), decision(payer=PAYEE, payee=PAYER), decision(payer="GB29-0003")
    desk.hear(paid, back, other)
    desk.hear(reversal(paid, "BLOCK"))
    assert [desk.state(each) for each in (paid, back, other)] == ["REVERSED", "SETTLED", "SETTLED"]
    assert desk.balance(PAYER) == 10_000 + 3 * (2**63 - 1) + 700
    assert desk.ledger.take_checkpoint(desk.connection, (PAYER, "GBP"))
    assert desk.balance(PAYER) == 10_000 + 3 * (2**63 - 1) + 700
    assert {finding.code for finding in desk.findings()} == {"POSTED_OTHERWISE"}


@pytest.mark.parametrize("consumer", ["executor", "executor-settled", "executor-of-another-name"])
@pytest.mark.parametrize("next_offset", [2, 2**62])
def test_executor_moves_no_position_beyond_the_audit_log(desk, consumer, next_offset):
    """Nothing would be heard for good: a position never goes back."""
    desk.hear(decision())
    where = {"consumer": consumer, "topic": desk.execution.heard.topic}
    with pytest.raises(psycopg.errors.RestrictViolation):
        desk.connection.execute(
            "INSERT INTO control.consumer_position (consumer, topic, partition, next_offset)"
            " VALUES (%(consumer)s, %(topic)s, 0, %(next)s)"
            " ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            {**where, "next": next_offset},
        )
    with pytest.raises(psycopg.errors.RestrictViolation):
        desk.connection.execute(
            "INSERT INTO control.consumer_position (consumer, topic, partition, next_offset)"
            " VALUES (%(consumer)s, %(topic)s, 9, 1)",
            where,
        )
    later = decision()
    desk.hear(later)
    assert desk.state(later) == "SETTLED"


def test_no_other_role_writes_the_ledger(desk, database_url):
    row = audited(desk, decision())
    for role in ("fraud_audit", "fraud_review", "fraud_rollback", "fraud_reconcile", "fraud_reader"):
        url = url_as(database_url, role)
        with closing(connect(url, "test")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            desk.ledger.append_executions(connection, [row])


# Ids


POST_FUNDED = (
    "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id, destination_account_id,"
    " currency, amount_minor, event_time, caused_at)"
    " SELECT %(posting)s, execution_id, 'FUND', 1, '/funding', account_id, currency, amount_minor, now(), caused_at"
    " FROM ledger.funding WHERE execution_id = %(funding)s"
)


def append_funding(treasurer: psycopg.Connection, name: str) -> None:
    treasurer.execute(
        "INSERT INTO ledger.funding (execution_id, account_id, currency, amount_minor, caused_at, kind, reference)"
        " VALUES (%s, %s, 'GBP', 100, control.filing_time('ledger.posting', now()), 'FUNDING', %s)",
        [name, PAYER, name],
    )


@pytest.mark.parametrize("step", [Step.RESERVE, Step.DEBIT, Step.SUBMIT, Step.CREDIT])
def test_treasurer_takes_no_id_that_a_payment_needs(desk, step):
    """Neither as that of a funding, nor as that of its posting; and the payment goes on."""
    paid = decision()
    needed, treasurer = posting_id(execution_of(paid), step, 1), desk.as_role("fraud_treasurer")
    for taken in (needed, execution_of(paid), str(uuid4())):
        with refused("id_is_of_a_funding"):
            append_funding(treasurer, taken)
    own = funding_id("of the test")
    with refused("is_of_its_step"), treasurer.transaction():
        append_funding(treasurer, own)
        treasurer.execute(POST_FUNDED, {"posting": needed, "funding": own})
    with treasurer.transaction():
        append_funding(treasurer, own)
        treasurer.execute(POST_FUNDED, {"posting": own, "funding": own})
    desk.hear(paid)
    assert desk.state(paid) == "SETTLED"


@pytest.mark.parametrize(
    ("role", "step", "source"), [("fraud_treasurer", "RESERVE", PAYER), ("fraud_executor", "FUND", "/funding")]
)
def test_nobody_holds_a_key_that_another_posts_under(desk, role, step, source):
    """By a statement that never ends: what it has written so far keeps the other waiting, who may not write it either.

    A row is refused before it is stored, so the statement doesn't come to its second.
    """
    row, thief = audited(desk, decision()), desk.as_role(role)
    thief.execute("SET statement_timeout = '2s'")
    with refused(POSTS_ITS_OWN):
        thief.execute(
            "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
            " destination_account_id, currency, amount_minor, event_time, caused_at)"
            " SELECT gen_random_uuid(), %s, %s, each, %s, 'B', 'GBP', 700, now(), to_timestamp(%s / 1000.0)"
            " FROM (SELECT each, CASE each WHEN 2 THEN pg_sleep(9) END FROM generate_series(1, 2) AS each) AS slow",
            [row.subject.payment.execution_id, step, source, row.subject.caused_at_ms],
        )
    thief.execute("RESET statement_timeout")


@pytest.mark.parametrize("reason", [RAIL_PAID_OTHERWISE, "RULING_CONTRADICTED"])
@pytest.mark.parametrize("sequence", [2**31 - 1, 99, 2])
def test_a_case_takes_the_place_of_no_step_to_come(desk, reason, sequence):
    """That step's own case could never be stored, and so neither the step; and a case far ahead would stay the last."""
    blocked = decision("BLOCK")
    desk.hear(blocked)  # its one step
    with refused("is_of_its_step"):
        store(desk, NewRecovery(execution_of(blocked), sequence, reason, 700, "GBP"))


def test_executor_takes_no_id_that_a_funding_needs(desk):
    row, needed = audited(desk, decision()), funding_id("funding 2026-11")
    rows = [
        each._replace(posting=each.posting._replace(posting_id=needed)) if isinstance(each, NewPosting) else each
        for each in new_walk(row).take(Step.RESERVE, Step.DEBIT, Step.SUBMIT).taken()
    ]
    with refused("is_of_its_step"):
        store(desk, row, *rows)
