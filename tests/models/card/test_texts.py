"""What a training's record says, in words."""

from __future__ import annotations

from models.card.content.texts import flattened


def test_a_direction_is_none_of_the_unit_that_its_feature_has() -> None:
    learner = {"monotone": {"beneficiary_age_hours": -1, "beneficiary_risk_ppm_7d": 1}, "rate_ppm": 1}
    assert [
        ("parameters.monotone.beneficiary_age_hours", "falling"),
        ("parameters.monotone.beneficiary_risk_ppm_7d", "rising"),
        ("parameters.rate_ppm", "0.0001 %"),
    ] == list(flattened(learner, "parameters"))
