"""No reason of a kind that does not stand: each kind is a check, over whatever rows there are.

A reason is a fact whose value is known, that points to the outcome and differs from what is typical; it is said once,
and is never the payment's own amount unless that met a limit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact.files import load_champion
from models.artefact.scoring import Model, score
from pipeline.decide.phrase_books.books import BOOKS
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.policy import parse_policy
from pipeline.decide.reasons.families import FAMILY, windows_of
from pipeline.decide.reasons.sureness import SURE_FRAUD, SURE_HONEST
from pipeline.decide.reasons.terms import rebased, term_views
from pipeline.decide.rules import NEAREST
from pipeline.decide.verdict import Mode, Regime, Verdict, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route, Silence
from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, STATE_SLICE, UNKNOWN, Matrix, feature_matrix
from tests.records import POLICY_PATH, features, policy, small_model

CLOSED, OPEN = Mode(BreakerState.CLOSED, "all", True), Mode(BreakerState.OPEN, "all", False)
CHAMPION: Final = load_champion(Path("models/registry"))
SMALL, SHIPPED = regime(policy(), small_model()), regime(policy(), CHAMPION)
AMOUNT: Final = "amount_gbp_minor"
SILENT: Final = frozenset(Silence)


def kinds(verdict: Verdict, row: Matrix, in_force: Regime) -> set[str]:
    """The faults of a verdict's reasons, each by its kind."""
    reasons = [reason for reason in verdict.reasons if reason.code not in SILENT]
    found = _leads(verdict, reasons)
    told: list[int] = []
    rules = {rule.code: rule for rule in _rules(in_force)}
    for reason in reasons:
        names = _features_of(reason, rules)
        if reason.contribution_micro is not None:
            found |= _of_model(verdict, reason, names, row, in_force)
        named = [name for name in names if in_force.book.fact(name, int(row[COLUMN[name]])) in reason.text]
        if reason.contribution_micro is not None:
            found |= {"the same payments twice" for name in named if _is_of_the_same_payments(name, told, row)}
        told += [FAMILY[name] for name in dict.fromkeys(named)]
    if len(told) > len(set(told)):
        found.add("a fact twice")
    return found


def _is_of_the_same_payments(name: str, told: list[int], row: Matrix) -> bool:
    windows = windows_of(name)
    if windows is None or row[windows.counted] < 0:
        return False
    return any(family in told and row[windows.counted] == row[column] for family, column in windows.others)


def _rules(in_force: Regime):
    return (*in_force.rules.hard.rules, *in_force.rules.soft.rules, *in_force.rules.fallback.rules)


def _features_of(reason: Reason, rules) -> list[str]:
    code = reason.code.removeprefix(NEAREST)
    if code in rules:
        return [bound.feature for bound in rules[code].bounds if bound.feature in COLUMN]
    return [name for name in FEATURES if reason.code in _codes(name) or f"_AND_{name.upper()}" in reason.code]


def _codes(name: str) -> set[str]:
    return {f"MODEL_{name.upper()}", *(f"MODEL_{name.upper()}_AND_{other.upper()}" for other in FEATURES)}


def _leads(verdict: Verdict, reasons: list[Reason]) -> set[str]:
    first = reasons[0]
    if verdict.outcome is Outcome.ALLOW and verdict.route is Route.MODEL:
        is_good = first.code == SURE_HONEST and reasons[1].code.startswith(NEAREST)
    elif verdict.outcome is Outcome.ALLOW:
        is_good = first.code.startswith(f"{NEAREST}FALLBACK_") or first.code == "FALLBACK_NO_RULE"
    elif verdict.rules_triggered:
        is_good = first.code in verdict.rules_triggered
    else:
        is_good = (first.contribution_micro or 0) > 0 or first.code == SURE_FRAUD
    return set() if is_good else {"another lead"}


