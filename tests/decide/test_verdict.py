from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact.files import load_champion
from pipeline.decide.verdict import CONFIDENCE_CERTAIN_BP, Mode, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route
from pipeline.domain.features import COLUMN, FEATURES, NONE
from tests.records import features, policy, small_model

CLOSED = Mode(BreakerState.CLOSED, "all", True)
OPEN = Mode(BreakerState.OPEN, "all", False)
IN_FORCE = regime(policy(), small_model())
SHIPPED = regime(policy(), load_champion(Path("models/registry")))
UNUSUAL_TWICE = {"account_percent_of_earlier_average_max_7d": 500, "amount_percent_of_earlier_average_ever": 500}
STRICTNESS = {Outcome.ALLOW: 0, Outcome.ESCALATE: 1, Outcome.BLOCK: 2}


def verdict(mode=CLOSED, in_force=IN_FORCE, **values):
    return decide(features(**values), [mode], in_force)[0]


def test_quiet_payment_is_allowed_by_the_model_with_reasons():
    v = verdict()
    assert (v.outcome, v.route, v.rules_triggered) == (Outcome.ALLOW, Route.MODEL, [])
    assert v.summary == (
        "Allowed because the model is 99.00 % sure that the payment is honest, 19.00 percentage points above the"
        " required 80.00 %; and the nearest guardrail does not apply: the payment was made earlier and reached us at"
        " 00:00 local time, not between 01:00 and 04:59."
    )
    assert v.confidence_bp == 9_900
    assert [(r.code, r.observed, r.limit) for r in v.reasons] == [
        ("MODEL_SURE_HONEST", 9_900, 8_000),
        ("NEAREST_SOFT_UNUSUAL_HOURS_LOGGED", 0, None),
    ]


def test_model_block_names_what_raised_the_score():
    v = verdict(ip_fraud_reports=3, amount_gbp_minor=300_000, is_new_beneficiary=1)
    assert (v.outcome, v.route, v.confidence_bp) == (Outcome.BLOCK, Route.MODEL, 9_900)
    assert v.summary.startswith("Blocked because the IP address is linked to 3 fraud reports")
    assert v.reasons[0].contribution_micro == 6_500_000, "against what none reported gives"
    assert v.reasons[0].observed == 3
    assert v.reasons[0].excess == 3


def test_unsure_model_escalates():
    v = verdict(ip_fraud_reports=1, amount_gbp_minor=300_000)
    assert (v.outcome, v.confidence_bp) == (Outcome.ALLOW, 9_000)
    v = verdict(ip_fraud_reports=1, amount_gbp_minor=300_000, is_new_beneficiary=1)
    assert (v.outcome, v.confidence_bp) == (Outcome.BLOCK, 8_500)
    v = verdict(ip_fraud_reports=1, amount_gbp_minor=90_000, is_new_beneficiary=1)
    assert (v.outcome, v.model_answer.fraud_probability_ppm) == (Outcome.ALLOW, 100_000)
    v = verdict(is_new_beneficiary=1, amount_gbp_minor=300_000)
    assert (v.outcome, v.model_answer.fraud_probability_ppm) == (Outcome.ALLOW, 100_000)
    v = verdict(ip_fraud_reports=NONE, is_new_beneficiary=1, amount_gbp_minor=300_000)
    assert (v.outcome, v.confidence_bp, v.rules_triggered) == (Outcome.ESCALATE, 6_000, ["SOFT_CONFIDENCE_MINIMUM"])
    assert v.reasons[0].text == (
        "the model is only 60.00 % sure that the payment is honest, 20.00 percentage points short of the required"
        " 80.00 %"
    )


@pytest.mark.parametrize(
    ("values", "code", "limit", "excess"),
    [
        ({"amount_gbp_minor": 5_000_001}, "HARD_MAX_SINGLE_TRANSACTION", 5_000_000, 1),
        ({"is_beneficiary_country_sanctioned": 1}, "HARD_SANCTIONED_COUNTRY", None, None),
        ({"is_reference_missing": 1}, "HARD_REFERENCE_MISSING", None, None),
        ({"is_beneficiary_name_missing": 1}, "HARD_BENEFICIARY_NAME_MISSING", None, None),
        ({"account_age_days": 29, "amount_gbp_minor": 500_000}, "HARD_YOUNG_ACCOUNT_HIGH_VALUE", 30, -1),
        ({"amount_gbp_minor": NONE}, "HARD_UNSUPPORTED_CURRENCY", None, None),
        ({"account_volume_minor_24h": 20_000_001}, "HARD_MAX_DAILY_VOLUME", 20_000_000, 1),
    ],
)
@pytest.mark.parametrize("mode", [CLOSED, OPEN])
def test_hard_guardrail_blocks_whatever_the_route(values, code, limit, excess, mode):
    v = verdict(mode, **values)
    assert (v.outcome, v.route, v.rules_triggered) == (Outcome.BLOCK, Route.GUARDRAIL, [code])
    assert (v.reasons[0].limit, v.reasons[0].excess) == (limit, excess)
    assert (v.confidence_bp, v.model_answer) == (CONFIDENCE_CERTAIN_BP, None)


