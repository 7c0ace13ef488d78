"""What people do with cases, on a real PostgreSQL, with the rights of the review role."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from pipeline.domain.decision import Outcome
from pipeline.io.clock import now_ms
from pipeline.io.postgres import connect
from pipeline.people.act_store import read_registry, sign_act
from pipeline.review.case_store import CaseMoved, append_event, cases_by_name
from pipeline.review.cases import ACT_KINDS, CaseEvent, Judgement, Kind, ReviewRefusal, State, subject_of
from pipeline.review.desk_store import Acted, NoSuchCase, ReviewDesk, SeveralDecisions
from tests.known import appoint, identity, revoke
from tests.review.given import ALLOW, BLOCK, HOUR_MS, LARGE, RULES, SMALL
from tests.review.planted import plant


@pytest.fixture
def people(owner):
    appoint(owner, {"ann": "REVIEWER", "ben": "REVIEWER", "sue": "SENIOR_REVIEWER"})


@pytest.fixture
def connection(reviewer_url, people):
    with closing(connect(reviewer_url, "test")) as connection:
        yield connection


@pytest.fixture
def desk(connection):
    return ReviewDesk(connection, RULES, now_ms)


def opened(connection, case=SMALL, transaction_id=None):
    """A new case like `case`; its decision's id."""
    at_ms = now_ms()
    case = case._replace(decision_id=str(uuid4()), transaction_id=transaction_id or f"tx-{uuid4()}")
    case = case._replace(opened_at_ms=at_ms, expires_at_ms=at_ms + HOUR_MS)
    plant(connection, case)
    return case.decision_id


def signed(connection, file, event):
    """The event as its actor has signed it."""
    by, registry = identity(event.actor), read_registry(connection)
    act = sign_act(connection, by, ACT_KINDS[event.kind], subject_of(file.case, event), registry)
    return event._replace(act=act)


def test_a_case_is_listed_claimed_and_decided(desk, connection):
    decision_id = opened(connection)
    assert [file.case.decision_id for file in desk.open_cases(10)] == [decision_id]
    assert isinstance(desk.claim(decision_id, identity("ann")), Acted)
    decided = desk.judge(decision_id, identity("ann"), BLOCK)
    assert (decided.event.kind, decided.file.standing.state) == (Kind.DECIDED, State.DECIDED)
    assert desk.open_cases(10) == []
    [file] = desk.rounds(decision_id)
    assert file == decided.file
    assert [event.kind for event in file.events] == ["OPENED", "CLAIMED", "DECIDED"]


def test_a_case_is_found_by_its_transaction(desk, connection):
    decision_id = opened(connection)
    [file] = desk.rounds(decision_id)
    assert desk.rounds(file.case.transaction_id) == [file]
    with pytest.raises(NoSuchCase):
        desk.rounds("tx-unknown")


def test_an_act_on_the_id_of_several_payments_is_refused_until_one_is_named(desk, connection):
    first, second = opened(connection, transaction_id="tx-again"), opened(connection, transaction_id="tx-again")
    assert {file.case.decision_id for file in desk.rounds("tx-again")} == {first, second}
    for act in (
        lambda: desk.claim("tx-again", identity("ann")),
        lambda: desk.judge("tx-again", identity("ann"), BLOCK),
    ):
        with pytest.raises(SeveralDecisions) as caught:
            act()
        assert set(caught.value.decision_ids) == {first, second}
    assert isinstance(desk.claim(second, identity("ann")), Acted)
    assert {file.case.decision_id: file.standing.state for file in desk.rounds("tx-again")} == {
        first: State.OPEN,
        second: State.CLAIMED,
    }


def test_a_large_case_takes_two(desk, connection):
    decision_id = opened(connection, LARGE)
    desk.claim(decision_id, identity("ann"))
    assert desk.judge(decision_id, identity("ann"), ALLOW).event.kind is Kind.PROPOSED
    assert desk.judge(decision_id, identity("ann"), ALLOW) is ReviewRefusal.OWN_PROPOSAL
    assert desk.judge(decision_id, identity("ben"), ALLOW) is ReviewRefusal.NOT_SENIOR
    assert desk.judge(decision_id, identity("sue"), ALLOW).event.kind is Kind.DECIDED


