import hashlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.policy import PolicyRefused, parse_new_policy, parse_policy
from pipeline.decide.policy_rules import WhenMissing
from tests.records import POLICY_PATH

DEFAULT = POLICY_PATH.read_text()
NOT_MISSING = 'when_none = "does_not_hold", when_unknown = "holds"'
MISSING = 'when_none = "holds", when_unknown = "holds"'


def refused(text):
    with pytest.raises(PolicyRefused) as caught:
        parse_policy(text.encode())
    return str(caught.value)


def changed(old, new):
    assert old in DEFAULT
    return DEFAULT.replace(old, new, 1)


def rule(tier, code, outcome, *conditions):
    when = ", ".join(f"{{ {condition} }}" for condition in conditions)
    return f'[[{tier}.rules]]\ncode = "{code}"\noutcome = "{outcome}"\nwhen = [{when}]\n'


def with_rule(*parts):
    return changed("[[soft.rules]]", rule(*parts) + "\n[[soft.rules]]")


def without_rule(code):
    """The policy whose rule `code` is retired."""
    return DEFAULT.replace(rule_text(code, DEFAULT), "")


def rule_text(code, text):
    [of_rule] = [part for part in text.split("\n\n") if f'code = "{code}"' in part]
    return of_rule + "\n\n"


def test_default_policy_parses_and_carries_its_hash():
    policy = parse_policy(DEFAULT.encode())
    assert policy.sha256 == hashlib.sha256(DEFAULT.encode()).digest()
    assert [rule.code for rule in policy.hard.rules] == [
        "HARD_MAX_SINGLE_TRANSACTION",
        "HARD_SANCTIONED_COUNTRY",
        "HARD_REFERENCE_MISSING",
        "HARD_BENEFICIARY_NAME_MISSING",
        "HARD_YOUNG_ACCOUNT_HIGH_VALUE",
        "HARD_UNSUPPORTED_CURRENCY",
        "HARD_UNKNOWN_COUNTRY",
        "HARD_MAX_DAILY_VOLUME",
    ]
    assert [rule.code for rule in policy.soft.rules] == [
        "SOFT_VELOCITY",
        "SOFT_NEW_PAYEE_HIGH_VALUE",
        "SOFT_UNUSUAL_AMOUNT",
        "SOFT_UNUSUAL_AGAIN",
        "SOFT_UNUSUAL_HOURS",
        "SOFT_UNUSUAL_HOURS_LOGGED",
        "SOFT_LATE",
        "SOFT_EXCHANGE_RATE_OLD",
        "SOFT_SANCTIONS_LIST_OLD",
        "SOFT_CONFIDENCE_MINIMUM",
        "SOFT_DAILY_VOLUME",
        "SOFT_RISKY_BENEFICIARY",
        "SOFT_DAILY_VOLUME_DATED_BACK",
    ]
    assert policy.near_limit_gbp_minor() == (4_500_000, 5_000_000)


