import pytest

from pipeline.domain.features import FEATURES, NONE, UNKNOWN
from pipeline.explain.as_json import explanation_json
from pipeline.explain.explanation import ModelAccount, explanation
from pipeline.explain.guardrails import RuleStanding
from pipeline.explain.text_page import explanation_lines
from pipeline.replay.regimes import Missing
from pipeline.replay.verify import Result
from tests.archive import CLOSED, OPEN, payment, stored
from tests.decisions import decision_of, written


def explained(archive, mode=CLOSED, **fields):
    [value] = archive.values(
        [payment(1, **fields)], [mode], ip_fraud_reports=3, is_new_beneficiary=1, is_unpaid_beneficiary=1
    )
    return explanation(stored(value), 2, 17, archive.regime_of)


def test_none_and_unknown_are_told_apart_and_a_rule_says_what_it_makes_of_each(archive):
    [value] = archive.values(
        [payment(1, ip_address=None)], [CLOSED], ip_fraud_reports=NONE, device_fraud_reports=UNKNOWN
    )
    found = explanation(stored(value), 2, 17, archive.regime_of)
    assert found.check.result is Result.IDENTICAL
    lines = "\n".join(explanation_lines(found))
    assert "The fallback rules decided: the model was not asked, because it answers only where" in lines
    assert "none  no IP address is given" in lines
    assert "unknown  how many fraud reports the device is linked to is not known" in lines
    [of_address] = rule(found, "FALLBACK_REPORTED_IP").conditions
    assert (of_address.is_met, of_address.distance_text) == (False, "none, so it does not apply")
    [of_device] = rule(found, "FALLBACK_REPORTED_DEVICE").conditions
    assert (of_device.is_met, of_device.limit_text) == (True, "applies from 3 fraud reports, or if unknown")
    assert of_device.distance_text == "met, as what is unknown counts as the worst"


def test_a_reason_without_a_difference_is_told(archive):
    [value] = archive.values([payment(1)], [OPEN], device_fraud_reports=UNKNOWN)
    lines = "\n".join(explanation_lines(explanation(stored(value), 2, 17, archive.regime_of)))
    assert "FALLBACK_REPORTED_DEVICE: observed unknown, limit 2" in lines
    assert "money in the currency's minor unit (pence)" in lines, "what 480 is, beside £4.80"


def test_the_terms_and_the_intercept_add_up_to_the_recorded_score(archive):
    model = explained(archive).model
    assert isinstance(model, ModelAccount)
    assert model.intercept_micro + sum(share.contribution_micro for share in model.shares) == model.score_micro
    assert model.is_recorded_score


def test_every_feature_is_put_into_words_once(archive):
    assert [fact.name for fact in explained(archive).features] == list(FEATURES)


def test_the_text_holds_what_a_person_has_to_answer_for(archive):
    text = "\n".join(explanation_lines(explained(archive, amount_minor=600_000)))
    for expected in (
        "BLOCK",
        "£6,000.00",
        "the IP address is linked to 3 fraud reports",
        "+6.500000  the IP address is linked to 3 fraud reports",
        "the sum: the score in log-odds, as recorded",
        "written to           decisions.v1 2:17",
        "read from            transactions.v1 0:0",
        "gives the same bytes",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("mode", "fields", "route"),
    [
        (CLOSED, {}, "The model decided: the circuit breaker for all was CLOSED."),
        (OPEN, {}, "The fallback rules decided: the circuit breaker for model:small-1 was OPEN. The model, in shadow"),
        (
            OPEN._replace(scope="drill:0a1b2c3d:model:small-1"),
            {},
            "The fallback rules decided: the circuit breaker for model:small-1 was OPEN, by the drill 0a1b2c3d",
        ),
        (CLOSED, {"reference": None}, "A hard guardrail applied"),
    ],
)
def test_why_the_route_was_taken_is_said(archive, mode, fields, route):
    assert explained(archive, mode, **fields).why_route.startswith(route)


def test_a_guardrail_s_decision_shows_no_score(archive):
    assert explained(archive, reference=None).model == Missing("the model was not asked")