def _of_model(verdict: Verdict, reason: Reason, names: list[str], row: Matrix, in_force: Regime) -> set[str]:
    assert in_force.model is not None
    found = set()
    micro = reason.contribution_micro or 0
    if micro == 0 or (micro < 0) != (verdict.outcome is Outcome.ALLOW):
        found.add("against the outcome")
    if reason.observed < 0 or any(in_force.book.fact(n, v) in reason.text for n in names for v in (NONE, UNKNOWN)):
        found.add("absence of data")
    if reason.limit is not None and any(
        in_force.book.rounded(n, reason.observed) == in_force.book.rounded(n, reason.limit)
        for n in names
        if in_force.model.typical.get(n) == reason.limit and int(row[COLUMN[n]]) == reason.observed
    ):
        found.add("what is typical")
    amount = int(row[COLUMN[AMOUNT]])
    typical = in_force.model.typical.get(AMOUNT, NONE)
    if amount != typical and f"£{amount // 100:,}.{amount % 100:02d}" in reason.text:
        found.add("its own amount")
    return found


VALUES = st.one_of(st.integers(-1, 10), st.integers(-1, 10**7), st.sampled_from([NONE, 0, 1, 60, 300, 5_000_000]))
ROWS = st.lists(st.lists(VALUES, min_size=len(FEATURES), max_size=len(FEATURES)), min_size=1, max_size=8)


def rows_of(numbers: list[list[int]]) -> Matrix:
    matrix = np.array(numbers, dtype=np.int64)
    flags = [COLUMN[name] for name in FEATURES if name.startswith("is_")]
    matrix[:, flags] = np.clip(matrix[:, flags], 0, 1)
    for name in ("local_minute_of_day", "logged_minute_of_day"):
        matrix[:, COLUMN[name]] = np.where(matrix[:, COLUMN[name]] < 0, NONE, matrix[:, COLUMN[name]] % 1440)
    hard = [COLUMN[name] for name in ("is_reference_missing", "is_beneficiary_name_missing")]
    matrix[:, hard] = 0
    return feature_matrix(matrix[:, : len(EVENT)], matrix[:, STATE_SLICE])


@given(ROWS, st.sampled_from([CLOSED, OPEN]), st.sampled_from([SMALL, SHIPPED]))
def test_no_reason_is_of_a_kind_that_does_not_stand(numbers, mode, in_force) -> None:
    matrix = rows_of(numbers)
    for row, verdict in zip(matrix, decide(matrix, [mode] * len(matrix), in_force), strict=True):
        assert kinds(verdict, row, in_force) == set(), verdict


@given(ROWS, st.integers(1, 10**9))
def test_a_foreign_payments_reasons_say_its_own_money(numbers, own) -> None:
    matrix = rows_of(numbers)
    money = Money("EUR", own)
    for row, verdict in zip(
        matrix, decide(matrix, [CLOSED] * len(matrix), SHIPPED, own=[money] * len(matrix)), strict=True
    ):
        worth = f"the payment is {SHIPPED.book.fact(AMOUNT, max(int(row[COLUMN[AMOUNT]]), 0))[15:]}"
        assert not any(worth in reason.text for reason in verdict.reasons), "only beside what the payer named"


def plant(reasons, place, **changes):
    return [reason._replace(**changes) if n == place else reason for n, reason in enumerate(reasons)]


def test_each_kind_would_be_found() -> None:
    row = features(ip_fraud_reports=3, amount_gbp_minor=300_000, is_new_beneficiary=1)
    [block] = decide(row, [CLOSED], SMALL)
    assert kinds(block, row[0], SMALL) == set()
    [allow] = decide(features(), [CLOSED], SMALL)
    twice = [block.reasons[0], *block.reasons]
    planted = {
        "against the outcome": plant(block.reasons, 1, contribution_micro=-5),
        "absence of data": plant(block.reasons, 0, text="no IP address is given", observed=NONE),
        "what is typical": plant(block.reasons, 0, limit=3),
        "its own amount": plant(block.reasons, 1, text="the payment is £3,000.00"),
        "a fact twice": twice,
    }
    model = replace(small_model(), typical={**small_model().typical, "ip_fraud_reports": 3})
    for kind, reasons in planted.items():
        in_force = regime(policy(), model) if kind == "what is typical" else SMALL
        assert kind in kinds(_with(block, reasons), row[0], in_force)
    assert "another lead" in kinds(_with(allow, allow.reasons[::-1]), features()[0], SMALL)