def test_default_policy_says_of_every_feature_what_missing_values_mean_and_what_is_unknown_meets_every_rule():
    policy = parse_policy(DEFAULT.encode())
    met_by_none = set()
    for each in (*policy.hard.rules, *policy.soft.rules, *policy.fallback.rules):
        for condition in each.when:
            said = condition.model_fields_set & {"when_none", "when_unknown"}
            assert len(said) == (0 if condition.feature == "confidence_bp" else 2)
            is_stood_in_for = each.code == "HARD_MAX_DAILY_VOLUME"  # by SOFT_DAILY_VOLUME
            assert condition.holds_when_unknown or is_stood_in_for or condition.feature == "confidence_bp"
            if condition.holds_when_none:
                met_by_none.add(each.code)
    assert met_by_none == {"HARD_UNSUPPORTED_CURRENCY", "HARD_UNKNOWN_COUNTRY"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('version = "2026-11-30"', "", "version: is missing"),
        ("format = 1", "", "format: is missing; this release reads format 1"),
        ("format = 1", "format = 2\nrules_of_tomorrow = 1", "format: this release reads format 1, not 2"),
        ("format = 1", 'format = "1"', "format: this release reads format 1, not '1'"),
        ("format = 1", "format = true", "format: this release reads format 1, not True"),
        ("[near_limit]", "[near_limit]\npercent = 3", "near_limit.percent: unknown key"),
        ("= 5_000_001", "= 50000.01", "hard.rules.0.when.0.at_least: Input should be a valid integer"),
        ("= 5_000_001", "= true", "hard.rules.0.when.0.at_least: Input should be a valid integer"),
        ("= 5_000_001", "= -1", "hard.rules.0.when.0.at_least: Input should be greater than or equal to 0"),
        ("= 5_000_001", f"= {10**30}", "hard.rules.0.when.0.at_least: Input should be "),
        ("= 5_000_001", f"= {10**11 + 1}", "hard.rules.0.when.0: at_least is above 100000000000, the most"),
        ("= 20_000_001", f"= {10**16}", "hard.rules.7.when.0: at_least is above 5000000000000000, the most"),
        ("at_least = 8,", "at_least = 50_001,", "fallback.rules.9.when.0: at_least is above 50000, the most"),
        (
            f'"is_reference_missing", at_least = 1, {NOT_MISSING}',
            f'"is_reference_missing", {MISSING}',
            "hard.rules.2.when.0: the condition on 'is_reference_missing' has neither at_least nor at_most, and a",
        ),
        ("= 5_000_001, ", "= 0, ", "hard.rules.0.when.0: the condition on 'amount_gbp_minor' holds for every known"),
        ("at_least = 5_000_001, ", "", "hard.rules.0.when.0: the condition on 'amount_gbp_minor' has neither at_least"),
        (f", at_least = 5_000_001, {NOT_MISSING}", "", "hard.rules.0.when.0: the condition on 'amount_gbp_minor' has "),
        ("at_least = 60, at_most = 299", "at_least = 299, at_most = 60", "soft.rules.4.when.0: at_most is below"),
        ("at_most = 299", "at_most = 1440", "soft.rules.4.when.0: at_most is above 1439, the most that 'local_minute"),
        ("= 7_999", "= 1_999", "soft.rules: SOFT_CONFIDENCE_MINIMUM could never apply: below model.block_probability"),
        (
            '"confidence_bp", at_most = 7_999',
            f'"confidence_bp", at_most = 7_999, {NOT_MISSING}',
            "soft.rules.9.when.0: 'confidence_bp' is always known where a rule asks for it; leave out when_none",
        ),
        (", at_most = 7_999 }", " }", "soft.rules.9.when.0: the condition on 'confidence_bp' has neither"),
        (
            'at_least = 20_000_001, when_none = "does_not_hold", when_unknown = "does_not_hold"',
            'when_none = "does_not_hold", when_unknown = "does_not_hold"',
            "hard.rules.7.when.0: the condition on 'account_volume_minor_24h' has neither at_least nor at_most, so it",
        ),
        (
            f'"beneficiary_age_hours", at_most = 48, {NOT_MISSING}',
            f'"beneficiary_age_hours", {NOT_MISSING}',
            "fallback.rules.8.when.0: the condition on 'beneficiary_age_hours' has neither at_least nor at_most, so it",
        ),
        (
            'when_none = "does_not_hold"',
            'when_none = "passes"',
            "hard.rules.0.when.0.when_none: Input should be 'holds'",
        ),
        ('when_none = "does_not_hold"', 'if_none = "holds"', "hard.rules.0.when.0.if_none: unknown key"),
        ('code = "HARD_REFERENCE_MISSING"', 'code = "SOFT_REFERENCE_MISSING"', "hard.rules.2.code: "),
        ('code = "SOFT_VELOCITY"', 'code = "HARD_SANCTIONED_COUNTRY"', "soft.rules.0.code: "),
        ('"FALLBACK_BURST"', '"FALLBACK_NO_RULE"', "fallback.rules.9.code: FALLBACK_NO_RULE is the reason where none"),
        ('outcome = "BLOCK"', 'outcome = "ESCALATE"', "hard.rules.0.outcome: Input should be 'BLOCK'"),
        ('outcome = "BLOCK"', 'outcome = "ALLOW"', "hard.rules.0.outcome: "),
        ('outcome = "ESCALATE"', 'outcome = "ALLOW"', "soft.rules.0.outcome: "),
        (
            '"FALLBACK_REPORTED_IP"\noutcome = "BLOCK"',
            '"FALLBACK_REPORTED_IP"\noutcome = "ALLOW"',
            "fallback.rules.0.outcome: ",
        ),
        ('"ip_fraud_reports", at_least = 3', '"ip_reports", at_least = 3', "fallback.rules.0.when.0: unknown feature"),
        (
            '"FALLBACK_REPORTED_DEVICE"',
            '"FALLBACK_REPORTED_IP"',
            "fallback.rules: the rule FALLBACK_REPORTED_IP stands",
        ),
        (
            '"HARD_REFERENCE_MISSING"',
            '"HARD_SANCTIONED_COUNTRY"',
            "hard.rules: the rule HARD_SANCTIONED_COUNTRY stands",
        ),
        (
            '{ feature = "account_age_days", at_most = 29',
            '{ feature = "amount_gbp_minor", at_most = 29',
            "hard.rules.4.when: two conditions on 'amount_gbp_minor'",
        ),
        ('"account_volume_minor_24h", at_least = 20_', '"confidence_bp", at_least = 20_', "hard.rules.7.when.0: "),
        ('"HARD_MAX_SINGLE_TRANSACTION"\nfrom', '"HARD_MAX"\nfrom', "near_limit.rule: there is no hard rule HARD_MAX"),
        (
            '"HARD_MAX_SINGLE_TRANSACTION"\nfrom',
            '"HARD_MAX_DAILY_VOLUME"\nfrom',
            "near_limit.rule: HARD_MAX_DAILY_VOLUME is no limit on 'amount_gbp_minor'",
        ),
        (
            '[near_limit]\nrule = "HARD_MAX_SINGLE_TRANSACTION"\nfrom_percent = 90\n',
            "",
            "near_limit: is missing; FALLBACK_NEAR_LIMIT reads account_near_limit_count_24h",
        ),
        ("warn_hours = 126", "warn_hours = 0", "feeds.exchange_rates.warn_hours: "),
        ("moves_percent_max = 20", "moves_percent_max = 0", "feeds.exchange_rates.moves_percent_max: "),
        ("countries_changed_max = 5", "countries_changed_max = 5.5", "feeds.sanctions.countries_changed_max: "),
        ("block_probability_ppm = 800_000", "block_probability_ppm = 5", "model.block_probability_ppm: "),
    ],
)
def test_each_mistake_is_refused_with_its_place(old, new, sentence):
    assert refused(changed(old, new)).startswith(sentence)


