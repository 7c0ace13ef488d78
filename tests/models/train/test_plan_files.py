"""A plan says what to try; what it can't mean is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.train.choosing import DEFAULT_GRID
from models.train.learn import MODEL_FEATURES, MONOTONE, OPTIONAL_FEATURES
from models.train.plan_files import PlanRefused, read_plan

WHOLE = """
label_delay_days = 14
folds = 4
features = ["amount_gbp_minor", "ip_fraud_reports", "beneficiary_age_hours"]

[monotone]
ip_fraud_reports = "rising"
beneficiary_age_hours = "falling"

[grid]
bins = [256, 1024]
learning_rate = [0.01, 0.04]
"""


def plan_file(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def test_a_plan_says_features_directions_and_what_to_try(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, WHOLE), 5)
    assert plan.learner.features == ("amount_gbp_minor", "ip_fraud_reports", "beneficiary_age_hours")
    assert dict(plan.learner.monotone) == {"ip_fraud_reports": 1, "beneficiary_age_hours": -1}
    assert [(each.bins, each.learning_rate) for each in plan.tried] == [
        (256, 0.01), (256, 0.04), (1024, 0.01), (1024, 0.04)
    ]  # fmt: skip
    assert (plan.folds, plan.label_delay_days, plan.learner.seed) == (4, 14, 5)
    assert plan.groups == {}  # whoever names features means them


def test_without_a_plan_the_declared_lists_hold() -> None:
    plan = read_plan(None, 1)
    assert plan.learner.features == MODEL_FEATURES
    assert plan.learner.monotone == MONOTONE
    assert len(plan.tried) == len(DEFAULT_GRID["bins"]) * len(DEFAULT_GRID["pairs"])
    assert plan.groups == OPTIONAL_FEATURES


def test_a_plan_says_which_features_have_to_earn_their_place(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, WHOLE + '[optional]\nreports = ["ip_fraud_reports"]\n'), 5)
    assert plan.groups == {"reports": ("ip_fraud_reports",)}
    assert not read_plan(plan_file(tmp_path, "[optional]\n"), 5).groups
    assert read_plan(plan_file(tmp_path, "folds = 4"), 5).groups == OPTIONAL_FEATURES


def test_an_empty_grid_tries_nothing_and_declared_directions_hold_for_chosen_features(tmp_path: Path) -> None:
    plan = read_plan(plan_file(tmp_path, 'features = ["ip_fraud_reports", "amount_gbp_minor"]\n[grid]\n'), 1)
    assert plan.tried == ()
    assert dict(plan.learner.monotone) == {"ip_fraud_reports": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("speed = 3", "unknown key 'speed'"),
        ("bins = [", "not TOML"),
        ("folds = 0", "'folds' is not a whole number"),
        ("folds = true", "'folds' is not a whole number"),
        ("label_delay_days = 1", "'label_delay_days' is not a whole number from 7"),
        ("features = []", "not a list of names"),
        ('features = ["amount"]', "there is no feature 'amount'"),
        ('features = ["is_reference_missing"]', "only guardrails may use"),
        ('features = ["amount_gbp_minor", "amount_gbp_minor"]', "twice"),
        ('[monotone]\npostcode = "rising"', "doesn't see"),
        ('optional = ["ip_fraud_reports"]', "not a table of groups"),
        ('[optional]\nA = ["ip_fraud_reports"]', "is not named by"),
        ('[optional]\na = "ip_fraud_reports"', "'optional.a' is not a list of names"),
        ("[optional]\na = []", "'optional.a' is not a list of names"),
        ('[optional]\na = ["postcode"]', "'optional' names 'postcode', which the model doesn't see"),
        ('[optional]\na = ["ip_fraud_reports"]\nb = ["ip_fraud_reports"]', "in two groups"),
        ('features = ["ip_fraud_reports"]\n[optional]\na = ["ip_fraud_reports"]', "leaves no feature"),
        ("[optional]\n" + "\n".join(f'{letter} = ["ip_fraud_reports"]' for letter in "abcde"), "has 5 groups"),
        ('[monotone]\nip_fraud_reports = "up"', "not 'rising' or 'falling'"),
        ("[grid]\ncolour = [1]", "it may vary"),
        ("[grid]\nbins = 256", "not a list"),
        ("[grid]\nbins = [1.5]", "not a number"),
        ("[grid]\nbins = [true]", "not a number"),
        ("[grid]\nlearning_rate = [nan]", "not a number"),
        ("[grid]\nlearning_rate = [9]", "not a number"),
        (f"[grid]\nbins = {list(range(4, 60))}", "has 56 combinations"),
    ],
)
def test_what_a_plan_can_not_mean_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(PlanRefused, match=why):
        read_plan(plan_file(tmp_path, text), 1)


def test_a_plan_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match="can't be read"):
        read_plan(tmp_path / "none.toml", 1)
    with pytest.raises(PlanRefused, match="larger than"):
        read_plan(plan_file(tmp_path, "#" * 70_000), 1)
