"""A card's measures: parts add up to the whole, money is right to the penny, and little data is said to be little."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate  # type: ignore[import-untyped]

from models.artefact.scoring import score
from models.card.cards import BLOCK_AT_PPM
from models.card.facts import FairnessVerdict
from models.card.measuring.measured import OTHERS, VALUES_MAX, Attributes, Measured
from models.card.measuring.measurement import measurement
from models.card.standing import is_missed, is_stopped_more
from models.train.history import DEFAULT_POLICY
from pipeline.decide.policy import parse_policy
from tests.models.card.given import USUAL, measured_of, payments, small_model


def measured(said: list[Attributes], count: int = 6_000) -> Measured:
    features = payments(count)
    return measured_of(score(small_model(), features), features, said)


def test_the_parts_of_each_segment_add_up_to_all_payments() -> None:
    found = measurement(measured(USUAL), BLOCK_AT_PPM, 5, 1)
    assert {each.segment for each in found.slices} == {"amount", "channel", "age_band", "postcode_area"}
    for name in {each.segment for each in found.slices}:
        parts = [each for each in found.slices if each.segment == name]
        for count in ("payments", "frauds", "fraud_minor", "caught_minor", "stopped_minor"):
            assert sum(getattr(each, count) for each in parts) == getattr(found.overall, count)
        assert sum(each.stopped.part for each in parts) == found.overall.stopped.part


def test_kinds_add_up_to_the_frauds() -> None:
    found = measurement(measured(USUAL), BLOCK_AT_PPM, 5, 1)
    assert [kind.kind for kind in found.kinds] == ["account_takeover", "card_testing", "push_payment"]
    assert sum(kind.frauds for kind in found.kinds) == found.overall.frauds
    assert sum(kind.caught_minor for kind in found.kinds) == found.overall.caught_minor


def test_a_higher_threshold_catches_and_stops_no_more() -> None:
    found = measurement(measured(USUAL), BLOCK_AT_PPM, 5, 1).thresholds
    assert BLOCK_AT_PPM in [each.at_ppm for each in found]
    for column in ("caught_minor", "stopped_minor"):
        figures = [getattr(each, column) for each in found]
        assert figures == sorted(figures, reverse=True)
        assert figures[0] > figures[-1]


def test_money_is_that_of_the_payments_to_the_penny() -> None:
    given = measured([])
    blocked = given.probability_ppm >= BLOCK_AT_PPM
    found = measurement(given, BLOCK_AT_PPM, 5, 1).overall
    assert found.caught_minor == int(given.amount_gbp_minor[blocked & given.fraud].sum())
    assert found.stopped_minor == int(given.amount_gbp_minor[blocked & ~given.fraud].sum())


def test_an_amount_that_is_not_known_counts_and_adds_no_money() -> None:
    given = measured([])
    hidden = given._replace(amount_gbp_minor=np.full_like(given.amount_gbp_minor, -1))
    found = measurement(hidden, BLOCK_AT_PPM, 5, 1)
    assert (found.without_amount, found.overall.fraud_minor) == (len(given.fraud), 0)
    assert found.overall.caught.part > 0


def test_the_reliability_bins_hold_every_payment_and_the_models_own_probability() -> None:
    found = measurement(measured([]), BLOCK_AT_PPM, 5, 1).reliability
    assert sum(each.payments for each in found) == 6_000
    held = [each for each in found if each.payments]
    for each in held:
        assert each.mean_ppm is not None
        assert each.observed.low_ppm is not None
        assert each.observed.high_ppm is not None
        assert each.observed.low_ppm - 40_000 < each.mean_ppm < each.observed.high_ppm + 40_000
    assert len(held) == 5


def test_the_threshold_is_the_shipped_policys() -> None:
    assert parse_policy(DEFAULT_POLICY.read_bytes()).model.block_probability_ppm == BLOCK_AT_PPM


def test_a_segment_without_a_fraud_is_measured_and_has_nothing_to_count() -> None:
    given = measured(USUAL)
    of_n = np.array([each.segments[1][1] == "N" for each in given.attributes])[given.attribute_of]
    found = measurement(given._replace(fraud=given.fraud & ~of_n), BLOCK_AT_PPM, 5, 1)
    part = next(each for each in found.slices if each.value == "N")
    assert (part.frauds, part.caught.ppm, part.average_precision.ppm) == (0, None, None)
    assert not is_missed(part, found)


def test_a_model_that_stops_one_postcode_is_below_the_floor_there_and_only_there() -> None:
    given = measured(USUAL, 30_000)
    of_n = np.array([each.segments[1][1] == "N" for each in given.attributes])[given.attribute_of]
    biased = np.where(of_n & (np.arange(len(of_n)) % 5 < 2), 990_000, given.probability_ppm)
    found = measurement(given._replace(probability_ppm=biased), BLOCK_AT_PPM, 5, 1)
    verdicts = {group.value: group.verdict for each in found.fairness for group in each.groups}
    assert verdicts["N"] is FairnessVerdict.BELOW
    assert verdicts["SW"] is verdicts["AB"] is FairnessVerdict.HELD
    stopped = [each.value for each in found.slices if each.segment == "postcode_area" and is_stopped_more(each, found)]
    assert stopped == ["N"]


def test_few_honest_payments_stopped_is_not_enough_data() -> None:
    given = measured(USUAL, 300)
    found = measurement(given, 999_999, 5, 1)
    verdicts = {group.verdict for each in found.fairness for group in each.groups}
    assert verdicts == {FairnessVerdict.NOT_ENOUGH_DATA}


def test_the_least_rate_over_the_greatest_is_fairlearns() -> None:
    given = measured(USUAL, 20_000)
    found = next(each for each in measurement(given, 500_000, 5, 1).fairness if each.segment == "postcode_area")
    areas = np.array([each.segments[1][1] for each in given.attributes])[given.attribute_of]
    frame = MetricFrame(
        metrics=false_positive_rate,
        y_true=given.fraud,
        y_pred=given.probability_ppm >= 500_000,
        sensitive_features=areas,
    )
    assert found.least_over_greatest_ppm == pytest.approx(frame.ratio() * 1e6, abs=100)


def test_payments_that_declare_nothing_are_a_part_and_no_group() -> None:
    said = [*USUAL, Attributes("CARD", "", ())]
    found = measurement(measured(said), BLOCK_AT_PPM, 5, 1)
    values = [each.value for each in found.slices if each.segment == "age_band"]
    assert values[-1] is None
    fairness = next(each for each in found.fairness if each.segment == "age_band")
    assert [group.value for group in fairness.groups] == ["18-24", "25-34", "65+"]


def test_a_segment_with_a_value_for_each_payment_is_bounded() -> None:
    said = [Attributes("CARD", "", (("id", str(number)),)) for number in range(2_000)]
    found = measurement(measured(said, 2_000), BLOCK_AT_PPM, 5, 1)
    parts = [each for each in found.slices if each.segment == "id"]
    assert len(parts) == VALUES_MAX + 1
    assert (parts[-1].value, sum(each.payments for each in parts)) == (OTHERS, 2_000)
