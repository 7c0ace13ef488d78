"""A ledger that was put back from a backup is brought up to date with the rail, and nothing is paid twice."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.domain.identities import posting_id
from pipeline.domain.log import RecordUndecodable
from pipeline.execute.audit_wait_service import AuditBehind
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.execute.restoring import claim_store
from pipeline.execute.restoring.lives import told_sequence
from pipeline.execute.restoring.restore_service import RailDiffers
from pipeline.execute.restoring.stretch_topics import PositionAhead
from pipeline.review.recovery_store import Recovery, close_recovery
from tests.execute.given import PAYEE, PAYER, decision, execution_of, reversal, review
from tests.execute.restoring.past import Past, fund, told
from tests.known import appoint, identity
from tests.review.closings import forge_closing

OTHER = "GB29-0003"
STRANGER = "00000000-0000-4000-8000-000000000001"


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


def test_a_log_that_was_put_back_further_than_the_ledger_is_refused(past, owner):
    past.hear(decision("BLOCK"))
    owner.execute("SET session_replication_role = replica")
    owner.execute("UPDATE control.consumer_position SET next_offset = 5 WHERE consumer = 'executor'")
    with pytest.raises(PositionAhead):
        past.restore()


def test_a_life_that_was_lost_with_its_database_is_not_lived_again(past):
    """Else it would tell other records under the ids that the lost one used."""
    past.publish(decision("BLOCK"))
    assert past.restore(told=[told(STRANGER, told_sequence(4, 9))]).life == 5


def test_it_can_be_run_again(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    paid = decision()
    past.hear(paid)
    past.put_back(copy)
    assert [past.restore().life, past.restore().life] == [2, 3]
    assert past.desk.state(paid) == "SETTLED"
    assert past.books()["counts"] == {"ACCEPTED": 1}


@pytest.fixture
def refused_then_paid(rail_of, stack, postgres, database_url, appender):
    """A ledger that was put back to before a payment whose first transfer the rail refused, and whose second it paid.

    The payer had what the payment took, and nothing besides.
    """
    rail = rail_of(Misbehaviour(refused_share=0.5))
    with closing(Past(stack.bootstrap_servers, postgres, database_url, appender, rail)) as past:
        names = [f"GB29_10{number:02}" for number in range(40)]
        past.desk.open(GB29_0002=0, **dict.fromkeys(names, 700))
        copy = past.back_up()
        for name in names:
            found = decision(payer=name.replace("_", "-"))
            past.hear(found)
            if past.desk.state(found) == "REFUSED":
                past.hear(reversal(found, "ALLOW"))
                if past.desk.state(found) == "SETTLED":
                    break
        else:
            raise AssertionError("of 40 payments one is refused first and paid then")
        past.put_back(copy)
        yield past, found


def test_what_the_rail_refused_first_and_then_paid_is_walked_as_it_was(refused_then_paid):
    past, paid = refused_then_paid
    before = past.entries()
    restored = past.restore()
    assert past.desk.state(paid) == "SETTLED"
    assert past.desk.steps(paid).count("SUBMIT") == 2
    assert (past.desk.balance(paid.account_id), past.cases(), restored.leftovers) == (0, [], [])
    again = decision(payer=paid.account_id)
    past.hear(again)
    assert past.desk.reason(again) == "INSUFFICIENT_FUNDS"
    assert past.entries() == before
    assert past.desk.findings() == []


def test_money_that_the_rail_took_and_no_record_leads_to_is_not_spent_again(past):
    past.desk.open(GB29_0001=1_000, GB29_0002=0)
    blocked = decision("BLOCK")
    past.hear(blocked)
    with closing(Rail(past._rail)) as rail:
        rail.pay([Transfer(posting_id(execution_of(blocked), "SUBMIT", 1), PAYER, PAYEE, "GBP", 700)])
    past.restore(since=datetime.now(UTC) - timedelta(hours=1))
    refused, paid = decision(amount_minor=301), decision(amount_minor=300)
    past.hear(refused, paid)
    assert (past.desk.reason(refused), past.desk.state(paid)) == ("INSUFFICIENT_FUNDS", "SETTLED")
    past.hear(reversal(blocked, "ALLOW"))  # its own claim is no funds for it either: a person sees to it
    assert past.desk.reason(blocked) == "INSUFFICIENT_FUNDS"
    assert past.desk.findings() == []


@pytest.fixture
def taken(past):
    """The rail has taken all from the payer, and no record leads to that: it is set aside, and a case is open."""
    past.desk.open(GB29_0001=700, GB29_0002=0)
    blocked = decision("BLOCK")
    past.hear(blocked)
    with closing(Rail(past._rail)) as rail:
        rail.pay([Transfer(posting_id(execution_of(blocked), "SUBMIT", 1), PAYER, PAYEE, "GBP", 700)])
    past.restore(since=datetime.now(UTC) - timedelta(hours=1))
    return blocked


def test_a_closed_case_gives_free_what_it_set_aside(past, taken, owner):
    appoint(owner, {"sue": "SENIOR_REVIEWER"})
    said = close_recovery(owner, taken.decision_id, identity("sue"), "The bank has made up for it.", 20)
    assert isinstance(said, Recovery)
    paid = decision()
    past.hear(paid)
    assert past.desk.state(paid) == "SETTLED"


def test_a_closing_that_nobody_signed_gives_nothing_free_and_keeps_nobody_from_closing(past, taken, owner):
    """By whoever has the review role's credential: else what the rail has taken is spent a second time."""
    appoint(owner, {"sue": "SENIOR_REVIEWER"})
    forge_closing(owner)
    for _ in range(3):
        forge_closing(owner)
    thief, paid = decision(), decision()
    past.hear(thief)
    assert past.desk.reason(thief) == "INSUFFICIENT_FUNDS"
    said = close_recovery(owner, taken.decision_id, identity("sue"), "The bank has made up for it.", 20)
    assert isinstance(said, Recovery)
    past.hear(paid)
    assert past.desk.state(paid) == "SETTLED"


