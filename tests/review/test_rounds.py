"""The ledger heeds a review of the round that is open, and of no other; and the database knows rounds by their ids."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.identities import NAMESPACE_POSTING, NAMESPACE_REVIEW, posting_id, review_id
from pipeline.execute.orders import said
from pipeline.execute.saga import Aim
from pipeline.io.postgres import connect
from tests.execute.conftest import appender, desk, executor_url
from tests.execute.given import decision, reversal, review
from tests.execute.test_bound_ledger import heard, refused, store
from tests.servers import url_as

__all__ = ["appender", "desk", "executor_url"]


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
    with refused("is_in_its_turn"):
        store(desk, cause_of(desk, held, review_id(held.decision_id, of_round), 2))


def test_a_review_of_the_first_round_is_not_heeded_in_the_second(desk):
    desk.open(GB29_0001=10_000)
    desk.hear(held := decision("ESCALATE"))
    blocked = review(held, "BLOCK")
    desk.hear(blocked)
    desk.hear(reversal(held, "ESCALATE", after=blocked))
    assert desk.state(held) == "HELD"
    steps = len(desk.steps(held))
    with refused("is_in_its_turn"):
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
        " FROM pg_proc WHERE proname IN ('bind_case', 'is_of_open_round')"
    ).fetchone()[0]
    assert {str(NAMESPACE_REVIEW): 2, str(NAMESPACE_POSTING): 1} == {
        str(each): named.count(str(each)) for each in (NAMESPACE_REVIEW, NAMESPACE_POSTING)
    }
    assert UUID(posting_id("e", "SUBMIT", 1)) == uuid5(NAMESPACE_POSTING, "e\nSUBMIT\n1")
