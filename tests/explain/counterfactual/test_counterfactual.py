import numpy as np
import pytest

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE, STATE, UNKNOWN
from pipeline.explain.as_json import explanation_json
from pipeline.explain.counterfactual.counterfactual import NOT_SOUGHT, Counterfactual, Otherwise, otherwise_of
from pipeline.explain.counterfactual.facts import Change
from pipeline.explain.counterfactual.search import NoneWithin
from pipeline.explain.counterfactual.words import TITLE, otherwise_lines
from pipeline.explain.explanation import explanation
from pipeline.explain.life import NotShown
from pipeline.explain.page import page
from pipeline.explain.text_page import explanation_lines
from pipeline.explain.whole import Trace, assembled
from pipeline.replay.regimes import Missing
from pipeline.web.html import escape
from tests.archive import CLOSED, OPEN, payment, stored
from tests.explain.counterfactual.rows import value, whole

STATES = {name: value(whole(), name) for name in STATE if name.startswith(("account_", "beneficiary_", "is_"))} | {
    "is_unpaid_beneficiary": 0
}
NOTHING = dict.fromkeys(STATE, NONE)


def told(archive, mode=CLOSED, state=STATES, **fields):
    """Of a payment of £100 to £60,000 by an account with ten payments; fields of the payment, or of its state."""
    own = {name: fields.pop(name) for name in list(fields) if name in STATE}
    amount = fields.get("amount_minor", 10_000)
    sums = {
        name: amount + number - 10_000
        for name, number in state.items()
        if number >= 0 and ("_sum_minor_" in name or "_volume_minor_" in name)
    }
    [stored_value] = archive.values(
        [payment(1, **{"amount_minor": 10_000, **fields})], [mode], **{**state, **sums, **own}
    )
    found = stored(stored_value)
    return found, otherwise_of(found.decision, archive.regime_of)


def lines(found, otherwise):
    return list(otherwise_lines(found.decision, otherwise))


def test_an_escalation_by_an_amount_turns_at_the_limit_and_the_reader_sees_by_how_much(archive):
    found, otherwise = told(archive, amount_minor=600_000, is_unpaid_beneficiary=1)
    assert found.decision.outcome is Outcome.ESCALATE
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.outcome is Outcome.ALLOW
    assert len(otherwise.found.changes) <= 2
    text = "\n".join(lines(found, otherwise))
    assert "decided again, it is so" in text
    assert (
        "SOFT_NEW_PAYEE_HIGH_VALUE applied because the payment is £6,000.00; it would not at £4,999.99, which is "
        in text
    )
    assert "£1,000.01 less" in text


def test_a_model_s_block_turns_by_a_fact_of_its_tables(archive):
    found, otherwise = told(archive, ip_fraud_reports=3, is_new_beneficiary=1, is_unpaid_beneficiary=1)
    assert (found.decision.outcome, found.decision.route) == (Outcome.BLOCK, "MODEL")
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.changes == (Change("ip_fraud_reports", 3, 2),)
    assert otherwise.shortfalls == ()
    assert any("1 fraud report less" in line for line in lines(found, otherwise))


def test_a_block_that_only_becomes_an_escalation_says_so(archive):
    found, otherwise = told(archive, OPEN, ip_fraud_reports=3)
    assert found.decision.outcome is Outcome.BLOCK
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.outcome is Outcome.ESCALATE
    assert otherwise.found.changes == (Change("ip_fraud_reports", 3, 2),)
    assert any("a person would have decided (ESCALATE)" in line for line in lines(found, otherwise))


def test_all_rules_that_apply_must_turn(archive):
    _, otherwise = told(archive, OPEN, ip_fraud_reports=3, device_fraud_reports=4)
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert {change.feature for change in otherwise.found.changes} == {"ip_fraud_reports", "device_fraud_reports"}
    assert len(otherwise.shortfalls) == 4


def test_a_payment_that_was_blocked_unseen_has_its_block_lifted_and_no_more(archive):
    found, otherwise = told(archive, state=NOTHING, amount_minor=6_000_000)
    assert found.decision.route == "GUARDRAIL"
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.outcome is None
    assert otherwise.found.changes == (Change("amount_gbp_minor", 6_000_000, 5_000_000),)
    assert "isn't known" in lines(found, otherwise)[-1]


def test_an_amount_of_another_currency_is_one_that_it_can_have(archive):
    found, otherwise = told(archive, state=NOTHING, amount_minor=6_000_000, currency="EUR")
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.own_amount_minor == 5_733_944
    [line] = [line for line in lines(found, otherwise) if line.startswith("- ")]
    assert line == (
        "- the payment is EUR 57,339.44 (£50,000.00), and not EUR 60,000.00 (£52,320.00): EUR 2,660.56 less"
    )


