"""The executor on real PostgreSQL, with a real rail, a batch at a time."""

from __future__ import annotations

from uuid import uuid4

import pytest

from ops.bench.rig.stored import Tail
from tests.execute.given import PAYEE, PAYER, WIRE, decision, reversal, review


def second_decision(of, outcome="ALLOW"):
    """Another decision about the same payment, as of one that came late."""
    return decision(outcome, transaction_id=of.transaction_id)._replace(decision_id=str(uuid4()))


def decided_again(stack, about):
    """The causes that alerts name about the decision."""
    alerts = [WIRE.decode_alert(found.value) for found in Tail(stack.bootstrap_servers, "alerts.v1").news()]
    told = [alert.evidence for alert in alerts if alert.code == "DECIDED_AGAIN"]
    return sorted(evidence["cause"] for evidence in told if evidence["decision_id"] == about.decision_id)


def ignored(owner, record):
    """What changed nothing about the record's payment."""
    query = "SELECT cause, ignored FROM ledger.cause WHERE ignored IS NOT NULL AND cause_id = %s"
    return owner.execute(query, [record.decision_id]).fetchall()


def test_two_payments_with_one_transaction_id_are_both_paid(desk):
    desk.open(GB29_0001=1_000)
    first = decision(amount_minor=700)
    second = decision(amount_minor=200, transaction_id=first.transaction_id)
    assert first.decision_id != second.decision_id
    desk.hear(first, second)
    assert (desk.state(first), desk.state(second), desk.balance(PAYEE)) == ("SETTLED", "SETTLED", 900)
    desk.hear(reversal(second, "BLOCK"))
    assert (desk.state(first), desk.state(second), desk.balance(PAYEE)) == ("SETTLED", "REVERSED", 700)
    assert desk.findings() == []


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_second_decision_on_a_payment_is_told_and_not_executed(desk, owner, stack, is_one_batch):
    desk.open(GB29_0001=10_000)
    first = decision("BLOCK")
    second = second_decision(first)
    for batch in ([first, second],) if is_one_batch else ([first], [second]):
        desk.hear(*batch)
    assert (desk.state(first), desk.balance(PAYEE)) == ("REFUSED", 0)
    assert ignored(owner, second) == [("DECIDED_ALLOW", "ALREADY_DECIDED")]
    assert decided_again(stack, second) == ["DECIDED_ALLOW"]
    desk.hear(second)
    assert decided_again(stack, second) == ["DECIDED_ALLOW"]
    assert desk.findings() == []


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_what_is_said_about_a_second_decision_is_told_and_changes_nothing(desk, stack, is_one_batch):
    desk.open(GB29_0001=10_000)
    first = decision("ESCALATE")
    second = second_decision(first, "ESCALATE")
    records = [first, second, review(second, "ALLOW"), reversal(second, "ALLOW")]
    for batch in (records,) if is_one_batch else ([record] for record in records):
        desk.hear(*batch)
    assert (desk.state(first), desk.balance(PAYEE)) == ("HELD", 0)
    assert decided_again(stack, second) == ["DECIDED_ESCALATE", "REVERSED_TO_ALLOW", "REVIEWED_ALLOW"]
    desk.hear(review(first, "ALLOW"))
    assert (desk.state(first), desk.balance(PAYEE)) == ("SETTLED", 700)