def _with(verdict: Verdict, reasons: list[Reason]) -> Verdict:
    return Verdict(
        verdict.outcome, verdict.route, verdict.mode, verdict.confidence_bp, verdict.model_answer, verdict.summary,
        reasons, verdict.rules_triggered,
    )  # fmt: skip


@given(ROWS)
@pytest.mark.parametrize("model", [small_model(), CHAMPION])
def test_a_rebased_model_scores_as_before_and_says_nothing_of_a_typical_payment(model: Model, numbers) -> None:
    matrix, moved = rows_of(numbers), rebased(model)
    was, now = score(model, matrix), score(moved, matrix)
    assert was.score_micro.tolist() == now.score_micro.tolist()
    assert was.fraud_probability_ppm.tolist() == now.fraud_probability_ppm.tolist()
    sums = now.contribution_micro.sum(axis=1) + moved.intercept_micro
    assert sums.tolist() == now.score_micro.tolist()
    typical = np.full((1, len(FEATURES)), UNKNOWN, dtype=np.int64)
    for name, value in model.typical.items():
        typical[0, COLUMN[name]] = value
    assert not score(moved, typical).contribution_micro.any()
    again = rebased(moved)
    assert again.intercept_micro == moved.intercept_micro


def test_two_rules_about_one_fact_say_it_once_with_the_stricter_one() -> None:
    [v] = decide(features(ip_fraud_reports=5), [OPEN], SMALL)
    assert v.rules_triggered == ["FALLBACK_REPORTED_IP", "FALLBACK_SUSPECTED_IP"]
    assert [(reason.code, reason.limit) for reason in v.reasons] == [("FALLBACK_REPORTED_IP", 2)]
    assert v.summary.count("fraud reports") == 1


def test_a_fallbacks_block_leads_with_what_blocks() -> None:
    [v] = decide(features(ip_fraud_reports=5, event_age_hours=200), [OPEN], SMALL)
    assert v.rules_triggered[0] == "SOFT_LATE"
    assert [reason.code for reason in v.reasons] == ["FALLBACK_REPORTED_IP", "SOFT_LATE"]


def test_how_sure_the_model_must_be_is_what_the_policy_demands_of_that_payment() -> None:
    rule = (
        '[[soft.rules]]\ncode = "SOFT_LARGE"\noutcome = "ESCALATE"\n'
        'when = [{ feature = "confidence_bp", at_most = 8_999 },'
        ' { feature = "amount_gbp_minor", at_least = 10_000 }]\n\n'
    )
    text = POLICY_PATH.read_text(encoding="utf-8").replace("[[soft.rules]]", f"{rule}[[soft.rules]]", 1)
    in_force = regime(parse_policy(text.encode()), small_model())
    for amount, required_bp in ((9_999, 8_000), (10_000, 9_000)):
        [v] = decide(features(amount_gbp_minor=amount), [CLOSED], in_force)
        assert (v.reasons[0].code, v.reasons[0].limit) == (SURE_HONEST, required_bp)


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"amount_gbp_minor": 499_999, "is_unpaid_beneficiary": 1}, "SOFT_NEW_PAYEE_HIGH_VALUE", "exactly the limit"),
        ({"amount_gbp_minor": 3_000_000}, "HARD_MAX_SINGLE_TRANSACTION", "£20,000.00 below the limit of £50,000.00"),
        ({"account_volume_percent_of_normal_month": 299}, "SOFT_VELOCITY", "1 percentage point below the limit"),
        ({"local_minute_of_day": 301}, "SOFT_UNUSUAL_HOURS", "05:01 local time, not between 01:00 and 04:59"),
        ({"event_age_hours": 167}, "SOFT_LATE", "167 hours after it was made, exactly the limit of 167 hours"),
    ],
)
def test_the_nearest_guardrail_is_the_one_that_the_least_would_have_met(values, code, said) -> None:
    [v] = decide(features(logged_minute_of_day=NONE, **values), [CLOSED], SMALL)
    assert v.outcome is Outcome.ALLOW
    assert v.reasons[1].code == f"{NEAREST}{code}"
    assert said in v.reasons[1].text