def test_a_rule_that_a_hard_one_leaves_nothing_to_is_refused_whatever_its_tier():
    """A new payee's high value above the single limit, a young account's, a fallback rule's: none could ever decide."""
    above = f'feature = "amount_gbp_minor", at_least = 5_000_001, {NOT_MISSING}'
    new_payee = f'feature = "is_new_beneficiary", at_least = 1, {NOT_MISSING}'
    for tier, code, outcome in (
        ("hard", "HARD_X", "BLOCK"),
        ("soft", "SOFT_X", "ESCALATE"),
        ("fallback", "FALLBACK_X", "ESCALATE"),
    ):
        sentence = f"{tier}.rules: {code} could never decide: HARD_MAX_SINGLE_TRANSACTION blocks all that it speaks of"
        assert refused(with_rule(tier, code, outcome, above, new_payee)) == sentence
        left_out = above.replace(f", {NOT_MISSING}", "")  # a missing amount is blocked by the currency's rule
        assert refused(with_rule(tier, code, outcome, left_out, new_payee)) == sentence
        at_limit = above.replace("5_000_001", "5_000_000")
        parse_policy(with_rule(tier, code, outcome, at_limit, new_payee).encode())


def test_no_hard_rule_asks_the_model_and_no_fallback_rule_does():
    for tier, code in (("hard", "HARD_X"), ("fallback", "FALLBACK_X")):
        text = with_rule(tier, code, "BLOCK", 'feature = "confidence_bp", at_most = 7_000')
        assert "only a soft guardrail may read 'confidence_bp'" in refused(text)


@pytest.mark.parametrize(
    "code",
    ["HARD_REFERENCE_MISSING", "HARD_YOUNG_ACCOUNT_HIGH_VALUE", "HARD_MAX_DAILY_VOLUME", "SOFT_CONFIDENCE_MINIMUM"],
)
def test_a_guardrail_is_retired_by_the_file_alone(code):
    policy = parse_policy(without_rule(code).encode())
    assert code not in {rule.code for rule in (*policy.hard.rules, *policy.soft.rules)}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("HARD_UNSUPPORTED_CURRENCY", "hard.rules: none blocks a payment whose amount is unknown because its currency"),
        ("HARD_MAX_SINGLE_TRANSACTION", "near_limit.rule: there is no hard rule HARD_MAX_SINGLE_TRANSACTION"),
    ],
)
def test_a_guardrail_that_the_file_still_needs_is_not_retired(code, sentence):
    assert refused(without_rule(code)).startswith(sentence)


