"""Rounds of review, by the credential of fraud_review and of fraud_executor: none is skipped, doubled or another's."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID, uuid4, uuid5

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.identities import NAMESPACE_POSTING, NAMESPACE_REVIEW, posting_id, review_id
from pipeline.execute.orders import said
from pipeline.execute.saga import Aim
from pipeline.io.clock import now_ms
from pipeline.io.postgres import connect
from pipeline.review.case_store import Opening, RecordPlace, append_event, cases_by_name, open_cases
from pipeline.review.cases import opening, withdrawal
from tests.execute.conftest import appender, desk, executor_url
from tests.execute.given import decision, reversal, review
from tests.execute.test_bound_ledger import heard, refused, store
from tests.known import appoint
from tests.review.given import HOUR_MS, SMALL
from tests.servers import url_as

__all__ = ["appender", "desk", "executor_url"]


@pytest.fixture
def thief(reviewer_url, owner):
    """Whoever has got hold of the review service's credential."""
    appoint(owner, {"ann": "REVIEWER"})
    with closing(connect(reviewer_url, "thief")) as connection:
        yield connection


def case_of(decision_id, case_round, **changes):
    at_ms = now_ms()
    times = {"opened_at_ms": at_ms, "expires_at_ms": at_ms + HOUR_MS}
    return SMALL._replace(decision_id=decision_id, round=case_round, **times)._replace(**changes)


def open_round(connection, case, offset, cause_id=None):
    with connection.transaction():
        one = Opening(case, cause_id or str(uuid4()), "why", RecordPlace(0, offset))
        open_cases(connection, [one], [opening(case)])


def withdraw(connection, decision_id):
    file = cases_by_name(connection, decision_id)[-1]
    event = withdrawal(file.standing, "it was reversed", now_ms())
    assert event is not None
    append_event(connection, file.case, event)


def test_a_round_follows_one_that_has_ended(thief):
    decision_id = str(uuid4())
    open_round(thief, case_of(decision_id, 1), 7)
    withdraw(thief, decision_id)
    open_round(thief, case_of(decision_id, 2), 8)
    withdraw(thief, decision_id)
    open_round(thief, case_of(decision_id, 3), 9)
    assert [1, 2, 3] == [file.case.round for file in cases_by_name(thief, decision_id)]


def test_no_round_is_opened_while_another_is_open(thief):
    decision_id = str(uuid4())
    open_round(thief, case_of(decision_id, 1), 7)
    with pytest.raises(psycopg.errors.CheckViolation, match="once that has ended"):
        open_round(thief, case_of(decision_id, 2), 8)


@pytest.mark.parametrize("skipped", [2, 3, 2**31 - 1])
def test_no_round_is_skipped(thief, skipped):
    with pytest.raises(psycopg.errors.CheckViolation, match="follows the one before"):
        open_round(thief, case_of(str(uuid4()), skipped), 7)


@pytest.mark.parametrize("change", [{"account_id": "GB29-0666"}, {"transaction_id": "tx-another"}])
def test_no_round_is_about_another_payment(thief, change):
    decision_id = str(uuid4())
    open_round(thief, case_of(decision_id, 1), 7)
    withdraw(thief, decision_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="follows the one before"):
        open_round(thief, case_of(decision_id, 2, **change), 8)


def test_no_round_stands_before_the_one_that_it_follows(thief):
    decision_id = str(uuid4())
    open_round(thief, case_of(decision_id, 1), 7)
    withdraw(thief, decision_id)
    for offset in (6, 7):
        with pytest.raises(psycopg.errors.CheckViolation, match="follows the one before"):
            open_round(thief, case_of(decision_id, 2), offset)


@pytest.mark.parametrize("other", ["another round's", "another decision's", "one of its own"])
def test_no_round_bears_another_id(thief, other):
    decision_id = str(uuid4())
    name = {
        "another round's": review_id(decision_id, 2),
        "another decision's": review_id(str(uuid4()), 1),
        "one of its own": str(uuid4()),
    }[other]
    statement = """INSERT INTO review.review_case (decision_id, round, review_id, cause_id, transaction_id, account_id,
        currency, amount_minor, amount_gbp_minor, summary, opened_at, expires_at, topic_partition, topic_offset)
        VALUES (%s, 1, %s, %s, 'tx', 'GB29-0001', 'GBP', 1, 1, 'why', now(), now() + interval '1 hour', 0, 0)"""
    with pytest.raises(psycopg.errors.CheckViolation, match="the id of its decision and round"):
        thief.execute(statement.encode(), [decision_id, name, decision_id])


# The ledger heeds a review of the round that is open, and of no other


def cause_of(desk, held, name, after_sequence):
    """The row of an audited review that names itself so."""
    record = review(held, "ALLOW")._replace(review_id=name)
    one = desk.batch(record).records[0]
    assert said(one).cause_id == name
    return heard(one, held, Aim.SETTLE, after_sequence)


@pytest.mark.parametrize("of_round", [0, 2, 3])
def test_a_review_of_another_round_is_not_heeded(desk, of_round):
    desk.open(GB29_0001=10_000)
    desk.hear(held := decision("ESCALATE"))
    with refused("is_of_the_open_round"):
        store(desk, cause_of(desk, held, review_id(held.decision_id, of_round), 2))


def test_a_review_of_the_first_round_is_not_heeded_in_the_second(desk):
    desk.open(GB29_0001=10_000)
    desk.hear(held := decision("ESCALATE"))
    blocked = review(held, "BLOCK")
    desk.hear(blocked)
    desk.hear(reversal(held, "ESCALATE", after=blocked))
    assert desk.state(held) == "HELD"
    steps = len(desk.steps(held))
    with refused("is_of_the_open_round"):
        store(desk, cause_of(desk, held, review_id(held.decision_id, 3), steps))


def test_a_review_of_the_second_round_is_heeded_in_it(desk):
    desk.open(GB29_0001=10_000)
    desk.hear(held := decision("ESCALATE"))
    blocked = review(held, "BLOCK")
    desk.hear(blocked)
    desk.hear(reversal(held, "ESCALATE", after=blocked), review(held, "ALLOW", 2))
    assert (desk.state(held), desk.findings()) == ("SETTLED", [])


@pytest.fixture
def reader(database_url):
    with closing(connect(url_as(database_url, "fraud_reader"), "test")) as connection:
        yield connection


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.uuids(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=150))
def test_the_databases_ids_are_ours(reader, namespace, name):
    (found,) = reader.execute("SELECT control.uuid5(%s, %s)", [namespace, name]).fetchone()
    assert uuid5(namespace, name) == found


def test_the_databases_namespaces_are_ours(owner):
    named = owner.execute(
        "SELECT coalesce(string_agg(prosrc, ' '), '') || pg_get_viewdef('ledger.forgotten_doubt'::regclass)"
        " FROM pg_proc WHERE proname IN ('bind_round', 'bind_review')"
    ).fetchone()[0]
    assert {str(NAMESPACE_REVIEW): 2, str(NAMESPACE_POSTING): 1} == {
        str(each): named.count(str(each)) for each in (NAMESPACE_REVIEW, NAMESPACE_POSTING)
    }
    assert UUID(posting_id("e", "SUBMIT", 1)) == uuid5(NAMESPACE_POSTING, "e\nSUBMIT\n1")