def test_without_the_model_the_rest_is_still_explained(archive):
    (archive.registry / "small-1" / "tables.json").write_text("{}")
    found = explained(archive)
    assert isinstance(found.model, Missing)
    assert found.check.result is Result.UNVERIFIABLE
    assert "Not shown: model 'small-1' is refused" in "\n".join(explanation_lines(found))


def test_of_an_altered_decision_nobody_is_told_what_made_it_so(archive):
    [value] = archive.values([payment(1)], [CLOSED], ip_fraud_reports=3)
    altered = decision_of(value)._replace(confidence_bp=1)
    found = explanation(stored(written(altered)), 2, 17, archive.regime_of)
    assert found.otherwise == Missing("decided again it DIFFERS in confidence_bp, so it isn't known what made it so")


def test_json_holds_every_term_and_hashes_as_text(archive):
    fields = explanation_json(explained(archive))
    assert len(fields["model"]["terms"]) == 2
    assert len(fields["policy_hash"]) == 64
    assert fields["verified"] == {"result": "IDENTICAL", "differing": [], "why": ""}


def rule(found, code):
    [guardrail] = [each for each in found.guardrails if each.code == code]
    return guardrail


def test_every_rule_is_told_in_the_policys_order_and_those_triggered_are_those_recorded(archive):
    for mode, fields in ((CLOSED, {}), (OPEN, {"amount_minor": 600_000}), (CLOSED, {"reference": None})):
        found = explained(archive, mode, **fields)
        rules = archive.in_force.rules
        in_order = (*rules.hard.rules, *rules.soft.rules, *rules.fallback.rules)
        assert [each.code for each in found.guardrails] == [each.code for each in in_order]
        triggered = [each.code for each in found.guardrails if each.standing is RuleStanding.TRIGGERED]
        assert tuple(triggered) == found.decision.rules_triggered


@pytest.mark.parametrize(
    ("fields", "code", "limit", "distance", "is_met"),
    [
        ({"amount_minor": 4_999_999}, "HARD_MAX_SINGLE_TRANSACTION", 5_000_000, 1, False),
        ({"amount_minor": 5_000_000}, "HARD_MAX_SINGLE_TRANSACTION", 5_000_000, 0, False),
        ({"amount_minor": 5_000_001}, "HARD_MAX_SINGLE_TRANSACTION", 5_000_000, 1, True),
        ({"amount_minor": 499_999}, "SOFT_NEW_PAYEE_HIGH_VALUE", 500_000, 1, False),
        ({"amount_minor": 500_000}, "SOFT_NEW_PAYEE_HIGH_VALUE", 500_000, 0, True),
        ({}, "FALLBACK_REPORTED_DEVICE", 3, 3, False),
        ({}, "FALLBACK_SUSPECTED_IP", 1, 2, True),
        ({}, "HARD_REFERENCE_MISSING", None, None, False),
        ({"reference": None}, "HARD_REFERENCE_MISSING", None, None, True),
    ],
)
def test_how_far_a_rule_was_from_its_limit(archive, fields, code, limit, distance, is_met):
    condition = rule(explained(archive, **fields), code).conditions[0]
    assert (condition.limit, condition.distance, condition.is_met) == (limit, distance, is_met)


def test_a_rule_that_was_met_and_did_not_count_says_why(archive):
    assert rule(explained(archive), "FALLBACK_REPORTED_IP").note.endswith("the model answered")
    blocked = explained(archive, amount_minor=600_000)
    assert blocked.decision.outcome == "BLOCK"
    assert rule(blocked, "SOFT_NEW_PAYEE_HIGH_VALUE").note.startswith("the model had blocked")
    guarded = explained(archive, amount_minor=600_000, reference=None)
    assert rule(guarded, "SOFT_NEW_PAYEE_HIGH_VALUE").note.startswith("a hard guardrail had blocked")


def test_without_the_policy_the_rules_are_said_to_be_missing(archive):
    for path in archive.policies.glob("*.toml"):
        path.unlink()
    assert isinstance(explained(archive).guardrails, Missing)
