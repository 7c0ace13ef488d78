"""The money of a saga, whatever it hears and however it ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.execute.postings import (
    CLEARING,
    MOVEMENTS,
    PART_STEPS,
    REVERSES,
    Funds,
    Limit,
    balances,
    posting_of,
    reserve_account,
)
from pipeline.execute.saga import Answer, Cause, Reason, Saga, State, Step
from tests.execute.walks import CAUSES, PAYMENT, Walk, walked

causes_heard = st.lists(st.sampled_from(CAUSES), max_size=8)


@settings(max_examples=300, deadline=None)
@given(causes_heard, st.data())
def test_sum_is_zero_after_every_posting(causes, data):
    """Invariant 1 (I6)."""
    walk = walked(data, causes)
    for count in range(len(walk.postings) + 1):
        assert sum(balances(walk.postings[:count]).values()) == 0
    for posting in walk.postings:
        is_part = Step(posting.step) in PART_STEPS
        assert 0 < posting.amount_minor <= PAYMENT.amount_minor
        assert is_part or posting.amount_minor == PAYMENT.amount_minor


@pytest.mark.parametrize("step", MOVEMENTS)
def test_a_payment_of_nothing_posts_nothing(step):
    saga = Saga(taken=dict.fromkeys(Step, 1))
    assert posting_of(PAYMENT, saga, step) is not None
    assert posting_of(PAYMENT._replace(amount_minor=0), saga, step) is None


@settings(max_examples=300, deadline=None)
@given(causes_heard, st.data())
def test_undoing_posts_the_same_the_other_way(causes, data):
    """Invariant 2 (I5)."""
    walk = walked(data, causes)
    by_id = {posting.posting_id: posting for posting in walk.postings}
    assert len(by_id) == len(walk.postings)
    for posting in walk.postings:
        assert (posting.reverses is not None) == (Step(posting.step) in REVERSES)
        if posting.reverses is not None:
            undone = by_id[posting.reverses]
            assert undone.source_account_id == posting.destination_account_id
            assert undone.destination_account_id == posting.source_account_id
            assert posting.amount_minor <= undone.amount_minor
            assert posting.step == Step.RECALL_PART or posting.amount_minor == undone.amount_minor


@settings(max_examples=300, deadline=None)
@given(causes_heard, st.data())
def test_at_rest_the_money_is_where_the_state_says(causes, data):
    """Invariant 3."""
    walk = walked(data, causes)
    walk.run([Answer.DONE] * 4)
    found = balances(walk.postings)
    held = found.get((reserve_account(PAYMENT.account_id), "GBP"), 0)
    paid = found.get((PAYMENT.beneficiary_account_id, "GBP"), 0)
    assert found.get((CLEARING, "GBP"), 0) == 0
    assert held == (PAYMENT.amount_minor if walk.saga.state is State.HELD else 0)
    out_minor = PAYMENT.amount_minor - walk.recalled.returned_minor
    assert paid == (out_minor if walk.saga.state is State.SETTLED else 0)
    assert found.get((PAYMENT.account_id, "GBP"), 0) == -held - paid


@settings(max_examples=300, deadline=None)
@given(causes_heard, st.data())
def test_no_account_falls_below_its_limit(causes, data):
    """Invariant 4: after every posting, for the payer, and for a beneficiary that a recall takes from."""
    walk = walked(data, causes)
    for count in range(len(walk.postings) + 1):
        found = balances(walk.postings[:count])
        payer = walk.balance_minor + found.get((PAYMENT.account_id, "GBP"), 0)
        assert payer >= min(walk.balance_minor, 0)
    for posting, before in zip(walk.postings, range(len(walk.postings)), strict=True):
        if posting.step in (Step.RECALL, Step.RECALL_PART):
            payee = balances(walk.postings[:before]).get((PAYMENT.beneficiary_account_id, "GBP"), 0)
            assert walk.beneficiary_minor + payee >= posting.amount_minor


@pytest.mark.parametrize(("balance_minor", "is_enough"), [(699, False), (700, True), (701, True)])
def test_funds_are_enough_to_the_penny(balance_minor, is_enough):
    walk = Walk(balance_minor)
    walk.hear(Cause.DECIDED_ALLOW)
    assert (walk.saga.state is State.SUBMITTED) == is_enough
    assert bool(walk.postings) == is_enough


@pytest.mark.parametrize(("overdraft_minor", "reason"), [(199, Reason.INSUFFICIENT_FUNDS), (200, None)])
def test_an_overdraft_counts_as_funds(overdraft_minor, reason):
    funds = Funds({(PAYMENT.account_id, "GBP"): Limit(500, overdraft_minor)})
    assert funds.refusal(PAYMENT, Saga()) is reason


@pytest.mark.parametrize(("balance_minor", "there_minor"), [(-10, 0), (0, 0), (499, 499), (9_000, 9_000)])
def test_a_recall_takes_no_overdraft(balance_minor, there_minor):
    funds = Funds({(PAYMENT.beneficiary_account_id, "GBP"): Limit(balance_minor, 100_000)})
    assert funds.recallable_minor(PAYMENT, Saga()) == there_minor


@pytest.mark.parametrize("aim", [Cause.REVERSED_TO_ESCALATE, Cause.REVERSED_TO_NOTHING])
def test_a_part_is_neither_held_for_review_nor_decided_anew(aim):
    walk = Walk(1_000, beneficiary_minor=-1)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    walk.hear(aim)
    walk.run([])
    assert walk.transitions[-2].reason is Reason.BENEFICIARY_FUNDS_GONE


def test_the_part_that_is_there_is_had_back_and_the_rest_once_it_is():
    walk = Walk(1_000, beneficiary_minor=-1)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([Answer.DONE])
    assert walk.transitions[-2].reason is Reason.PARTLY_RECALLED
    assert (walk.saga.state, walk.recalled.returned_minor, walk.out_minor) == (State.SETTLED, 699, 1)
    walk.beneficiary_minor = 10
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([Answer.DONE])
    assert (walk.saga.state, walk.out_minor) == (State.REVERSED, 0)
    assert balances(walk.postings)[PAYMENT.account_id, "GBP"] == 0
    walk.hear(Cause.REVERSED_TO_ALLOW)
    walk.run([Answer.DONE])
    assert (walk.saga.state, walk.out_minor, walk.recalled.returned_minor) == (State.SETTLED, 700, 0)


def test_an_account_that_was_never_opened_pays_nothing():
    walk = Walk(5_000, is_open=False)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([])
    assert walk.saga.state is State.REFUSED
    assert [transition.reason for transition in walk.transitions] == [Reason.ACCOUNT_NOT_OPEN, None]
    assert not walk.postings


def test_a_batch_spends_a_balance_once():
    funds = Funds({(PAYMENT.account_id, "GBP"): Limit(1_000, 0)})
    assert funds.refusal(PAYMENT, Saga()) is None
    walk = Walk(1_000)
    walk.hear(Cause.DECIDED_ALLOW)
    funds.apply(walk.postings[0])
    assert funds.refusal(PAYMENT, Saga()) is Reason.INSUFFICIENT_FUNDS


def test_a_beneficiary_who_has_spent_it_keeps_the_payment_settled():
    walk = Walk(1_000, beneficiary_minor=-700)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([])
    assert walk.transitions[-2].reason is Reason.BENEFICIARY_FUNDS_GONE
    assert walk.saga.state is State.SETTLED


def test_every_way_back_undoes_a_way_there():
    for undoing, undone in REVERSES.items():
        assert MOVEMENTS[undoing] == MOVEMENTS[undone][::-1]