SET_ASIDE = (
    "No change of up to 3 facts, the currency and the beneficiary's country aside, would have made it anything but"
    " BLOCK."
)


@pytest.mark.parametrize("fields", [{"beneficiary_country": "KP"}, {"currency": "XXX"}])
def test_what_the_lists_say_can_not_be_otherwise(archive, fields):
    found, otherwise = told(archive, state=NOTHING, **fields)
    assert found.decision.outcome is Outcome.BLOCK
    assert isinstance(otherwise, Otherwise)
    assert otherwise.found == NoneWithin(3, is_exhaustive=True)
    assert SET_ASIDE in lines(found, otherwise)


def test_what_is_unknown_would_have_had_to_be_known(archive):
    found, otherwise = told(archive, ip_fraud_reports=UNKNOWN)
    assert found.decision.outcome is Outcome.BLOCK
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    [change] = otherwise.found.changes
    assert (change.feature, change.before) == ("ip_fraud_reports", UNKNOWN)
    assert change.after >= 0
    assert any(
        "where how many fraud reports the IP address is linked to is not known" in line
        for line in lines(found, otherwise)
    )


def test_where_more_is_unknown_than_may_be_otherwise_the_rules_alone_are_turned(archive):
    lost = ("account_volume_minor_24h", "account_volume_count_30d", "account_volume_minor_30d", "is_unpaid_beneficiary")
    found, otherwise = told(archive, account_normal_month_minor=UNKNOWN, **dict.fromkeys(lost, UNKNOWN))
    assert (found.decision.outcome, found.decision.route) == (Outcome.ESCALATE, "FALLBACK")
    assert isinstance(otherwise, Otherwise)
    assert isinstance(otherwise.found, Counterfactual)
    assert otherwise.found.outcome is Outcome.ALLOW
    needed = {"account_volume_minor_24h", "account_volume_minor_30d", "account_normal_month_minor"}
    assert {change.feature for change in otherwise.found.changes} == needed


def test_an_allow_and_a_decision_that_is_not_what_it_records_have_none(archive):
    found, otherwise = told(archive)
    assert (found.decision.outcome, otherwise) == (Outcome.ALLOW, Missing(NOT_SOUGHT))
    forged = found.decision._replace(outcome=Outcome.BLOCK)
    assert otherwise_of(forged, archive.regime_of) == Missing("decided again, it is ALLOW and not BLOCK")


def test_without_the_archive_nothing_is_said(archive):
    found, _ = told(archive, ip_fraud_reports=3, is_new_beneficiary=1, is_unpaid_beneficiary=1)
    for path in archive.policies.iterdir():
        path.unlink()
    assert isinstance(otherwise_of(found.decision, archive.regime_of), Missing)


def test_explain_tells_it_in_text_and_json(archive):
    found, otherwise = told(archive, ip_fraud_reports=3, is_new_beneficiary=1, is_unpaid_beneficiary=1)
    explained = explanation(found, 0, 0, archive.regime_of)
    assert explained.otherwise == otherwise
    text = "\n".join(explanation_lines(explained))
    assert "What would have had to be otherwise" in text
    assert "\n  With one fact otherwise it would have been ALLOW, and not BLOCK; decided again, it is so:" in text
    told_json = explanation_json(explained)["otherwise"]
    assert isinstance(told_json, dict)
    assert told_json["outcome"] == "ALLOW"
    assert told_json["changes"][0]["before"] == 3
    assert np.array_equal([each["after"] for each in told_json["changes"]], [2])


def test_the_page_tells_it_as_the_text_does(archive):
    found, otherwise = told(archive, ip_fraud_reports=3, is_new_beneficiary=1, is_unpaid_beneficiary=1)
    explained = explanation(found, 0, 0, archive.regime_of)
    trace = Trace("0" * 32, "named by nobody")
    told_whole = assembled(explained, NotShown("there is no database here"), "nothing", "read from a test", trace)
    html = page(told_whole, 0)
    assert f"<h2>{TITLE}</h2>" in html
    assert all(f">{escape(line.removeprefix('- ').strip())}</p>" in html for line in lines(found, otherwise))


def test_an_allow_s_page_and_text_have_no_such_part(archive):
    found, _ = told(archive)
    explained = explanation(found, 0, 0, archive.regime_of)
    assert TITLE not in "\n".join(explanation_lines(explained))
    trace = Trace("0" * 32, "named by nobody")
    assert TITLE not in page(assembled(explained, NotShown("none"), "nothing", "read from a test", trace), 0)