OWN_TABLES = """
sanctioned_countries = [{ country = "KP", from = 2006-10-14 }]

[known_countries]
as_of = 2026-11-29
codes = ["GB", "KP"]

[exchange_rates]
as_of = 2026-11-01
currencies = [{ code = "GBP", gbp = "1", minor_digits = 2 }, { code = "EUR", gbp = "0.8720", minor_digits = 2 }]
"""


def with_own_tables(text=DEFAULT):
    """A policy of before there were feeds."""
    sanctioned, known = OWN_TABLES.split("\n\n", 1)
    return text.replace('version = "', sanctioned.strip() + '\nversion = "', 1) + known


def refused_as_new(text):
    with pytest.raises(PolicyRefused) as caught:
        parse_new_policy(text.encode())
    return str(caught.value)


def test_a_policy_of_before_there_were_feeds_is_read_and_comes_into_force_no_more():
    older = with_own_tables(without_feeds())
    policy = parse_policy(older.encode())
    assert (policy.has_own_tables, policy.own_currencies, policy.feeds) == (True, {"GBP", "EUR"}, None)
    assert refused_as_new(older).startswith("exchange_rates: stands in a feed of its own now")
    assert refused_as_new(with_own_tables()).startswith("exchange_rates: stands in a feed of its own now")


def without_feeds(text=DEFAULT):
    return text[: text.index("[feeds]")]


def test_a_policy_in_force_says_what_it_expects_of_feeds():
    assert refused_as_new(without_feeds()).startswith("feeds: is missing")
    assert parse_new_policy(DEFAULT.encode()) == parse_policy(DEFAULT.encode())


@pytest.mark.parametrize(
    ("kind", "code"), [("exchange_rates", "SOFT_EXCHANGE_RATE_OLD"), ("sanctions", "SOFT_SANCTIONS_LIST_OLD")]
)
def test_a_policy_in_force_says_what_a_feed_that_is_too_old_means(kind, code):
    assert parse_new_policy(DEFAULT.encode()).too_old_hours(FeedKind(kind)) == 168
    assert refused_as_new(without_rule(code)).startswith(f"soft.rules: none says what a feed of {kind}")
    rule_of_age = rule_text(code, DEFAULT)
    for old, new in (
        ('when_unknown = "holds"', 'when_unknown = "does_not_hold"'),
        ("at_least = 168", "at_least = 168, at_most = 500"),
        ("at_least = 168", "at_least = 8_785"),
        ('holds" },', f'holds" }}, {{ feature = "is_weekend", at_least = 1, {NOT_MISSING} }},'),
    ):
        assert old in rule_of_age
        mistaken = DEFAULT.replace(rule_of_age, rule_of_age.replace(old, new))
        assert "feed of" in refused_as_new(mistaken) or "would not apply where" in refused_as_new(mistaken)
    for at_least in ("126", "96"):
        early = DEFAULT.replace(rule_of_age, rule_of_age.replace("168", at_least))
        if int(at_least) <= {"exchange_rates": 126, "sanctions": 96}[kind]:
            assert refused_as_new(early).startswith(f"feeds.{kind}.warn_hours: warns only when")


def test_a_hard_rule_may_block_what_a_feed_is_too_old_for():
    blocking = rule("hard", "HARD_OLD", "BLOCK", f'feature = "sanctions_list_age_hours", at_least = 48, {NOT_MISSING}')
    text = DEFAULT.replace("[[hard.rules]]", blocking + "\n[[hard.rules]]", 1).replace(
        "warn_hours = 96", "warn_hours = 24"
    )
    text = text.replace(rule_text("SOFT_SANCTIONS_LIST_OLD", text), "")
    assert parse_new_policy(text.encode()).too_old_hours(FeedKind.SANCTIONS) == 48


def test_a_sanction_that_blocks_the_unsanctioned_instead_is_no_guardrail():
    old = f'"is_beneficiary_country_sanctioned", at_least = 1, {NOT_MISSING}'
    text = changed(old, old.replace("at_least = 1", "at_most = 0"))
    assert refused_as_new(text).startswith("hard.rules: none blocks payments to countries under sanctions")
    assert refused_as_new(without_rule("HARD_SANCTIONED_COUNTRY")).startswith("hard.rules: none blocks payments to")


