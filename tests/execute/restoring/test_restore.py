"""A ledger that was put back from a backup is brought up to date with the rail, and nothing is paid twice."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.domain.identities import posting_id
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.execute.restoring.lives import told_sequence
from pipeline.execute.restoring.restore_service import RailDiffers
from pipeline.execute.restoring.stretch_topics import PositionAhead
from tests.execute.given import PAYEE, PAYER, decision, execution_of, reversal, review
from tests.execute.restoring.past import Past, told

OTHER = "GB29-0003"


@pytest.fixture
def past(stack, postgres, database_url, appender, rail_of):
    with closing(Past(stack.bootstrap_servers, postgres, database_url, appender, rail_of())) as past:
        yield past


def test_what_was_paid_after_the_backup_is_taken_over_and_not_paid_again(past):
    past.desk.open(GB29_0001=10_000)
    before, after, blocked = decision(), decision(), decision("BLOCK")
    past.hear(before)
    copy = past.back_up()
    past.hear(after, blocked)
    past.put_back(copy)
    assert past.desk.state(after) == ""
    restored = past.restore()
    assert [past.desk.state(each) for each in (before, after, blocked)] == ["SETTLED", "SETTLED", "REFUSED"]
    assert past.books() == {"counts": {"ACCEPTED": 2}, "paid_minor": {"GBP": 1_400}, "refused_duplicates": 0}
    assert restored.life == 2
    assert restored.counts["transfers_paid"] == 1
    assert not restored.leftovers
    assert past.causes(after) == {"RESTORE"}
    assert past.desk.balance(PAYER) == 8_600
    assert past.desk.findings() == []


def test_what_was_decided_and_not_paid_is_paid_now_once(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    new = decision()
    past.publish(new)
    past.put_back(copy)
    past.restore()
    assert past.desk.state(new) == "SETTLED"
    assert past.books()["counts"] == {"ACCEPTED": 1}


def test_what_the_rail_has_paid_goes_before_what_it_has_not(past):
    """Heard in the order of time, the payment of 700 that was refused would take what another was paid with."""
    past.desk.open(GB29_0001=700, GB29_0002=0)
    copy = past.back_up()
    incoming = decision(amount_minor=700)
    refused = decision(amount_minor=700, payer=PAYEE, payee=OTHER)
    paid = decision(amount_minor=700, payer=PAYEE, payee=OTHER)
    past.hear(incoming, age_s=30)
    past.hear(paid, age_s=10)
    past.hear(refused, partition=1, age_s=20)
    assert (past.desk.state(paid), past.desk.reason(refused)) == ("SETTLED", "INSUFFICIENT_FUNDS")
    past.put_back(copy)
    past.restore()
    assert (past.desk.state(paid), past.desk.reason(refused)) == ("SETTLED", "INSUFFICIENT_FUNDS")
    assert past.books()["counts"] == {"ACCEPTED": 2}
    assert past.desk.balance(PAYEE) == 0
    assert past.desk.findings() == []


def test_what_the_rail_has_paid_is_so_though_the_ledger_has_no_funds_for_it(past):
    """The account was opened and funded after the backup: the ledger would say REFUSED where the rail says ACCEPTED."""
    copy = past.back_up()
    past.desk.open(GB29_0001=10_000)
    paid = decision()
    past.hear(paid)
    past.put_back(copy)
    past.restore()
    assert past.desk.state(paid) == "SETTLED"
    assert past.desk.reason(paid) is None
    assert past.desk.balance(PAYER) == -700
    assert past.books()["refused_duplicates"] == 0


def test_recalls_are_taken_over_with_the_amounts_that_they_had(past):
    past.desk.open(GB29_0001=10_000, GB29_0002=0)
    whole, part = decision(), decision(payee=OTHER)
    past.hear(whole, part)
    copy = past.back_up()
    past.desk.open(GB29_0003=0)
    past.hear(decision(amount_minor=400, payer=OTHER))
    past.hear(reversal(whole, "BLOCK"), reversal(part, "BLOCK"))
    assert (past.desk.state(whole), past.desk.reason(part)) == ("REVERSED", "PARTLY_RECALLED")
    before, books = past.entries(), past.books()
    past.put_back(copy)
    restored = past.restore()
    assert (past.desk.state(whole), past.desk.reason(part)) == ("REVERSED", "PARTLY_RECALLED")
    assert past.entries() == before
    assert past.books() == books
    assert restored.counts["recalls_known"] == 2
    assert past.desk.findings() == []


def test_a_payment_that_was_paid_recalled_and_paid_again_is_so_once_more(past):
    past.desk.open(GB29_0001=10_000, GB29_0002=0)
    copy = past.back_up()
    paid = decision()
    blocked = reversal(paid, "BLOCK")
    past.hear(paid)
    past.hear(blocked)
    past.hear(reversal(paid, "ALLOW", after=blocked))
    before, steps = past.entries(), past.desk.steps(paid)
    past.put_back(copy)
    past.restore()
    assert past.desk.steps(paid) == steps
    assert past.entries() == before
    assert past.desk.balance(PAYER) == 9_300


def test_what_the_rail_refused_stays_refused(rail_of, stack, postgres, database_url, appender):
    rail = rail_of(Misbehaviour(refused_share=1.0))
    with closing(Past(stack.bootstrap_servers, postgres, database_url, appender, rail)) as past:
        past.desk.open(GB29_0001=10_000)
        copy = past.back_up()
        refused = decision()
        past.hear(refused)
        past.put_back(copy)
        restored = past.restore()
        assert (past.desk.state(refused), past.desk.reason(refused)) == ("REFUSED", "RAIL_REFUSED")
        assert restored.counts["transfers_paid"] == 0
        assert past.books()["refused_duplicates"] == 0


def test_a_review_made_after_the_backup_is_heard_again(past):
    past.desk.open(GB29_0001=10_000)
    held = decision("ESCALATE")
    past.hear(held)
    copy = past.back_up()
    past.hear(review(held, "ALLOW"))
    past.put_back(copy)
    past.restore()
    assert past.desk.state(held) == "SETTLED"
    assert past.books()["counts"] == {"ACCEPTED": 1}


def test_a_key_older_than_the_rail_keeps_keys_is_never_paid_again(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    old, known = decision(), decision()
    past.hear(known, age_s=3 * 86_400)
    past.publish(old, age_s=2 * 86_400)
    past.put_back(copy)
    past.restore()
    assert (past.desk.state(known), past.desk.state(old)) == ("SETTLED", "IN_DOUBT")
    assert past.desk.retry() == 0
    assert past.desk.state(old) == "IN_DOUBT"
    assert past.cases() == ["RAIL_KEY_FORGOTTEN"]
    assert past.books()["counts"] == {"ACCEPTED": 1}


def test_a_recall_is_as_old_as_the_reversal_that_asked_for_it(past):
    past.desk.open(GB29_0001=10_000, GB29_0002=0)
    old = decision()
    past.hear(old, age_s=3 * 86_400)
    copy = past.back_up()
    past.publish(reversal(old, "BLOCK"), age_s=60)
    past.put_back(copy)
    past.restore()
    assert past.desk.state(old) == "REVERSED"
    assert past.cases() == []


def test_what_no_record_leads_to_is_a_persons(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    blocked, paid = decision("BLOCK"), decision()
    past.hear(blocked, paid)
    with closing(Rail(past._rail)) as rail:
        pays = Transfer(posting_id(execution_of(blocked), "SUBMIT", 1), PAYER, PAYEE, "GBP", 700)
        takes_back = Recall(posting_id(execution_of(paid), "RECALL", 1), posting_id(execution_of(paid), "SUBMIT", 1), 9)
        rail.pay([pays])
        rail.recall([takes_back])
    past.put_back(copy)
    restored = past.restore()
    found = {(each.attempt.execution_id, each.attempt.step.value, each.amount_minor) for each in restored.leftovers}
    assert found == {(execution_of(blocked), "SUBMIT", 700), (execution_of(paid), "RECALL", 9)}
    assert past.cases() == ["RAIL_PAID_OTHERWISE", "RAIL_PAID_OTHERWISE"]
    assert past.desk.state(blocked) == "REFUSED"


def test_what_the_ledger_has_come_to_is_asked_about_where_that_is_wanted(past):
    """A ledger that was put back unnoticed, and whose executor went on: REFUSED there, ACCEPTED at the rail."""
    refused = decision()
    past.hear(refused)
    assert past.desk.reason(refused) == "ACCOUNT_NOT_OPEN"
    with closing(Rail(past._rail)) as rail:
        rail.pay([Transfer(posting_id(execution_of(refused), "SUBMIT", 1), PAYER, PAYEE, "GBP", 700)])
    assert not past.restore().leftovers
    restored = past.restore(since=datetime.now(UTC) - timedelta(hours=1))
    assert [each.attempt.execution_id for each in restored.leftovers] == [execution_of(refused)]
    assert past.cases() == ["RAIL_PAID_OTHERWISE"]


def test_another_payment_under_a_key_of_ours_stops_it_before_anything_is_paid(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    one, other = decision(), decision()
    past.publish(one, other)
    with closing(Rail(past._rail)) as rail:
        rail.pay([Transfer(posting_id(execution_of(one), "SUBMIT", 1), PAYER, PAYEE, "GBP", 701)])
    past.put_back(copy)
    with pytest.raises(RailDiffers, match="SUBMIT 1 of execution"):
        past.restore()
    assert past.desk.state(other) == ""
    assert past.books()["counts"] == {"ACCEPTED": 1}


def test_a_log_that_was_put_back_further_than_the_ledger_is_refused(past):
    past.hear(decision("BLOCK"))
    past.desk.execution.heard.advance(past.desk.connection, 0, 1, 5)
    with pytest.raises(PositionAhead):
        past.restore()


def test_a_life_that_was_lost_with_its_database_is_not_lived_again(past):
    """Else it would tell other records under the ids that the lost one used."""
    past.publish(decision("BLOCK"))
    assert past.restore(told=[told("x", told_sequence(4, 9))]).life == 5


def test_it_can_be_run_again(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    paid = decision()
    past.hear(paid)
    past.put_back(copy)
    assert [past.restore().life, past.restore().life] == [2, 3]
    assert past.desk.state(paid) == "SETTLED"
    assert past.books()["counts"] == {"ACCEPTED": 1}
