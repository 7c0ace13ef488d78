"""`fraud explain` about payments whose whole life the real services have written."""

from __future__ import annotations

import json
import re
from html import escape

import pytest

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import decision_id, execution_id
from pipeline.domain.log import Source
from pipeline.domain.payment import payment_digest
from pipeline.explain.life import NotShown
from pipeline.explain.text_page import whole_lines
from pipeline.explain.whole_command import CONTRADICTED, FROM_AUDIT_LOG, FROM_BOTH, FROM_TOPIC, whole
from pipeline.review.cases import Judgement
from pipeline.rollback.reversal import released_id
from tests.archive import OPEN
from tests.decisions import written
from tests.known import identity
from tests.rollback.stand import WIRE

SUSPICIOUS = {"ip_fraud_reports": 1}
REASON = "called the customer, who knows the payee"


@pytest.fixture
def explained(bank):
    return lambda wanted: whole(bank.settings, WIRE, wanted, None)


def told_kinds(told):
    return [moment.kind for moment in told.timeline]


def in_order(told, *kinds):
    """These moments are there, and in this order among themselves."""
    found = [kind for kind in told_kinds(told) if kind in kinds]
    return list(dict.fromkeys(found)) == list(kinds)


def test_an_allowed_payment_is_told_from_being_made_to_being_settled(bank, explained):
    bank.decide("tx-allowed")
    bank.settle()
    told = explained("tx-allowed")
    assert told.origin == FROM_BOTH
    assert told_kinds(told)[:3] == ["PAYMENT_MADE", "PUBLISHED", "DECIDED"]
    execution = [kind for kind in told_kinds(told) if kind.startswith(("HEARD", "STEP", "POSTED"))]
    assert execution == [
        "HEARD", "STEP_RESERVE", "POSTED", "STEP_DEBIT", "POSTED", "STEP_SUBMIT", "STEP_CREDIT", "POSTED",
        "STEP_COMPLETE",
    ]  # fmt: skip
    assert told.sentences[1] == "Since then nobody has reviewed the decision, and nobody has taken it back."
    assert told.sentences[2].startswith("The payment has been SETTLED since ")
    assert told.sentences[2].endswith("the beneficiary has the £123.45.")


def test_every_row_about_a_payment_is_in_its_timeline_once(bank, explained):
    """A reversed escalation: all tables have something to say."""
    bank.decide("tx-long", OPEN, **SUSPICIOUS)
    bank.settle()
    bank.desk.claim("tx-long", identity("ann"))
    bank.judge("tx-long", "ann", Judgement(Outcome.ALLOW, REASON))
    bank.publish_review("tx-long")
    bank.settle()
    bank.anchor()
    told = explained("tx-long")
    places = [moment.where for moment in told.timeline]
    decision = told.explained.decision
    ids = {"decision": decision.decision_id, "execution": execution_id(decision.snapshot.transaction)}
    for query, prefix in (
        ("SELECT posting_id::text FROM ledger.posting WHERE execution_id = %(execution)s", "ledger.posting "),
        ("SELECT cause_id::text FROM ledger.cause WHERE execution_id = %(execution)s", "ledger.cause "),
        (
            "SELECT sequence || ', ' || from_state || ' to ' || to_state FROM ledger.transition"
            " WHERE execution_id = %(execution)s",
            "ledger.transition ",
        ),
        (
            "SELECT 'round ' || round || ', event ' || sequence FROM review.case_event"
            " WHERE decision_id = %(decision)s",
            "review.case_event, ",
        ),
    ):
        rows = [prefix + row[0] for row in bank.owner.execute(query.encode(), ids).fetchall()]
        assert rows
        assert sorted(place for place in places if place.startswith(prefix)) == sorted(rows)
    assert told_kinds(told).count("AUDITED") == 2


