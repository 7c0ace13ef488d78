"""The executor on real PostgreSQL, with a real rail, a batch at a time."""

from __future__ import annotations

from tests.execute.given import PAYEE, PAYER, decision, reversal, review


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
    desk.hear(held, reversal(held, "BLOCK"))
    desk.hear(reversal(held, "ESCALATE"), review(held, "ALLOW"))
    assert (desk.state(held), desk.balance(PAYEE)) == ("HELD", 0)
    desk.hear(review(held, "ALLOW", 2))
    assert (desk.state(held), desk.balance(PAYEE)) == ("SETTLED", 700)
    assert desk.findings() == []


def test_a_blocked_payment_is_released_for_a_new_decision(desk):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    desk.hear(blocked)
    desk.hear(reversal(blocked, None))
    assert desk.state(blocked) == "RELEASED"
    desk.hear(reversal(blocked, "ALLOW"))
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
