"""The executor's credential in other hands: no step is a ruling that two people have not made about this doubt."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.domain.identities import posting_id
from pipeline.execute.postings import posting_of
from pipeline.execute.saga import Aim, Answer, Reason, State, Step, Transition, answer, rule
from pipeline.reconcile.gaps import GapKind
from pipeline.ruling.acts import Verdict
from pipeline.ruling.ruling_store import append_proposal
from tests.execute.given import Desk, decision, execution_of, reversal
from tests.execute.test_bound_ledger import refused, store, walk_of
from tests.known import identity, revoke
from tests.ruling.given import appoint, doubt, forgotten, ruled, ruling_on


@pytest.fixture
def paid(owner, desk, rail_of):
    appoint(owner)
    desk.open(GB29_0001=10_000)
    record = decision()
    with forgotten(desk, rail_of(), record) as second:
        yield second, record


def act_of(desk: Desk, ruling, table: str = "ruling") -> str:
    ((act,),) = desk.as_role("fraud_reader").execute(
        f"SELECT encode(act, 'hex') FROM control.{table} WHERE ruling_id = %s".encode(), [ruling.ruling_id]
    )
    return str(act)


def rows_of(walk, moved, act, origin="RULING"):
    walk.saga, transition = moved
    posting = posting_of(walk.subject.payment, walk.saga, transition.step)
    step = walk.step(transition)._replace(origin=origin, ruling=act)
    return [step] if posting is None else [step, walk.posting(posting)]


def test_step_that_two_people_ruled_is_stored(paid):
    desk, record = paid
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.MADE)))
    walk = walk_of(desk, record)
    store(desk, *rows_of(walk, rule(walk.saga, Answer.DONE), act))
    assert (desk.state(record), desk.findings()) == ("CREDITED", [])


def test_ruling_that_nobody_made_is_refused(paid):
    walk = walk_of(*paid)
    with refused("is_as_ruled"):
        store(paid[0], *rows_of(walk, rule(walk.saga, Answer.DONE), "ab" * 32))


def test_ruling_that_nobody_confirmed_is_refused(paid):
    desk, record = paid
    ruling = ruling_on(doubt(desk, record), Verdict.MADE)
    append_proposal(desk.as_role("fraud_rollback"), ruling, identity("rob"))
    walk = walk_of(desk, record)
    with refused("is_as_ruled"):
        store(desk, *rows_of(walk, rule(walk.saga, Answer.DONE), act_of(desk, ruling, "ruling_proposal")))


@pytest.mark.parametrize("said", [Answer.DONE, Answer.REFUSED])
def test_the_other_verdict_is_refused(paid, said):
    desk, record = paid
    other = {Answer.DONE: Verdict.NOT_MADE, Answer.REFUSED: Verdict.MADE}[said]
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), other)))
    walk = walk_of(desk, record)
    with refused("is_as_ruled"):
        store(desk, *rows_of(walk, rule(walk.saga, said), act))


def test_ruling_on_another_payment_is_refused(paid, rail_of):
    desk, record = paid
    with forgotten(desk, rail_of(), decision()) as third:
        another = doubt(third, record)
        theirs = [each for each in doubts(third) if each != another]
        act = act_of(third, ruled(third.as_role("fraud_rollback"), ruling_on(theirs[0], Verdict.MADE)))
        walk = walk_of(third, record)
        with refused("is_as_ruled"):
            store(third, *rows_of(walk, rule(walk.saga, Answer.DONE), act))


def doubts(desk: Desk):
    from pipeline.ruling.ruling_store import waiting_doubts

    return waiting_doubts(desk.as_role("fraud_rollback"), 10)


def test_ruling_of_somebody_whose_role_is_gone_is_refused(paid, owner):
    desk, record = paid
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.MADE)))
    revoke(owner, "ada", "ROLLBACK_APPROVER", admin="ana")
    walk = walk_of(desk, record)
    with refused("is_ruled_by_two"):
        store(desk, *rows_of(walk, rule(walk.saga, Answer.DONE), act))


def test_ruling_that_leaves_the_payment_to_be_paid_again_is_refused(paid):
    """As the rail's own refusal would, after which a reversal pays it under another key."""
    desk, record = paid
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.NOT_MADE)))
    walk = walk_of(desk, record)
    moved = answer(walk.saga, Answer.REFUSED)
    assert moved is not None
    with refused("has_nobody_paid"):
        store(desk, *rows_of(walk, moved, act))