def test_a_review_is_told_with_its_author_and_reason(bank, explained):
    bank.decide("tx-held", OPEN, **SUSPICIOUS)
    bank.settle()
    assert "it has been with reviewers since" in explained("tx-held").sentences[1]
    assert "is held on the payer's account until a person decides" in explained("tx-held").sentences[2]
    bank.desk.claim("tx-held", identity("ann"))
    bank.judge("tx-held", "ann", Judgement(Outcome.BLOCK, REASON))
    assert "ann decided BLOCK" in explained("tx-held").sentences[1]
    bank.publish_review("tx-held")
    bank.settle()
    told = explained("tx-held")
    assert in_order(told, "DECIDED", "CASE_OPENED", "CASE_CLAIMED", "CASE_DECIDED", "STEP_UNRESERVE", "STEP_REFUSE")
    [judged] = [moment for moment in told.timeline if moment.kind == "CASE_DECIDED"]
    assert (judged.by, judged.what) == ("ann", f"Decided BLOCK: {REASON}")
    assert "ann reviewed it at" in told.sentences[1]
    assert REASON in told.sentences[1]
    assert told.sentences[2].endswith("the payer has kept the £123.45.")


def test_a_reversed_payment_is_told_from_its_plan_to_the_money(bank, explained):
    bank.decide("tx-wrong", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    bank.apply(bank.plan("the model was trained on the wrong month", model_version="allows-all"))
    bank.settle()
    told = explained("tx-wrong")
    assert in_order(
        told, "STEP_COMPLETE", "ROLLBACK_PLANNED", "ROLLBACK_APPROVED", "ROLLBACK_STARTED", "REVERSED", "STEP_RECALL",
        "STEP_RECALLED", "STEP_UNDEBIT", "STEP_UNRESERVE", "STEP_REVERSE",
    )  # fmt: skip
    by = {moment.kind: moment.by for moment in told.timeline}
    assert (by["ROLLBACK_PLANNED"], by["ROLLBACK_APPROVED"], by["STEP_RECALLED"]) == ("rae", "abe", "payment rail")
    assert by["REVERSED"] == "rae, approved by abe"
    [completed] = [moment for moment in told.timeline if moment.kind == "ROLLBACK_COMPLETED"]
    assert (completed.by, completed.where) == ("audit service", "audit.reversal_log")
    assert "reversals of 1 decision." in completed.what
    assert "taken back, from ALLOW to BLOCK, as rae planned and abe approved" in told.sentences[1]
    assert "the model was trained on the wrong month" in told.sentences[1]
    assert told.sentences[2].endswith("the payer has the £123.45, and the beneficiary has nothing of it.")


def test_a_row_that_says_a_plan_was_carried_out_proves_nothing(bank, explained):
    """Whoever writes the progress of a rollback: nothing stands on the topic, and the ledger has moved nothing."""
    bank.decide("tx-wrong", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    plan_id = bank.plan("the model was trained on the wrong month", model_version="allows-all")
    bank.owner.execute("SET session_replication_role = replica")
    bank.owner.execute(
        "INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets)"
        " VALUES (%s, 1, 'COMPLETED', 'mallory', 1, '{}')",
        [plan_id],
    )
    told = explained("tx-wrong")
    assert {"ROLLBACK_COMPLETED", "REVERSED", "STEP_REVERSE"}.isdisjoint(told_kinds(told))
    [claimed] = [moment for moment in told.timeline if moment.kind == "ROLLBACK_UNPROVED"]
    assert claimed.by == "mallory"
    assert "which is not proved: 0 of 1 planned reversal on decisions.v1" in claimed.what
    assert told.sentences[2].endswith("the beneficiary has the £123.45.")


def test_a_plan_whose_reversals_all_stand_is_carried_out_whatever_its_rows_say(bank, explained):
    bank.decide("tx-wrong", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    bank.apply(bank.plan("the model was trained on the wrong month", model_version="allows-all"))
    bank.settle()
    bank.owner.execute("SET session_replication_role = replica")
    bank.owner.execute("DELETE FROM control.rollback_progress WHERE kind = 'COMPLETED'")
    assert "ROLLBACK_COMPLETED" in told_kinds(explained("tx-wrong"))
    bank.owner.execute("UPDATE audit.reversal_log SET plan_digest = 'another'")
    assert "ROLLBACK_COMPLETED" not in told_kinds(explained("tx-wrong")), "another plan's reversals prove nothing"


def test_a_payment_that_was_given_back_leads_to_its_new_decision_and_back(bank, explained):
    bank.decide("tx-stopped", by="blocks-all", amount_minor=5_000)
    bank.settle()
    bank.apply(bank.plan("the model blocked honest payments", model_version="blocks-all"))
    bank.settle()
    assert explained("tx-stopped").sentences[2].endswith("goes on under another id, which is yet to be decided.")
    released = released_id("tx-stopped", explained("tx-stopped").explained.decision.decision_id)
    bank.decide(released, amount_minor=5_000)
    bank.settle()
    told = explained("tx-stopped")
    assert f"{released}, which was allowed at" in told.sentences[2]
    assert told.sentences[2].endswith("and is SETTLED.")
    assert told_kinds(told)[-1] == "DECIDED_AFTER"
    assert told_kinds(explained(released))[0] == "DECIDED_BEFORE"


def test_the_place_in_the_audit_log_is_exact_and_names_the_first_head_over_it(bank, explained):
    for number in range(3):
        bank.decide(f"tx-{number}")
    bank.settle()
    bank.anchor()
    bank.decide("tx-3")
    bank.settle()
    for number in range(4):
        [audited] = explained(f"tx-{number}").life.audited
        assert (audited.position.first, audited.position.last) == (number, number)
        assert (audited.is_leaf_sound, audited.is_in_file) == (True, True)
        assert (None if audited.cover is None else audited.cover.head.tree_size) == (3 if number < 3 else None)


def test_without_the_files_the_topic_names_the_head_and_the_batch_bounds_the_place(bank, tmp_path):
    for number in range(3):
        bank.decide(f"tx-{number}")
    bank.settle()
    bank.anchor()
    settings = bank.settings.model_copy(update={"audit_directory": tmp_path / "elsewhere"})
    [audited] = whole(settings, WIRE, "tx-1", None).life.audited
    assert (audited.position.first, audited.position.last) == (0, 2)
    assert (audited.is_leaf_sound, audited.is_in_file) == (True, None)
    assert audited.cover.head.tree_size == 3
    assert audited.cover.key_id == bank.key.key_id


def test_an_altered_row_is_named(bank, explained):
    bank.decide("tx-altered")
    bank.settle()
    bank.owner.execute("SET session_replication_role = replica")
    bank.owner.execute("UPDATE audit.ai_decision_log SET leaf_hash = sha256('another')")
    told = explained("tx-altered")
    assert "the row was altered" in "\n".join(whole_lines(told))


def test_a_record_that_the_topic_holds_otherwise_is_named(bank, explained):
    bank.decide("tx-first")
    bank.decide("tx-second")
    bank.settle()
    bank.owner.execute("SET session_replication_role = replica")
    bank.owner.execute(
        "UPDATE audit.ai_decision_log AS one SET record = other.record FROM audit.ai_decision_log AS other"
        " WHERE one.transaction_id = 'tx-first' AND other.transaction_id = 'tx-second'"
    )
    assert explained("tx-first").origin == CONTRADICTED


def test_without_a_broker_the_audit_log_still_explains(bank, monkeypatch):
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    bank.decide("tx-kept")
    bank.settle()
    settings = bank.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    told = whole(settings, WIRE, "tx-kept", None)
    assert told.origin == FROM_AUDIT_LOG
    assert told.life.state == "SETTLED"


def test_without_a_database_the_decision_is_explained_and_the_rest_said_to_be_missing(bank, fraud):
    bank.decide("tx-alone")
    away = {**bank.environment, "database_url": "postgresql://fraud_reader:secret@127.0.0.1:1/fraud"}
    answer = fraud("explain", "tx-alone", **away)
    assert answer.code == 0
    assert answer.out.count("What happened after the decision is not shown: ") == 1
    assert "set FRAUD_DATABASE_URL to the address of the pipeline's database" in answer.out
    assert "secret" not in answer.out + answer.err
    assert "ALLOW  tx-alone" in answer.out


def test_a_role_that_may_not_read_is_no_database(bank):
    bank.decide("tx-shut")
    bank.settle()
    settings = bank.settings.model_copy(update={"database_url": bank.url_of("fraud_worker")})
    told = whole(settings, WIRE, "tx-shut", None)
    assert isinstance(told.life, NotShown)
    assert "such as fraud_reader" in told.life.why
    assert told.origin == FROM_TOPIC


def test_what_is_not_audited_yet_is_told_from_the_topic(bank, explained):
    bank.decide("tx-fresh")
    told = explained("tx-fresh")
    assert (told.origin, told.life.audited, told.life.state) == (FROM_TOPIC, (), None)
    assert told.sentences[2] == "The execution service has not heard of it, so the payer has the £123.45."


def test_a_transactions_id_that_two_payments_have_is_answered_with_both(bank, explained, fraud):
    for amount_minor in (5_000, 6_000):
        bank.decide("tx-again", amount_minor=amount_minor)
    for is_audited in (False, True):  # from the topic, then from the audit log
        if is_audited:
            bank.settle()
        answer = fraud("explain", "tx-again", "--json", **bank.environment)
        assert answer.code == 2
        found = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.err)
        assert len(set(found)) == 2
    amounts = {explained(name).explained.decision.snapshot.transaction.amount_minor for name in set(found)}
    assert amounts == {5_000, 6_000}


def test_a_payment_decided_twice_is_told_as_executed_once(bank, explained):
    """The second decision is of a copy that came a month later."""
    bank.decide("tx-copied", amount_minor=5_000)
    first = explained("tx-copied").explained.decision
    late = Source(0, first.source_offset + 1, first.source_timestamp_ms + 30 * 24 * 3_600_000)
    digest = payment_digest(first.snapshot.transaction)
    second = decision_id(first.snapshot.transaction, digest, late)
    bank.append(written(first._replace(decision_id=second, source_offset=late.offset)))
    bank.settle()
    told = explained(second)
    assert any(f"of an earlier decision on it, {first.decision_id}" in moment.what for moment in told.timeline)
    assert "HEARD_IGNORED" in told_kinds(told)
    assert [row.step for row in explained(first.decision_id).life.rows.steps].count("COMPLETE") == 1


def test_the_command_answers_in_json(bank, explained, fraud):
    bank.decide("tx-json", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    bank.apply(bank.plan("wrong", model_version="allows-all"))
    bank.settle()
    answer = fraud("explain", explained("tx-json").explained.decision.decision_id, "--json", **bank.environment)
    assert answer.code == 0
    told = json.loads(answer.out)
    assert told["life"]["state"] == "REVERSED"
    assert [row["step"] for row in told["life"]["steps"]][-1] == "REVERSE"
    assert sum(row["amount_minor"] for row in told["life"]["postings"]) == 6 * 12_345
    assert {row["amount"] for row in told["life"]["postings"]} == {"£123.45"}
    assert [each["record"] for each in told["life"]["audit"]] == ["Decision", "Reversal"]
    assert len(told["in_short"]) == 3
    times = [each["at"] for each in told["timeline"]]
    assert times == sorted(times)


def test_the_page_tells_it_all_and_loads_nothing(bank, fraud, tmp_path):
    bank.decide("tx-page", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    bank.apply(bank.plan("wrong & <b>late</b>", model_version="allows-all"))
    bank.settle()
    answer = fraud("explain", "tx-page", "--html", tmp_path / "page.html", **bank.environment)
    told = whole(bank.settings, WIRE, "tx-page", None)
    assert (answer.code, answer.out.splitlines()) == (0, list(told.sentences))
    page = (tmp_path / "page.html").read_text()
    for moment in told.timeline:
        assert escape(moment.what) in page
        assert escape(moment.by) in page
        assert escape(moment.where) in page
    for audited in told.life.audited:
        assert audited.row.leaf.hex() in page
        assert audited.row.chain.hex() in page
    assert all(rule.code in page for rule in told.explained.guardrails)
    assert "<b>late</b>" not in page
    assert not any(outside in page for outside in ("http", "src=", "@import", "url(", "<script", "<link"))


def test_what_the_customer_may_be_told_is_in_every_form_and_alone_where_it_is_asked_for(bank, fraud, tmp_path):
    bank.decide("tx-told", OPEN, **SUSPICIOUS)
    alone = fraud("explain", "tx-told", "--customer", **bank.environment).out.strip()
    assert alone.startswith("One of our staff is looking at your payment")
    assert not any(each in alone for each in ("tx-told", "FALLBACK", "fraud", "£"))
    assert alone in fraud("explain", "tx-told", **bank.environment).out
    in_json = fraud("explain", "tx-told", "--json", **bank.environment).out
    assert json.loads(in_json)["customer"] == alone
    only = fraud("explain", "tx-told", "--customer", "--json", **bank.environment).out
    assert json.loads(only) == {"customer": alone}
    fraud("explain", "tx-told", "--html", tmp_path / "page.html", **bank.environment)
    assert escape(alone) in (tmp_path / "page.html").read_text()


def test_what_people_decided_since_is_what_the_customer_is_told(bank, fraud):
    bank.decide("tx-back", by="allows-all", ip_fraud_reports=3)
    bank.settle()
    before = fraud("explain", "tx-back", "--customer", **bank.environment).out
    bank.apply(bank.plan("wrong", model_version="allows-all"))
    bank.settle()
    after = fraud("explain", "tx-back", "--customer", **bank.environment).out
    assert (before.split(".")[0], after.split(":")[0]) == (
        "Our checks gave us no reason to hold your payment back",
        "Your payment was made, or was being made, and has been taken back",
    )


def test_a_payment_that_goes_on_under_another_id_is_told_of_there(bank, fraud):
    """It was blocked, and may be paid by now: "We have not made your payment" would be false."""
    bank.decide("tx-on", by="blocks-all")
    bank.settle()
    assert fraud("explain", "tx-on", "--customer", **bank.environment).out.startswith("We have not made your payment")
    bank.apply(bank.plan("wrong", model_version="blocks-all"))
    bank.settle()
    answer = fraud("explain", "tx-on", "--customer", **bank.environment)
    assert answer.code == 2
    assert "given back to be decided anew" in answer.err or "goes on as tx-on:r1-" in answer.err
    assert "Not shown: " in fraud("explain", "tx-on", **bank.environment).out


def test_no_customer_is_told_anything_where_the_ledger_is_out_of_reach(bank, fraud):
    bank.decide("tx-unseen")
    bank.settle()
    away = {**bank.environment, "database_url": "postgresql://fraud_reader@127.0.0.1:1/fraud"}
    answer = fraud("explain", "tx-unseen", "--customer", **away)
    assert answer.code == 2
    assert "What became of the payment is not known without the database" in answer.err


def test_a_page_that_cannot_be_written_is_said(bank, fraud, tmp_path):
    bank.decide("tx-nowhere")
    answer = fraud("explain", "tx-nowhere", "--html", tmp_path / "no" / "page.html", **bank.environment)
    assert answer.code == 2
    assert "can't be written" in answer.err