def test_who_was_given_no_role_or_had_it_taken_does_nothing(desk, connection, owner):
    decision_id = opened(connection)
    assert desk.claim(decision_id, identity("mallory")) is ReviewRefusal.NOT_AUTHORISED
    revoke(owner, "ben", "REVIEWER")
    assert desk.claim(decision_id, identity("ben")) is ReviewRefusal.NOT_AUTHORISED


def test_of_many_who_act_at_once_one_wins_and_all_others_are_told(reviewer_url, people, connection):
    """Two people and every act, on connections of their own, all released at the same moment, again and again."""
    barrier = threading.Barrier(4)

    def claimed(decision_id, name):
        with closing(connect(reviewer_url, "test")) as own:
            desk = ReviewDesk(own, RULES, now_ms)
            barrier.wait()
            return desk.claim(decision_id, identity(name)), desk.judge(decision_id, identity(name), BLOCK)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            decision_id = opened(connection)
            answers = list(pool.map(lambda name, d=decision_id: claimed(d, name), ["ann", "ben", "ann", "sue"]))
            judged = [judgement for _, judgement in answers]
            assert sum(isinstance(answer, Acted) for answer in judged) == 1
            expected = {
                ReviewRefusal.ALREADY_DECIDED,
                ReviewRefusal.CLAIMED_BY_ANOTHER,
                ReviewRefusal.NOT_CLAIMED,
                ReviewRefusal.ACTED_MEANWHILE,
            }
            assert {answer for answer in judged if not isinstance(answer, Acted)} <= expected
            [file] = cases_by_name(connection, decision_id)
            assert [event.kind for event in file.events].count(Kind.DECIDED) == 1


def test_the_database_itself_refuses_a_second_author_of_the_same_sequence(connection):
    [file] = cases_by_name(connection, opened(connection))
    event = CaseEvent(2, Kind.CLAIMED, "ann", now_ms(), claimed_until_ms=now_ms() + 5)
    append_event(connection, file.case, signed(connection, file, event))
    with pytest.raises(CaseMoved):
        append_event(connection, file.case, signed(connection, file, event._replace(actor="ben")))


def test_the_database_itself_refuses_a_second_outcome(connection):
    [file] = cases_by_name(connection, opened(connection))
    claimed = CaseEvent(2, Kind.CLAIMED, "ann", now_ms(), claimed_until_ms=now_ms() + 5)
    decided = CaseEvent(3, Kind.DECIDED, "ann", now_ms(), Outcome.BLOCK, "because")
    for event in (claimed, decided):
        append_event(connection, file.case, signed(connection, file, event))
    with pytest.raises(CaseMoved):
        append_event(
            connection, file.case, CaseEvent(4, Kind.EXPIRED, "system:expiry", now_ms(), Outcome.BLOCK, "late")
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE review.case_event SET outcome = 'ALLOW'",
        "DELETE FROM review.review_case",
        "TRUNCATE review.case_event",
        "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES ('eve', 'ADMIN', true, 'eve')",
        "INSERT INTO control.rollback_approval VALUES (gen_random_uuid(), 'eve', now(), '')",
    ],
)
def test_the_review_role_can_change_nothing_and_appoint_nobody(connection, statement):
    opened(connection)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement", ["UPDATE review.case_event SET actor = 'eve'", "TRUNCATE review.review_case CASCADE"]
)
def test_even_the_owner_meets_the_triggers(owner, connection, statement):
    opened(connection)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute(statement)


def test_a_reason_is_kept_as_it_was_written(desk, connection):
    decision_id = opened(connection)
    desk.claim(decision_id, identity("ann"))
    reason = "  the customer's words:\n\"it's mine\" \N{POUND SIGN}5  "
    judged = desk.judge(decision_id, identity("ann"), Judgement(Outcome.ALLOW, reason))
    assert judged.event.reason == " ".join(reason.split())
    assert desk.rounds(decision_id)[0].standing.last.reason == " ".join(reason.split())
