"""Each check finds the fault that it is for in a planted decision, and none in a sound one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from models.artefact.files import load_champion
from models.artefact.scoring import score
from ops.bench.reasons.checks import CHECKS, Seen, rules_by_code
from ops.bench.reasons.quantities import Quantity, comparisons, is_checkable, quantity_of
from pipeline.decide.verdict import regime
from pipeline.domain.decision import InputSnapshot, Outcome, Reason, Route
from pipeline.domain.features import COLUMN, NONE, UNKNOWN
from tests.decisions import DECISION
from tests.explain.counterfactual.rows import whole
from tests.records import PAYMENT, policy

IN_FORCE = regime(policy(), load_champion(Path("models/registry")))
ROW = whole(ip_fraud_reports=5, account_count_1h=1)
SCORES = score(IN_FORCE.model, ROW[np.newaxis])
CODES = {
    "MODEL_" + "_AND_".join(name.upper() for name in term.features): micro
    for term, micro in zip(IN_FORCE.model.terms, SCORES.contribution_micro[0].tolist(), strict=True)
}
GOOD_TEXT = "We could not make this payment. You can contest this: contact us, and a person will look at it again."


def reason(code, text, observed=5, limit=0, micro=None):
    if code in CODES and micro is None:
        micro = CODES[code]
    excess = None if limit is None or observed < 0 else observed - limit
    return Reason(code, text, observed, limit, excess, micro)


REPORTS = reason("MODEL_IP_FRAUD_REPORTS", "the IP address is linked to 5 fraud reports (0 fraud reports is common)")
SURE = Reason("MODEL_SURE_HONEST", "the model is 99.00 % sure that the payment is honest, 19.00 percentage points "
              "above the required 80.00 %", 9_900, 8_000, 1_900, None)  # fmt: skip


def rule(code, text, observed, limit):
    return reason(code, text, observed, limit)


def seen(*reasons, outcome=Outcome.BLOCK, route=Route.MODEL, summary=None, row=ROW, customer=GOOD_TEXT, **payment):
    said = summary or f"Said because {reasons[0].text}."
    decision = DECISION._replace(
        outcome=outcome,
        route=route,
        summary=said,
        reasons=reasons,
        rules_triggered=tuple(each.code for each in reasons if each.code in rules_by_code(IN_FORCE)),
        score_micro=int(SCORES.score_micro[0]),
        snapshot=InputSnapshot(PAYMENT._replace(**payment), tuple(row.tolist())),
    )
    return Seen(decision, IN_FORCE, rules_by_code(IN_FORCE), SCORES, customer)


def faults(case):
    return {name for name, check in CHECKS.items() if list(check(case))}


FALLBACK = {"route": Route.FALLBACK, "outcome": Outcome.ALLOW}
CALM = Reason("FALLBACK_NO_RULE", "none of the fallback rules applies", NONE, None, None, None)
PER_CENT = "the account's payments that it attempted in the last 30 days are 0 % of its normal month"
OF_ONE = whole(account_count_30d=1, account_count_7d=1, account_volume_count_30d=1)
MONTH = "the payments that the account attempted in the last 30 days come to"

OF_TWO_WINDOWS = [
    reason(f"MODEL_BENEFICIARY_RISK_PPM_{days}D", f"100.00 % of the payments in the checked {days} days", 1_000_000, 0)
    for days in (7, 30)
]
TWO_PAYMENTS, OF_THREE = (
    whole(beneficiary_labelled_7d=2, beneficiary_frauds_7d=2, beneficiary_labelled_30d=number, beneficiary_frauds_30d=2)
    for number in (2, 3)
)

SOUND = [
    seen(REPORTS),
    seen(SURE, outcome=Outcome.ALLOW),
    seen(CALM, **FALLBACK),
    seen(rule("HARD_MAX_SINGLE_TRANSACTION", "the payment is £60,000.00, £10,000.00 over the limit of £50,000.00",
              6_000_000, 5_000_000), route=Route.GUARDRAIL),
    seen(rule("HARD_MAX_SINGLE_TRANSACTION", "the payment is EUR 60,000.00 (£52,320.00), £2,320.00 over the limit of "
              "£50,000.00", 5_232_000, 5_000_000), route=Route.GUARDRAIL, currency="EUR", amount_minor=6_000_000),
    seen(rule("SOFT_UNUSUAL_HOURS", "the payment was made at 02:00 local time, between 01:00 and 04:59, and the "
              "payment is £123.45 (from £100.00 on)", 120, None), outcome=Outcome.ESCALATE),
    seen(rule("FALLBACK_REPORTED_IP", "how many fraud reports the IP address is linked to is not known", UNKNOWN, 2),
         route=Route.FALLBACK, row=whole(ip_fraud_reports=UNKNOWN)),
    seen(rule("NEAREST_FALLBACK_BURST", "the nearest fallback rule does not apply: the account attempted 5 payments in "
              "the last hour, this one included, 2 payments below the limit of 7 payments", 5, 7), **FALLBACK),
]  # fmt: skip

PLANTED = [
    ("absent_or_unknown", seen(SURE, reason("MODEL_ACCOUNT_VOLUME_PERCENT_OF_NORMAL_MONTH",
                                            "the account has no normal month yet", NONE, None), outcome=Outcome.BLOCK)),
    ("absent_or_unknown", seen(rule("NEAREST_FALLBACK_REPORTED_IP", "no IP address is given", NONE, 2), **FALLBACK)),
    ("absent_or_unknown", seen(REPORTS, row=whole(ip_fraud_reports=NONE))),
    ("echo_of_the_amount", seen(SURE, reason("MODEL_AMOUNT_GBP_MINOR", "the payment is £100.00 (£45.00 is typical)",
                                             10_000, 4_500), outcome=Outcome.ALLOW)),
    ("echo_of_the_amount", seen(reason("FALLBACK_NO_RULE", "none of the fallback rules applies; the payment is £100.00",
                                       10_000, None), **FALLBACK)),
    ("a_fact_twice", seen(REPORTS, summary="Blocked because the IP address is linked to 5 fraud reports and the IP "
                          "address is linked to 5 fraud reports.")),
    ("a_fact_twice", seen(REPORTS, REPORTS)),
    ("the_same_payments_twice", seen(*OF_TWO_WINDOWS, row=TWO_PAYMENTS)),
    ("against_the_outcome", seen(REPORTS, outcome=Outcome.ALLOW)),
    ("against_the_outcome", seen(rule("SOFT_VELOCITY", "what was attempted is 900 % of its normal month", 900, 300),
                                 route=Route.FALLBACK)),
    ("first_reason_leads", seen(REPORTS, SURE, outcome=Outcome.ALLOW)),
    ("first_reason_leads", seen(SURE, REPORTS)),
    ("equal_to_the_typical", seen(reason("MODEL_IP_FRAUD_REPORTS", "the IP address is linked to 5 reports", 5, 5))),
    ("equal_to_the_typical", seen(reason("MODEL_IP_FRAUD_REPORTS", "the beneficiary account was opened 2 days ago "
                                         "(typically 2 days)", 50, 48))),
    ("uncheckable_comparison", seen(rule("SOFT_VELOCITY", "the payments that the account attempted are 260 % above its "
                                         "normal month, 60 % over the limit of 300 %", 360, 300),
                                    outcome=Outcome.ESCALATE)),
    ("uncheckable_comparison", seen(REPORTS._replace(excess=4))),
    ("rounded_to_the_limit", seen(rule("FALLBACK_YOUNG_BENEFICIARY", "the beneficiary account was opened 2 days ago, 1 "
                                       "hour short of the required 2 days", 47, 48), outcome=Outcome.ESCALATE,
                                  route=Route.FALLBACK)),
    ("money_of_another_currency", seen(rule("FALLBACK_HIGH_VALUE", "the payment is £8,720.00, £6,720.01 over the limit "
                                            "of £1,999.99", 872_000, 199_999), outcome=Outcome.ESCALATE,
                                       route=Route.FALLBACK, currency="EUR", amount_minor=1_000_000)),
    ("payments_that_were_not_made", seen(REPORTS, summary="Blocked because the account's payments in the last 24 hours "
                                         "come to £245,000.00.")),
    ("share_of_a_first_payment", seen(SURE, reason("MODEL_ACCOUNT_VOLUME_PERCENT_OF_NORMAL_MONTH", PER_CENT, 0, 90),
                                      outcome=Outcome.ALLOW, row=OF_ONE)),
    ("hours_that_are_not_named", seen(rule("SOFT_UNUSUAL_HOURS", "the payment was made at 02:00 local time", 120, None),
                                      outcome=Outcome.ESCALATE)),
    ("no_time_at_all", seen(reason("MODEL_ACCOUNT_MS_SINCE_LAST", "the account attempted its last payment 0 seconds "
                                   "earlier", 0, 5))),
    ("contributions_that_do_not_sum", seen(REPORTS._replace(contribution_micro=CODES["MODEL_IP_FRAUD_REPORTS"] + 1))),
    ("customer_text_that_gives_away", seen(REPORTS, customer=None)),
    ("customer_text_that_gives_away", seen(REPORTS, customer=f"{GOOD_TEXT} It was over 5,000 pounds.")),
    ("customer_text_that_gives_away", seen(REPORTS, customer=f"{GOOD_TEXT} There were fraud reports.")),
    ("customer_text_that_gives_away", seen(REPORTS, customer="We could not make this payment.")),
]  # fmt: skip


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case.decision.reasons[0].code)
def test_a_sound_decision_has_no_fault(case):
    assert faults(case) == set()


@pytest.mark.parametrize(("name", "case"), PLANTED, ids=[f"{n}-{name}" for n, (name, _) in enumerate(PLANTED)])
def test_a_planted_fault_is_found(name, case):
    assert name in faults(case)


def test_every_check_is_seen_to_fail():
    assert {name for name, _ in PLANTED} == CHECKS.keys()


def test_a_score_that_the_contributions_do_not_give_is_found():
    case = seen(REPORTS)
    other = case._replace(decision=case.decision._replace(score_micro=case.decision.score_micro + 1))
    assert faults(other) == {"contributions_that_do_not_sum"}


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("£1,234.50", Quantity(1234.5, "£")),
        ("EUR 10.00", Quantity(10, "EUR")),
        ("60 %", Quantity(60, "%")),
        ("19.00 percentage points", Quantity(19, "%")),
        ("1,026.88 times that average", Quantity(Decimal("1026.88"), "time")),
        ("9,997 times", Quantity(9997, "time")),
        ("1 hour", Quantity(1, "hour")),
        ("47 hours", Quantity(47, "hour")),
        ("3 fraud reports", Quantity(3, "report")),
        ("no payments", Quantity(0, "payment")),
    ],
)
def test_a_quantity_is_a_number_and_a_unit(text, quantity):
    assert quantity_of(text) == quantity


TIMES = "the payment is 1,029.88 times the average of the account's earlier payments in 30 days"


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("the account is 9 days old, 20 days short of the required 29 days", True),
        ("it was opened 2 days ago, 1 hour short of the required 2 days", False),
        ("the account attempted 9 payments in the last hour, 2 payments over the limit of 7 payments", True),
        ("they come to £10.00, £20.00 over the limit of £10.00", False),
        ("the model is 60.00 % sure, 20.00 % short of the required 80.00 %", True),
        (f"{TIMES}, 1,026.88 times that average over the limit of 3 times that average", True),
        (f"{TIMES}, 1,026.87 times that average over the limit of 3 times that average", False),
        (f"{TIMES}, 102,688 percentage points over the limit of 300 %", False),
        (
            "come to at least 10,000 times its normal month, at least 9,997 times that month over the limit of 3 times "
            "that month",
            True,
        ),
    ],
)
def test_a_comparison_can_be_checked_or_not(text, is_good):
    [found] = comparisons(text)
    assert is_checkable(found) is is_good


def test_the_row_is_what_the_decisions_were_seen_with():
    assert ROW[COLUMN["ip_fraud_reports"]] == 5
    assert CODES["MODEL_IP_FRAUD_REPORTS"] > 0


def test_two_windows_of_other_payments_are_two_facts() -> None:
    assert "the_same_payments_twice" not in faults(seen(*OF_TWO_WINDOWS, row=OF_THREE))