def test_an_only_payment_is_held_against_no_average_of_itself() -> None:
    """Of an account's first payment, a share of its month or of its average is its own amount in other words."""
    alone = {"account_count_30d": 1, "account_volume_count_30d": 1, "account_ms_since_last": NONE}
    alone |= {"amount_percent_of_average_30d": 100, "account_volume_percent_of_normal_month": 0}
    [v] = decide(features(**alone), [CLOSED], SHIPPED)
    assert not any("average" in reason.text or "normal month" in reason.text for reason in v.reasons)


def test_two_windows_of_the_same_payments_are_one_fact() -> None:
    """ "100.00 % in the checked 30 days" and "100.00 % in the checked 7 days" were said of the same two payments."""
    seen = {"device_fraud_reports": 1, "beneficiary_frauds_7d": 2, "beneficiary_frauds_30d": 2}
    one, other = (
        rows_of([features(**seen, beneficiary_labelled_7d=2, beneficiary_labelled_30d=number)[0].tolist()])
        for number in (2, 3)
    )
    texts = {}
    for version, book in BOOKS.items():
        in_force = regime(policy(), CHAMPION, book=book)
        texts[version] = [
            [reason.text for reason in decide(rows, [CLOSED], in_force)[0].reasons if "in the checked" in reason.text]
            for rows in (one, other)
        ]
    assert [len(found) for found in texts["1"]] == [2, 2], "a released book says what it said"
    assert [len(found) for found in texts["2"]] == [1, 2]


def test_what_a_window_is_held_against_is_its_own_measure() -> None:
    for name in FEATURES:
        if (windows := windows_of(name)) is not None:
            span = name.rpartition("_")[2]
            assert FEATURES[windows.counted].endswith(f"_{span}")
            for family, column in windows.others:
                if "fraud_run" in f"{name}{FEATURES[column]}":
                    continue
                other = name.removesuffix(span) + FEATURES[column].rpartition("_")[2]
                assert (FAMILY[other], other == name) == (family, False)
    assert windows_of("account_volume_minor_24h") is windows_of("account_volume_minor_30d") is None
    assert windows_of("account_count_ever") is windows_of("account_near_limit_count_24h") is None


@pytest.mark.parametrize(("run", "told"), [(2, 1), (1, 2), (UNKNOWN, 1)])
def test_a_run_of_all_the_frauds_that_there_were_is_their_share_in_other_words(run: int, told: int) -> None:
    """ "100.00 % in the checked 30 days" and "they end with 2 fraudulent payments in a row" are of the same two."""
    names = ("beneficiary_risk_ppm_30d", "beneficiary_fraud_run_30d")
    model = replace(CHAMPION, typical={**CHAMPION.typical, names[1]: 0}, terms=tuple(
        CHAMPION.terms[0]._replace(features=(name,)) for name in names
    ))  # fmt: skip
    [row] = rows_of([features(
        beneficiary_labelled_30d=2, beneficiary_frauds_30d=2, beneficiary_fraud_run_30d=run)[0].tolist()])  # fmt: skip
    facts: list[str] = []
    reasons: list[Reason] = []
    families = 0
    for view in term_views(model, BOOKS["2"]):
        families = view.tell(row.astype("<i8").tobytes(), 0, 5, families, facts, reasons)
    assert len(facts) == told, facts
