"""Cases about payments that the ledger doesn't hold: nobody is asked to decide what moves nothing."""

from __future__ import annotations

import pytest

from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState
from pipeline.review.case_store import cases_by_name
from pipeline.review.cases import Kind, State
from tests.explain.bank import Bank

OPEN = Mode(BreakerState.OPEN, "all", False)


@pytest.fixture
def bank(stack, database_url, rail_address, tmp_path):
    bank = Bank(stack.bootstrap_servers, database_url, rail_address, tmp_path)
    yield bank
    bank.close()


def last_of(bank, transaction_id):
    return cases_by_name(bank.owner, transaction_id)[-1]


def test_the_case_of_an_unfunded_escalation_is_withdrawn_and_a_held_one_stays(bank):
    held = bank.decide("tx-held", OPEN, amount_minor=600_000, is_new_beneficiary=1)
    unfunded = bank.decide("tx-unfunded", OPEN, amount_minor=600_000, is_new_beneficiary=1)
    bank.settle()
    bank.withdraw_unheld()
    assert last_of(bank, held).standing.state is State.OPEN
    file = last_of(bank, unfunded)
    assert (file.standing.state, file.events[-1].kind) == (State.CLOSED, Kind.WITHDRAWN)
    assert file.events[-1].reason == "The payment is not held (INSUFFICIENT_FUNDS), so there is nothing to decide."
    bank.withdraw_unheld()
    assert last_of(bank, unfunded).events == file.events