def test_a_sanction_that_only_a_missing_value_would_meet_is_no_guardrail():
    old = f'"is_beneficiary_country_sanctioned", at_least = 1, {NOT_MISSING}'
    text = changed(old, f'"is_beneficiary_country_sanctioned", {MISSING}')
    text = text.replace(rule_text("HARD_UNKNOWN_COUNTRY", text), "")
    assert refused_as_new(text).startswith("hard.rules: none blocks payments to countries under sanctions")


def test_a_list_of_sanctions_that_is_not_there_is_no_leave():
    """HARD_UNKNOWN_COUNTRY stands in for a rule that is silent where there is no list; nothing stands in for it."""
    old = f'"is_beneficiary_country_sanctioned", {MISSING}'
    silent = changed(old, old.replace('when_unknown = "holds"', 'when_unknown = "does_not_hold"'))
    assert refused_as_new(silent).startswith("hard.rules: none blocks payments to a country that nobody knows")


def test_a_policy_of_before_is_read_and_none_in_force_lets_late_payments_pass():
    older = without_rule("SOFT_LATE").encode()
    assert parse_policy(older).version == "2026-11-30"
    for text in (
        older.decode(),
        changed('"event_age_hours", at_least = 168', '"event_age_hours", at_least = 169'),
        changed('"event_age_hours", at_least = 168', '"event_age_hours", at_least = 168, at_most = 5_000'),
        changed(
            f'{{ feature = "event_age_hours", at_least = 168, {NOT_MISSING} }}',
            '{ feature = "event_age_hours", at_least = 168 }, { feature = "is_weekend", at_least = 1 }',
        ),
    ):
        with pytest.raises(PolicyRefused, match="none escalates what is late"):
            parse_new_policy(text.encode())
    parse_new_policy(changed('"event_age_hours", at_least = 168', '"event_age_hours", at_least = 24').encode())


SILENT = 'when_none = "does_not_hold", when_unknown = "does_not_hold"'


@pytest.mark.parametrize(
    ("tier", "code", "outcome", "condition"),
    [
        ("hard", "HARD_X", "BLOCK", f'feature = "beneficiary_senders_7d", at_least = 900, {SILENT}'),
        ("soft", "SOFT_X", "ESCALATE", f'feature = "beneficiary_senders_24h", at_least = 90, {SILENT}'),
        ("fallback", "FALLBACK_X", "BLOCK", f'feature = "beneficiary_risk_ppm_7d", at_least = 90, {SILENT}'),
    ],
)
def test_no_rule_in_force_is_silent_on_what_is_unknown(tier, code, outcome, condition):
    text = with_rule(tier, code, outcome, condition).encode()
    assert parse_policy(text), "an archived policy is read as it was"
    with pytest.raises(PolicyRefused, match=f"^{tier}.rules: {code} would not apply where '.*' is unknown"):
        parse_new_policy(text)


def test_a_rule_may_be_silent_on_what_is_unknown_where_another_speaks_of_all_that_it_does():
    """A bank may want a person to look at what is unknown, where it blocks what is known."""
    old = f'"ip_fraud_reports", at_least = 3, {NOT_MISSING}'
    text = changed(old, f'"ip_fraud_reports", at_least = 3, {SILENT}')
    parse_new_policy(text.encode())
    for mistaken in (
        text.replace(f'"ip_fraud_reports", at_least = 1, {NOT_MISSING}', f'"ip_fraud_reports", at_least = 1, {SILENT}'),
        text.replace(
            f'"ip_fraud_reports", at_least = 1, {NOT_MISSING}', f'"ip_fraud_reports", at_least = 4, {NOT_MISSING}'
        ),
    ):
        assert mistaken != text
        with pytest.raises(PolicyRefused, match="would not apply where 'ip_fraud_reports' is unknown"):
            parse_new_policy(mistaken.encode())


@pytest.mark.parametrize(("tier", "code", "outcome"), [("hard", "HARD_FEW", "BLOCK"), ("soft", "SOFT_FEW", "ESCALATE")])
def test_no_fallback_rule_stands_in_where_a_model_is_asked_all_the_same(tier, code, outcome):
    """A model that doesn't read what is unknown for ever is asked, so that no fallback rule is."""
    silent, loud = (f'feature = "account_count_ever", at_most = 3, {said}' for said in (SILENT, NOT_MISSING))
    fallback = rule("fallback", "FALLBACK_FEW", "ESCALATE", loud) + "\n[[fallback.rules]]"
    text = with_rule(tier, code, outcome, silent).replace("[[fallback.rules]]", fallback, 1)
    with pytest.raises(
        PolicyRefused, match="where 'account_count_ever' is unknown, and no soft or hard rule stands in"
    ):
        parse_new_policy(text.encode())
    guarded = rule("soft", "SOFT_UNKNOWN", "ESCALATE", loud) + "\n[[soft.rules]]"
    parse_new_policy(text.replace("[[soft.rules]]", guarded, 1).encode())