def test_recall_that_was_ruled_made_is_not_paid_again(owner, desk, rail_of):
    appoint(owner)
    desk.open(GB29_0001=10_000, GB29_0002=0)
    record = decision()
    back = reversal(record, "BLOCK")
    with forgotten(desk, rail_of(), record, back) as second:
        second.hear(reversal(record, "ALLOW", after=back))
        act = act_of(second, ruled(second.as_role("fraud_rollback"), ruling_on(doubt(second, record), Verdict.MADE)))
        walk = walk_of(second, record)
        assert walk.saga.aim is Aim.SETTLE
        moved = answer(walk.saga, Answer.DONE)
        assert moved is not None
        with refused("has_nobody_paid"):
            store(second, *rows_of(walk, moved, act))


def test_ruling_is_used_once(paid):
    desk, record = paid
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.MADE)))
    walk = walk_of(desk, record)
    rows = rows_of(walk, rule(walk.saga, Answer.DONE), act)
    store(desk, *rows)
    with pytest.raises(psycopg.errors.UniqueViolation):
        store(desk, *rows)
    with refused("is_as_ruled"):
        complete = Transition(6, Step.COMPLETE, State.CREDITED, State.SETTLED, Aim.SETTLE, None)
        store(desk, walk.step(complete)._replace(origin="RULING", ruling=act))


@pytest.mark.parametrize("origin", ["RAIL", "DECISION", "RESTORE"])
def test_only_a_ruling_names_an_act_and_turns_as_one(paid, origin):
    desk, record = paid
    act = act_of(desk, ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.NOT_MADE)))
    walk = walk_of(desk, record)
    turned = rule(walk.saga, Answer.REFUSED)
    assert turned[1].reason is Reason.RULED_NOT_MADE
    for named in (act, None):
        with pytest.raises(psycopg.errors.CheckViolation):
            store(desk, *rows_of(walk_of(desk, record), turned, named, origin))
    with pytest.raises(psycopg.errors.CheckViolation):
        store(desk, *rows_of(walk_of(desk, record), rule(walk.saga._replace(state=State.IN_DOUBT), Answer.DONE), None))


def test_forgotten_keys_are_said_of_doubts_only(desk, owner):
    """Else a made-up case would have people rule on what the rail still knows."""
    desk.open(GB29_0001=10_000)
    desk.hear(record := decision())
    with refused("is_of_its_step"):
        desk.connection.execute(
            "INSERT INTO ledger.recovery_case (execution_id, sequence, reason, missing_minor, currency)"
            " VALUES (%s, 3, 'RAIL_KEY_FORGOTTEN', 700, 'GBP')",
            [execution_of(record)],
        )


# What a superuser plants


PLANTED = (
    "INSERT INTO ledger.transition (execution_id, sequence, step, from_state, to_state, aim, cause, caused_at, ruling)"
    " SELECT execution_id, 5, 'CREDIT', 'IN_DOUBT', 'CREDITED', 'SETTLE', 'RULING', caused_at, {act}"
    " FROM ledger.execution"
)
POSTED = (
    "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id, destination_account_id,"
    " currency, amount_minor, event_time, caused_at) SELECT %s, execution_id, 'CREDIT', 1, '/clearing',"
    " beneficiary_account_id, currency, amount_minor, event_time, caused_at FROM ledger.execution"
)


def plant(owner, record, act):
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(PLANTED.format(act=act).encode())
        owner.execute(POSTED, [posting_id(execution_of(record), "CREDIT", 1)])


def test_planted_ruling_is_found(paid, owner):
    desk, record = paid
    plant(owner, record, "sha256('nobody')")
    assert {GapKind.RULED_OTHERWISE} == {GapKind(finding.code) for finding in desk.findings()}
    found = desk.as_role("fraud_reconcile").execute("SELECT topic_offset FROM ledger.ruling_fault").fetchall()
    assert found == [(0,)]


def test_planted_ruling_with_acts_that_nobody_signed_is_found(paid, owner):
    desk, record = paid
    ruling = ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict.MADE))
    plant(owner, record, f"decode('{act_of(desk, ruling)}', 'hex')")
    assert desk.findings() == []
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(
            "UPDATE control.signed_act SET signature = sha256('a') || sha256('b') WHERE kind = 'RULING_CONFIRMED'"
        )
    assert {"RULED_OTHERWISE"} == {finding.code for finding in desk.findings()}
