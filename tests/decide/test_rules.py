"""Rules as data: what a policy file says is what is decided and reported, and no code knows a rule by its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.policy import Policy, parse_policy
from pipeline.decide.policy_rules import CONFIDENCE_BP_MAX, Condition, HardRule, WhenMissing, greatest_of
from pipeline.decide.rules import RULE_COLUMN, hits_of, rule_book
from pipeline.decide.verdict import Mode, Verdict, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route
from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, UNKNOWN
from tests.records import POLICY_PATH, features, small_model

CLOSED, OPEN = Mode(BreakerState.CLOSED, "all", True), Mode(BreakerState.OPEN, "all", False)
NOT_MISSING = 'when_none = "does_not_hold", when_unknown = "does_not_hold"'


def policy_with(tier: str, code: str, outcome: str, *conditions: str) -> Policy:
    """The shipped policy with one more rule, the first of its tier."""
    when = ", ".join(f"{{ {condition} }}" for condition in conditions)
    rule = f'[[{tier}.rules]]\ncode = "{code}"\noutcome = "{outcome}"\nwhen = [{when}]\n\n'
    return parse_policy(POLICY_PATH.read_text().replace(f"[[{tier}.rules]]", f"{rule}[[{tier}.rules]]", 1).encode())


def verdict(policy: Policy, mode: Mode = CLOSED, **values: int) -> Verdict:
    return decide(features(**values), [mode], regime(policy, small_model()))[0]


def test_a_hard_rule_added_to_the_file_blocks_and_says_why():
    added = policy_with("hard", "HARD_WEEKEND", "BLOCK", f'feature = "is_weekend", at_least = 1, {NOT_MISSING}')
    v = verdict(added, is_weekend=1)
    assert (v.outcome, v.route, v.rules_triggered) == (Outcome.BLOCK, Route.GUARDRAIL, ["HARD_WEEKEND"])
    assert v.summary == "Blocked because the payment was made at a weekend."
    assert (v.reasons[0].limit, v.reasons[0].excess) == (None, None)


def test_a_hard_rule_is_static_where_it_reads_event_columns_alone_wherever_it_stands_in_the_file():
    weekend = f'feature = "is_weekend", at_least = 1, {NOT_MISSING}'
    burst = f'feature = "account_count_1h", at_least = 9, {NOT_MISSING}'
    book = rule_book(policy_with("hard", "HARD_X", "BLOCK", weekend))
    assert next(rule.code for rule in book.static_hard.rules) == "HARD_X"
    book = rule_book(policy_with("hard", "HARD_X", "BLOCK", weekend, burst))
    assert [rule.code for rule in book.hard.rules][-2:] == ["HARD_X", "HARD_MAX_DAILY_VOLUME"]
    assert "HARD_X" not in {rule.code for rule in book.static_hard.rules}
    assert all(bound.feature in EVENT for rule in book.static_hard.rules for bound in rule.bounds)


def test_a_soft_rule_may_ask_for_more_certainty_of_larger_payments():
    large = f'feature = "amount_gbp_minor", at_least = 10_000, {NOT_MISSING}'
    added = policy_with("soft", "SOFT_LARGE", "ESCALATE", 'feature = "confidence_bp", at_most = 9_949', large)
    v = verdict(added, amount_gbp_minor=12_345)
    assert (v.outcome, v.confidence_bp, v.rules_triggered) == (Outcome.ESCALATE, 9_900, ["SOFT_LARGE"])
    assert v.reasons[0].text == (
        "the model is only 99.00 % sure that the payment is honest, 0.50 percentage points short of the required"
        " 99.50 %; and the payment is £123.45 (from £100.00 on)"
    )
    assert (v.reasons[0].observed, v.reasons[0].limit, v.reasons[0].excess) == (9_900, 9_950, -50)
    assert verdict(added, amount_gbp_minor=9_999).outcome is Outcome.ALLOW


def test_a_soft_rule_on_confidence_speaks_in_the_shadow_of_the_fallback_only():
    sure = policy_with("soft", "SOFT_SURE", "ESCALATE", 'feature = "confidence_bp", at_most = 9_999')
    v = verdict(sure, OPEN)
    assert (v.outcome, v.route, v.rules_triggered) == (Outcome.ALLOW, Route.FALLBACK, [])
    assert v.model_answer is not None
    assert v.model_answer.outcome is Outcome.ESCALATE


def test_a_soft_rule_leaves_a_models_block_as_it_is():
    sure = policy_with("soft", "SOFT_SURE", "ESCALATE", 'feature = "confidence_bp", at_most = 9_999')
    v = verdict(sure, ip_fraud_reports=3, amount_gbp_minor=300_000, is_new_beneficiary=1)
    assert (v.outcome, v.rules_triggered) == (Outcome.BLOCK, [])


@pytest.mark.parametrize("mode", [CLOSED, OPEN])
def test_a_missing_value_meets_a_condition_that_says_so_and_its_reason_has_no_difference(mode):
    strict = policy_with("soft", "SOFT_X", "ESCALATE", 'feature = "ip_fraud_reports", at_least = 5')
    v = verdict(strict, mode, ip_fraud_reports=NONE)
    assert (v.outcome, v.rules_triggered[0]) == (Outcome.ESCALATE, "SOFT_X")
    assert v.reasons[0].text == "no IP address is given"
    assert (v.reasons[0].observed, v.reasons[0].limit, v.reasons[0].excess) == (NONE, 4, None)
    assert "SOFT_X" not in verdict(strict, OPEN, ip_fraud_reports=4).rules_triggered
    assert "SOFT_X" in verdict(strict, OPEN, ip_fraud_reports=5).rules_triggered


NAMES = st.sampled_from([name for name in FEATURES if greatest_of(name) > 10])
BOUNDS = st.one_of(st.none(), st.integers(0, 1_000))


@st.composite
def conditions(draw: st.DrawFn, names: st.SearchStrategy[str] = NAMES) -> Condition:
    low, high = draw(BOUNDS), draw(BOUNDS)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    if high is None and not low:
        low = 1
    none, unknown = draw(st.sampled_from(WhenMissing)), draw(st.sampled_from(WhenMissing))
    return Condition(feature=draw(names), at_least=low, at_most=high, when_none=none, when_unknown=unknown)


@given(conditions(), st.one_of(st.sampled_from([NONE, UNKNOWN]), st.integers(0, 1_100)))
def test_invariant_3_a_table_holds_what_the_file_s_words_say(condition, observed):
    rule = HardRule(code="HARD_X", outcome=Outcome.BLOCK, when=(condition,))
    shipped = parse_policy(POLICY_PATH.read_bytes())
    table = rule_book(shipped.model_copy(update={"hard": shipped.hard.model_copy(update={"rules": (rule,)})})).hard
    row = np.full((1, len(FEATURES)), NONE, dtype=np.int64)
    row[0, COLUMN[condition.feature]] = observed
    if observed == NONE:
        expected = condition.when_none is WhenMissing.HOLDS
    elif observed == UNKNOWN:
        expected = condition.when_unknown is WhenMissing.HOLDS
    else:
        low = 0 if condition.at_least is None else condition.at_least
        expected = low <= observed and (condition.at_most is None or observed <= condition.at_most)
    assert bool(hits_of(table, row)) is expected
    assert table.rules[0].bounds[0].is_met_by(observed) is expected


AMOUNT_OR_COUNT = st.sampled_from(["amount_gbp_minor", "account_count_1h"])


@given(conditions(AMOUNT_OR_COUNT), conditions(AMOUNT_OR_COUNT), st.integers(0, 1_100))
def test_what_covers_a_condition_holds_wherever_that_holds(first, second, observed):
    def holds(condition: Condition) -> bool:
        return condition.low <= observed <= condition.high

    if first.covers(second):
        assert first.feature == second.feature
        assert holds(first) or not holds(second)
        if first.feature != "amount_gbp_minor":
            assert first.holds_when_none or not second.holds_when_none
            assert first.holds_when_unknown or not second.holds_when_unknown


def test_rules_read_the_features_and_the_confidence_behind_them():
    assert sorted(RULE_COLUMN.values()) == list(range(len(FEATURES) + 1))
    assert greatest_of("confidence_bp") == CONFIDENCE_BP_MAX