@pytest.mark.parametrize(
    "values",
    [
        {"amount_gbp_minor": 5_000_000},
        {"account_age_days": 30, "amount_gbp_minor": 500_000},
        {"account_age_days": 0, "amount_gbp_minor": 499_999},
        {"account_volume_minor_24h": 20_000_000},
    ],
)
def test_hard_guardrail_spares_what_is_at_its_limit(values):
    assert verdict(**values).route is Route.MODEL


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"account_volume_percent_of_normal_month": 301}, "SOFT_VELOCITY"),
        ({"amount_gbp_minor": 500_000, "is_unpaid_beneficiary": 1}, "SOFT_NEW_PAYEE_HIGH_VALUE"),
        ({"amount_gbp_minor": 500_000, "amount_percent_of_earlier_average_ever": 500}, "SOFT_UNUSUAL_AMOUNT"),
        ({"amount_gbp_minor": 100_000, **UNUSUAL_TWICE}, "SOFT_UNUSUAL_AGAIN"),
        ({"local_minute_of_day": 60}, "SOFT_UNUSUAL_HOURS"),
        ({"local_minute_of_day": 299}, "SOFT_UNUSUAL_HOURS"),
        ({"logged_minute_of_day": 60}, "SOFT_UNUSUAL_HOURS_LOGGED"),
        ({"logged_minute_of_day": 299}, "SOFT_UNUSUAL_HOURS_LOGGED"),
        ({"event_age_hours": 168}, "SOFT_LATE"),
        ({"beneficiary_confirmed_frauds": 2, "amount_gbp_minor": 10_000}, "SOFT_RISKY_BENEFICIARY"),
        ({"account_sum_minor_7d": 20_000_001, "event_age_hours": 1}, "SOFT_DAILY_VOLUME_DATED_BACK"),
    ],
)
def test_soft_guardrail_escalates_what_the_model_allows(values, code):
    v = verdict(**values)
    assert (v.outcome, v.route, v.rules_triggered[0]) == (Outcome.ESCALATE, Route.MODEL, code)


@pytest.mark.parametrize("mode", [CLOSED, OPEN])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ip_fraud_reports": NONE, "is_new_beneficiary": 1, "amount_gbp_minor": 300_000}, True),
        (
            {"ip_fraud_reports": NONE, "is_new_beneficiary": 1, "amount_gbp_minor": 300_000, "event_age_hours": 168},
            True,
        ),
        ({"event_age_hours": 168}, False),
        ({}, False),
        ({"ip_fraud_reports": 3, "amount_gbp_minor": 300_000, "is_new_beneficiary": 1, "event_age_hours": 168}, False),
    ],
    ids=["unsure", "unsure and a guardrail", "a guardrail alone", "sure", "blocks, and a guardrail"],
)
def test_model_doubts_where_it_is_unsure_itself_and_not_where_a_guardrail_escalates(values, expected, mode):
    """In shadow, too: the breaker counts what a model that is out of the loop would do."""
    assert verdict(mode, **values).model_answer.is_doubted is expected


@pytest.mark.parametrize(
    "values",
    [
        {"account_volume_percent_of_normal_month": 300},
        {"amount_gbp_minor": 499_999, "amount_percent_of_earlier_average_ever": 1_000_000},
        {"amount_gbp_minor": 500_000, "amount_percent_of_earlier_average_ever": 499},
        {"amount_gbp_minor": 500_000, "amount_percent_of_earlier_average_ever": NONE},
        {"amount_gbp_minor": 99_999, **UNUSUAL_TWICE},
        {"amount_gbp_minor": 100_000, **UNUSUAL_TWICE, "account_percent_of_earlier_average_max_7d": 499},
        {"amount_gbp_minor": 100_000, **UNUSUAL_TWICE, "amount_percent_of_earlier_average_ever": 499},
        {"local_minute_of_day": 59},
        {"local_minute_of_day": 300},
        {"logged_minute_of_day": 59},
        {"logged_minute_of_day": 300},
        {"logged_minute_of_day": NONE},
        {"event_age_hours": 167},
        {"account_sum_minor_7d": 20_000_000, "event_age_hours": 167},
        {"beneficiary_confirmed_frauds": 1},
        {"beneficiary_confirmed_frauds": 100, "amount_gbp_minor": 9_999},
        {"account_sum_minor_7d": 10**12, "event_age_hours": 0},
    ],
)
def test_soft_guardrail_spares_what_is_at_its_limit(values):
    assert verdict(**values).outcome is Outcome.ALLOW