def test_a_second_decision_opens_no_round_of_the_first_ones_review(desk):
    """Its ESCALATE must not make the review of the first round one of an earlier round."""
    desk.open(GB29_0001=10_000)
    held = decision("ESCALATE")
    desk.hear(held)
    desk.hear(second_decision(held, "ESCALATE"))
    desk.hear(review(held, "ALLOW"))
    assert desk.state(held) == "SETTLED"


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_reversal_before_its_decision_stops_the_payment_for_good(desk, is_one_batch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    early = reversal(paid, "ALLOW")
    for batch in ([early, paid],) if is_one_batch else ([early], [paid]):
        desk.hear(*batch)
    assert (desk.state(paid), desk.reason(paid)) == ("REFUSED", "OUT_OF_ORDER")
    desk.hear(early)
    assert (desk.state(paid), desk.balance(PAYEE)) == ("REFUSED", 0)


def test_an_allowed_payment_is_settled(desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    assert desk.state(paid) == "SETTLED"
    assert desk.steps(paid) == ["RESERVE", "DEBIT", "SUBMIT", "CREDIT", "COMPLETE"]
    assert (desk.balance(PAYER), desk.balance(PAYEE), desk.balance("/clearing")) == (300, 700, 0)
    assert desk.findings() == []


def test_a_blocked_payment_moves_nothing(desk):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    desk.hear(blocked)
    assert desk.steps(blocked) == ["REFUSE"]
    assert (desk.state(blocked), desk.balance(PAYER)) == ("REFUSED", 1_000)


def test_an_escalated_payment_is_held_until_its_review(desk):
    desk.open(GB29_0001=2_000)
    allowed, refused = decision("ESCALATE"), decision("ESCALATE")
    desk.hear(allowed, refused)
    assert desk.states() == {"HELD": 2}
    assert (desk.balance(PAYER), desk.balance(f"{PAYER}/held")) == (600, 1_400)
    desk.hear(review(allowed, "ALLOW"), review(refused, "BLOCK"))
    assert (desk.state(allowed), desk.state(refused)) == ("SETTLED", "REFUSED")
    assert (desk.balance(PAYER), desk.balance(f"{PAYER}/held"), desk.balance(PAYEE)) == (1_300, 0, 700)
    assert desk.findings() == []


def test_a_payment_without_funds_is_refused_whole(desk):
    desk.open(GB29_0001=1_000)
    first, second = decision(), decision()
    desk.hear(first, second)
    assert (desk.state(first), desk.state(second)) == ("SETTLED", "REFUSED")
    assert (desk.reason(second), desk.balance(PAYER)) == ("INSUFFICIENT_FUNDS", 300)


def test_an_account_that_was_never_opened_pays_nothing(desk):
    unknown = decision(payer="GB29-9999")
    desk.hear(unknown)
    assert (desk.state(unknown), desk.reason(unknown)) == ("REFUSED", "ACCOUNT_NOT_OPEN")


def test_every_record_twice_changes_nothing(desk):
    desk.open(GB29_0001=10_000)
    paid, held, blocked = decision(), decision("ESCALATE"), decision("BLOCK")
    reviewed = review(held, "ALLOW")
    taken_back = reversal(paid, "BLOCK")
    for record in (paid, held, blocked, reviewed, taken_back):
        desk.hear(record, record)
        desk.hear(record)
    assert (desk.state(paid), desk.state(held), desk.state(blocked)) == ("REVERSED", "SETTLED", "REFUSED")
    assert (desk.balance(PAYER), desk.balance(PAYEE)) == (9_300, 700)
    assert desk.findings() == []


def test_a_settled_payment_is_reversed(desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    desk.hear(reversal(paid, "BLOCK"))
    assert desk.state(paid) == "REVERSED"
    assert desk.steps(paid)[5:] == ["RECALL", "RECALLED", "UNDEBIT", "UNRESERVE", "REVERSE"]
    assert (desk.balance(PAYER), desk.balance(PAYEE)) == (1_000, 0)


def test_a_payment_of_nothing_settles_and_is_reversed_without_a_posting(desk, owner):
    desk.open(GB29_0001=1_000)
    checked = decision(amount_minor=0)
    desk.hear(checked)
    assert desk.state(checked) == "SETTLED"
    desk.hear(reversal(checked, "BLOCK"))
    assert (desk.state(checked), desk.balance(PAYER)) == ("REVERSED", 1_000)
    assert owner.execute("SELECT count(*) FROM ledger.posting WHERE step <> 'FUND'").fetchone() == (0,)
    assert desk.findings() == []


def test_a_settled_payment_goes_back_into_review(desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    desk.hear(reversal(paid, "ESCALATE"))
    assert (desk.state(paid), desk.balance(f"{PAYER}/held")) == ("HELD", 700)
    desk.hear(review(paid, "ALLOW"))
    assert (desk.state(paid), desk.balance(PAYEE)) == ("SETTLED", 700)


def test_a_review_of_an_earlier_round_decides_nothing(desk):
    """It was under way when two reversals sent the payment into another round."""
    desk.open(GB29_0001=1_000)
    held = decision("ESCALATE")
    undone = reversal(held, "BLOCK")
    desk.hear(held, undone)
    desk.hear(reversal(held, "ESCALATE", undone), review(held, "ALLOW"))
    assert (desk.state(held), desk.balance(PAYEE)) == ("HELD", 0)
    desk.hear(review(held, "ALLOW", 2))
    assert (desk.state(held), desk.balance(PAYEE)) == ("SETTLED", 700)
    assert desk.findings() == []


def test_a_blocked_payment_is_released_for_a_new_decision(desk):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    desk.hear(blocked)
    released = reversal(blocked, None)
    desk.hear(released)
    assert desk.state(blocked) == "RELEASED"
    desk.hear(reversal(blocked, "ALLOW", released))
    assert (desk.state(blocked), desk.balance(PAYER)) == ("RELEASED", 1_000)


def test_a_blocked_payment_is_paid_after_all(desk):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    desk.hear(blocked, reversal(blocked, "ALLOW"))
    assert (desk.state(blocked), desk.balance(PAYEE)) == ("SETTLED", 700)


def test_a_decision_and_its_reversal_in_one_batch(desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid, reversal(paid, "BLOCK"))
    assert desk.state(paid) == "REVERSED"
    assert desk.findings() == []


def test_a_beneficiary_who_spent_it_keeps_the_payment_settled(desk):
    desk.open(GB29_0001=1_000, GB29_0002=0, GB29_0003=0)
    paid = decision()
    desk.hear(paid)
    desk.hear(decision(payer="GB29-0002", payee="GB29-0003"))
    desk.hear(reversal(paid, "BLOCK"))
    assert (desk.state(paid), desk.reason(paid)) == ("SETTLED", "BENEFICIARY_FUNDS_GONE")
    assert desk.findings() == []


def test_a_reversal_before_its_decision_stops_it(desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(reversal(paid, "BLOCK"))
    assert desk.state(paid) == ""
    desk.hear(paid)
    assert (desk.state(paid), desk.reason(paid), desk.balance(PAYER)) == ("REFUSED", "OUT_OF_ORDER", 1_000)


def test_a_balance_of_any_past_time(desk, owner):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    desk.hear(reversal(paid, "BLOCK"))
    query = "SELECT sum(amount_minor)::bigint FROM ledger.entry WHERE account_id = %s AND event_time <= %s"
    times = {"2025-11-25T12:30:00Z": 300, "2025-11-25T13:30:00Z": 1_000}
    assert {at: owner.execute(query, [PAYER, at]).fetchone()[0] for at in times} == times
