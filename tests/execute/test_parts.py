"""Recalls of what a beneficiary still has: never their overdraft, and a recovery case for what is missing."""

from __future__ import annotations

from contextlib import closing

import pytest

from ops.bench.rig.stored import Tail
from ops.rail.misbehaviour import Misbehaviour
from pipeline.domain.identities import posting_id
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from tests.execute.given import PAYEE, PAYER, WIRE, Desk, decision, execution_of, reversal
from tests.records import NOON_MS

ELSEWHERE = "GB29-0003"


def spent(desk, payee_spends, *, overdraft_minor=0, payer_minor=1_000):
    """A payment of 700 whose beneficiary has spent so much of it."""
    openings = [
        Opening(PAYER, "GBP", 0, payer_minor),
        Opening(PAYEE, "GBP", overdraft_minor, 0),
        Opening(ELSEWHERE, "GBP", 0, 0),
    ]
    append_openings(desk.as_role("fraud_treasurer"), openings, NOON_MS)
    paid = decision()
    desk.hear(paid)
    if payee_spends:
        desk.hear(decision(payer=PAYEE, payee=ELSEWHERE, amount_minor=payee_spends))
    return paid


def recoveries(desk, record):
    query = "SELECT reason, missing_minor FROM ledger.recovery_case WHERE execution_id = %s ORDER BY sequence"
    return desk.connection.execute(query, [execution_of(record)]).fetchall()


def open_recoveries(owner):
    return owner.execute("SELECT reason, missing_minor FROM review.open_recovery").fetchall()


def told_of(stack, record):
    found = [WIRE.decode_execution(each.value) for each in Tail(stack.bootstrap_servers, "executions.v1").news()]
    return [(each.state, each.why, each.returned_minor) for each in found if each.decision_id == record.decision_id]


@pytest.mark.parametrize("overdraft_minor", [0, 10_000])
def test_what_is_there_is_had_back_and_the_rest_is_a_case_for_a_person(desk, owner, stack, overdraft_minor):
    paid = spent(desk, 1, overdraft_minor=overdraft_minor)
    desk.hear(reversal(paid, "BLOCK"))
    assert (desk.state(paid), desk.reason(paid)) == ("SETTLED", "PARTLY_RECALLED")
    assert (desk.balance(PAYER), desk.balance(PAYEE), desk.balance("/clearing")) == (999, 0, 0)
    assert recoveries(desk, paid) == open_recoveries(owner) == [("PARTLY_RECALLED", 1)]
    assert told_of(stack, paid)[-1] == ("SETTLED", "PARTLY_RECALLED", 699)
    assert desk.findings() == []


@pytest.mark.parametrize("overdraft_minor", [0, 10_000])
def test_a_beneficiary_is_never_drawn_into_their_overdraft(desk, owner, overdraft_minor):
    paid = spent(desk, 700, overdraft_minor=overdraft_minor)
    desk.hear(reversal(paid, "BLOCK"))
    assert (desk.state(paid), desk.reason(paid)) == ("SETTLED", "BENEFICIARY_FUNDS_GONE")
    assert (desk.balance(PAYER), desk.balance(PAYEE)) == (300, 0)
    assert open_recoveries(owner) == [("BENEFICIARY_FUNDS_GONE", 700)]


def test_the_rest_is_had_back_later_by_another_process_and_the_case_is_closed_by_that(
    desk, owner, executor_url, appender
):
    paid = spent(desk, 200)
    first = reversal(paid, "BLOCK")
    desk.hear(first)
    assert open_recoveries(owner) == [("PARTLY_RECALLED", 200)]
    second = reversal(paid, "BLOCK", first)
    with closing(Desk(executor_url, appender, desk.rail_address)) as other:
        other.open(GB29_0009=1_000)
        other.next_offset = desk.next_offset
        other.resume()
        other.hear(decision(payer="GB29-0009", payee=PAYEE, amount_minor=150))
        other.hear(second)
        assert (other.state(paid), other.reason(paid)) == ("SETTLED", "PARTLY_RECALLED")
        assert open_recoveries(owner) == [("PARTLY_RECALLED", 50)]
        other.hear(decision(payer="GB29-0009", payee=PAYEE, amount_minor=150))
        other.hear(reversal(paid, "BLOCK", second))
        assert (other.state(paid), other.balance(PAYER), other.balance(PAYEE)) == ("REVERSED", 1_000, 100)
        assert open_recoveries(owner) == []
        assert other.findings() == []


def test_a_part_that_the_rail_refuses_goes_back_to_the_beneficiary(executor_url, appender, rail_of, owner):
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(recall_refused_share=1.0)))) as desk:
        paid = spent(desk, 1)
        desk.hear(reversal(paid, "BLOCK"))
        assert (desk.state(paid), desk.reason(paid)) == ("SETTLED", "PART_RECALL_REFUSED")
        assert (desk.balance(PAYER), desk.balance(PAYEE)) == (300, 699)
        assert open_recoveries(owner) == [("PART_RECALL_REFUSED", 700)]
        assert desk.findings() == []


def test_a_part_in_doubt_is_asked_about_under_its_own_key_until_the_rail_says(
    executor_url, appender, rail_of, tmp_path
):
    address = rail_of()
    with closing(Desk(executor_url, appender, address)) as desk:
        paid = spent(desk, 1)
        desk.rail.close()
        desk.rail._connection.port = 1
        desk.hear(reversal(paid, "BLOCK"))
        assert (desk.state(paid), desk.balance("/clearing"), desk.findings()) == ("PART_RECALL_IN_DOUBT", 699, [])
    with closing(Desk(executor_url, appender, address)) as second:
        second.resume()
        assert second.retry() == 0
        assert (second.state(paid), second.balance(PAYER), second.balance("/clearing")) == ("SETTLED", 999, 0)
        keys = second.connection.execute("SELECT posting_id::text FROM ledger.posting WHERE step = 'RECALL_PART'")
        assert keys.fetchall() == [(posting_id(execution_of(paid), "RECALL_PART", 1),)]
        assert second.findings() == []


def test_a_reversal_to_allow_settles_the_case_of_a_failed_recall(desk, owner):
    """A rollback of the rollback: the payment is right after all, and nothing is missing."""
    paid = spent(desk, 700)
    undone = reversal(paid, "BLOCK")
    desk.hear(undone)
    assert open_recoveries(owner) == [("BENEFICIARY_FUNDS_GONE", 700)]
    desk.hear(reversal(paid, "ALLOW", undone))
    assert (open_recoveries(owner), desk.state(paid), desk.balance(PAYER)) == ([], "SETTLED", 300)