def test_several_hard_hits_are_named_in_table_order():
    v = verdict(is_reference_missing=1, amount_gbp_minor=6_000_000, account_volume_minor_24h=30_000_000)
    assert v.rules_triggered == ["HARD_MAX_SINGLE_TRANSACTION", "HARD_REFERENCE_MISSING", "HARD_MAX_DAILY_VOLUME"]
    assert v.summary == (
        "Blocked because the payment is £60,000.00; the payment reference is missing; and the payments that the"
        " account attempted in the last 24 hours, this one included and those left out that are known to be blocked or"
        " refused, come to £300,000.00."
    )
    assert v.reasons[0].text == "the payment is £60,000.00, £10,000.00 over the limit of £50,000.00"


def test_open_breaker_routes_to_the_fallback_and_the_model_answers_in_shadow():
    v = verdict(OPEN, ip_fraud_reports=3)
    assert (v.outcome, v.route, v.rules_triggered) == (
        Outcome.BLOCK,
        Route.FALLBACK,
        ["FALLBACK_REPORTED_IP", "FALLBACK_SUSPECTED_IP"],
    )
    assert (v.model_answer.outcome, v.model_answer.fraud_probability_ppm) == (Outcome.BLOCK, 850_000)


def test_quiet_payment_is_allowed_by_the_fallback_with_a_reason():
    v = verdict(OPEN)
    assert (v.outcome, v.route) == (Outcome.ALLOW, Route.FALLBACK)
    assert v.summary == (
        "Allowed by the fallback rules because the nearest fallback rule does not apply: the payment is 126 % of the"
        " average of the account's earlier payments in 30 days, 373 percentage points below the limit of 499 %."
    )
    assert (v.reasons[0].code, v.reasons[0].excess) == ("NEAREST_FALLBACK_UNUSUAL_AMOUNT", 126 - 499)


def test_missing_model_means_fallback_though_the_breaker_is_closed():
    v = verdict(CLOSED, regime(policy(), None))
    assert (v.route, v.model_answer) == (Route.FALLBACK, None)


VALUES = st.one_of(st.integers(-1, 10), st.integers(-1, 10**7), st.sampled_from([0, 1, 60, 300, 5_000_000]))
ROWS = st.lists(st.lists(VALUES, min_size=len(FEATURES), max_size=len(FEATURES)), min_size=1, max_size=8)
FLAGS = [COLUMN[name] for name in FEATURES if name.startswith("is_")]


def matrix_of(rows):
    matrix = np.array(rows, dtype=np.int64)
    matrix[:, FLAGS] = np.clip(matrix[:, FLAGS], 0, 1)
    matrix[:, COLUMN["local_minute_of_day"]] %= 1440
    return matrix


@given(ROWS, st.lists(st.sampled_from([CLOSED, OPEN]), min_size=8, max_size=8))
def test_invariant_3_a_batch_gives_what_its_rows_give_one_by_one(rows, modes):
    matrix = matrix_of(rows)
    together = decide(matrix, modes[: len(rows)], IN_FORCE)
    assert together == [decide(matrix[i : i + 1], [modes[i]], IN_FORCE)[0] for i in range(len(rows))]


@given(ROWS)
def test_invariant_3_what_was_said_before_changes_no_word(rows):
    """A regime remembers words; one that has decided thousands of rows says what a new one says."""
    matrix, modes = matrix_of(rows), [CLOSED] * len(rows)
    assert decide(matrix, modes, SHIPPED) == decide(matrix, modes, regime(policy(), SHIPPED.model))


@given(ROWS)
def test_invariants_2_and_4_every_verdict_is_explained_and_soft_rules_never_loosen(rows):
    matrix = matrix_of(rows)
    for row, v in enumerate(decide(matrix, [CLOSED] * len(rows), IN_FORCE)):
        assert v.reasons
        assert v.summary.endswith(".")
        if v.route is Route.MODEL and v.model_answer.fraud_probability_ppm >= policy().model.block_probability_ppm:
            assert v.outcome is Outcome.BLOCK
        without_model = decide(matrix[row : row + 1], [CLOSED], regime(policy(), None))[0]
        if v.route is Route.GUARDRAIL:
            assert without_model == v


@given(ROWS)
def test_i4_no_model_and_open_breaker_decide_alike(rows):
    matrix = matrix_of(rows)
    by_fallback = decide(matrix, [OPEN] * len(rows), IN_FORCE)
    without_model = decide(matrix, [OPEN] * len(rows), regime(policy(), None))
    assert [(v.outcome, v.reasons) for v in by_fallback] == [(v.outcome, v.reasons) for v in without_model]
    for v in by_fallback:
        if v.rules_triggered:
            assert STRICTNESS[v.outcome] >= STRICTNESS[Outcome.ESCALATE]