def test_rows_that_nobody_signed_hold_no_payment_up_however_many_there_are(past, taken, owner, monkeypatch):
    """A look proves so many, and the next goes on; the one that counts comes behind them."""
    monkeypatch.setattr(claim_store, "PROOFS_A_LOOK", 2)
    appoint(owner, {"sue": "SENIOR_REVIEWER"})
    for _ in range(5):
        forge_closing(owner)
    assert isinstance(close_recovery(owner, taken.decision_id, identity("sue"), "It is made up for.", 10), Recovery)
    paid = [decision() for _ in range(3)]
    for each in paid:
        past.hear(each)
    assert [past.desk.reason(each) for each in paid] == ["INSUFFICIENT_FUNDS", "INSUFFICIENT_FUNDS", None]


def test_another_restore_sets_nothing_aside_twice(past, taken):
    """The payment has taken steps since, so the same leftover is another case."""
    past.hear(reversal(taken, "ALLOW"))
    assert past.desk.reason(taken) == "INSUFFICIENT_FUNDS"
    past.restore(since=datetime.now(UTC) - timedelta(hours=1))
    ((aside_minor,),) = past.desk.connection.execute("SELECT sum(amount_minor) FROM ledger.claim").fetchall()
    assert aside_minor == 700


def test_what_the_rail_took_back_from_a_payee_is_not_spent_by_them(past):
    """The recall is heard on another partition, behind a payment of the payee's that the rail has never met."""
    past.desk.open(GB29_0001=10_000, GB29_0002=0, GB29_0003=0)
    paid, spent = decision(), decision(payer=PAYEE, payee=OTHER)
    past.hear(paid, age_s=100)
    copy = past.back_up()
    past.hear(reversal(paid, "BLOCK"), age_s=20)
    assert past.desk.state(paid) == "REVERSED"
    past.publish(spent, partition=1, age_s=50)
    past.put_back(copy)
    restored = past.restore()
    assert (past.desk.state(paid), past.desk.reason(spent)) == ("REVERSED", "INSUFFICIENT_FUNDS")
    assert not restored.leftovers
    assert past.desk.findings() == []


@pytest.mark.parametrize("how", ["the payee was funded after the backup", "the partitions come in another order"])
@pytest.mark.parametrize("share", [1, 2])
def test_a_recall_is_taken_over_though_the_ledger_has_no_funds_for_it(past, how, share):
    past.desk.open(GB29_0001=10_000, GB29_0002=0, GB29_0003=0)
    paid = decision()
    past.hear(paid, age_s=100)
    past.hear(decision(payer=PAYEE, payee=OTHER), age_s=90)  # the payee has spent it
    copy = past.back_up()
    if "funded" in how:
        fund(past.desk, PAYEE, 700 // share)
    else:
        past.hear(decision(amount_minor=700 // share), partition=1, age_s=10)
    past.hear(reversal(paid, "BLOCK"), age_s=20)
    was = past.desk.state(paid), past.desk.reason(paid), past.entries()
    assert was[0] == ("REVERSED" if share == 1 else "SETTLED")
    past.put_back(copy)
    restored = past.restore()
    assert (past.desk.state(paid), past.desk.reason(paid), past.entries()) == was
    assert restored.life == 2
    assert not restored.leftovers


def test_an_unproved_record_that_is_no_payment_is_passed_over(past):
    past.desk.open(GB29_0001=10_000)
    copy = past.back_up()
    paid, later = decision(), decision()
    past.hear(paid)
    past.forge(decision(payer="GB29-0001/held"))
    past.publish(later)
    past.put_back(copy)
    past.restore()
    assert [past.desk.state(each) for each in (paid, later)] == ["SETTLED", "SETTLED"]
    assert {(each.partition, each.offset) for each in past.noted} == {(0, 1)}


def test_a_record_that_is_no_payment_stops_it_until_people_put_it_aside(past):
    past.desk.open(GB29_0001=10_000)
    past.publish(decision(payer="GB29-0001/held"), decision())
    with pytest.raises(RecordUndecodable):
        past.restore()
    past.put_aside_by_people.add((0, 0))
    assert past.restore().life == 2
    assert past.books()["counts"] == {"ACCEPTED": 1}


def test_an_unproved_decision_with_the_id_of_another_hides_nothing(past):
    past.desk.open(GB29_0001=10_000, GB29_0002=0, GB29_0003=0)
    paid = decision()
    past.hear(paid)
    past.hear(decision(payer=PAYEE, payee=OTHER))
    copy = past.back_up()
    fund(past.desk, PAYEE, 700)
    past.forge(decision()._replace(decision_id=paid.decision_id))
    past.hear(reversal(paid, "BLOCK"))
    assert past.desk.state(paid) == "REVERSED"
    past.put_back(copy)
    restored = past.restore()
    assert (past.desk.state(paid), restored.leftovers) == ("REVERSED", [])


def test_it_waits_for_the_audit_log_before_the_rail_is_asked(past):
    past.publish(decision())
    with past._reader() as reader, pytest.raises(AuditBehind):
        list(past._stretch(reader).records({partition: 0 for partition in reader.extents(past.topic)}))


def test_what_no_executor_can_have_told_does_not_choose_the_life(past):
    past.publish(decision("BLOCK"))
    assert past.restore(told=[told("x", 5), told(STRANGER, 2**63 - 1)]).life == 2