def test_a_rule_that_asks_for_certainty_stands_in_for_none():
    """It is not asked where the model is silent, and the model is silent where anything is unknown."""
    confidence = 'feature = "confidence_bp", at_most = 9_999'
    silent = f'feature = "beneficiary_senders_24h", at_least = 90, {SILENT}'
    loud = f'feature = "beneficiary_senders_24h", at_least = 90, {NOT_MISSING}'
    both = rule("soft", "SOFT_X", "ESCALATE", silent, confidence) + rule("soft", "SOFT_Y", "ESCALATE", loud, confidence)
    with pytest.raises(PolicyRefused, match="SOFT_X would not apply"):
        parse_new_policy(changed("[[soft.rules]]", both + "\n[[soft.rules]]").encode())


def test_what_the_payment_says_is_never_unknown():
    text = with_rule("soft", "SOFT_X", "ESCALATE", f'feature = "is_weekend", at_least = 1, {SILENT}')
    parse_new_policy(text.encode())


def test_an_unknown_country_must_be_blocked_by_a_rule_of_its_own():
    sentence = "none blocks payments to a country that nobody knows"
    assert sentence in refused_as_new(without_rule("HARD_UNKNOWN_COUNTRY"))
    old = f'{{ feature = "is_beneficiary_country_sanctioned", {MISSING} }}'
    text = changed(old, old + f', {{ feature = "is_weekend", at_least = 1, {NOT_MISSING} }}')
    assert sentence in refused_as_new(text)


def test_the_rule_of_a_missing_amount_must_stand_alone():
    """With a second condition it would let some payments of an unknown amount pass."""
    old = f'{{ feature = "amount_gbp_minor", {MISSING} }}'
    text = changed(old, old + f', {{ feature = "is_weekend", at_least = 1, {NOT_MISSING} }}')
    assert refused(text).startswith("hard.rules: none blocks a payment whose amount is unknown")


def test_a_policy_without_hard_or_fallback_rules_is_refused_and_one_without_soft_ones_must_say_so():
    starts = {tier: DEFAULT.index(f"[[{tier}.rules]]") for tier in ("hard", "soft", "fallback")}
    ends = {"hard": starts["soft"], "soft": starts["fallback"], "fallback": DEFAULT.index("[breaker]")}
    for tier, start in starts.items():
        rest = DEFAULT[:start], DEFAULT[ends[tier] :]
        assert refused("".join(rest)).startswith(f"{tier}: is missing")
        empty = f"[{tier}]\nrules = []\n\n".join(rest)
        if tier == "soft":
            assert parse_policy(empty.encode()).soft.rules == ()
        else:
            assert refused(empty).startswith(f"{tier}.rules: Tuple should have at least 1")


def test_what_is_left_out_of_a_missing_value_is_the_strict_answer():
    [added] = [
        rule
        for rule in parse_policy(
            with_rule("soft", "SOFT_X", "ESCALATE", 'feature = "ip_fraud_reports", at_least = 5').encode()
        ).soft.rules
        if rule.code == "SOFT_X"
    ]
    assert (added.when[0].when_none, added.when[0].when_unknown) == (WhenMissing.HOLDS, WhenMissing.HOLDS)


def test_every_half_written_file_is_refused():
    """Among its sanctions too: a file that is read while it is written must not lift those that are yet to come."""
    lines = DEFAULT.splitlines(keepends=True)
    for length in range(len(lines)):
        with pytest.raises(PolicyRefused):
            parse_new_policy("".join(lines[:length]).encode())


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(PolicyRefused, match="not UTF-8 at byte 3"):
        parse_policy(b"abc\xff")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(DEFAULT) - 1), st.integers(0, 40), st.binary(max_size=40))
def test_whatever_the_bytes_are_the_policy_is_read_or_refused(place, length, inserted):
    content = DEFAULT.encode()
    with suppress(PolicyRefused):
        assert parse_policy(content[:place] + inserted + content[place + length :]).format == 1
