"""Drift is told by the sample: chance makes none, and a real shift is found as soon as it can be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from models.artefact.strict import Json
from pipeline.bias.drift.assessing import drift_report
from pipeline.bias.drift.counting import SCORE, Asked, InputCounts, inputs_from, inputs_json, inputs_of
from pipeline.bias.drift.quality import ScoreSums, expected_quality, sums_of
from pipeline.bias.drift.reference import (
    Histogram,
    Reference,
    counts_of,
    edges_of,
    histogram_of,
    reference_in,
    reference_json,
)
from pipeline.bias.drift.settings import DriftSettings, drift_settings_of
from pipeline.bias.drift.stability import Verdict, chi_square_quantile, judged, stability_index
from pipeline.domain.features import NONE, UNKNOWN

SETTINGS = DriftSettings()
LOOKS = 20


def drawn(seed: int, size: int, shift: float = 0.0):
    random = np.random.default_rng(seed)
    return np.maximum(random.lognormal(8 + shift, 1, size), 0).astype(np.int64)


def test_1_every_value_has_one_bin_and_what_is_missing_has_its_own() -> None:
    values = np.array([UNKNOWN, NONE, NONE, 0, 1, 5, 6, 10**15], np.int64)
    assert [1, 2, 2, 1, 2] == counts_of((1, 5), values).tolist()
    assert len(values) == counts_of(edges_of(values), values).sum()


@pytest.mark.parametrize("size", [50, 1_000, 20_000])
def test_chance_alone_is_never_drift(size: int) -> None:
    reference = histogram_of(drawn(0, 20_000))
    for seed in range(1, 200):
        found = judged("x", reference, counts_of(reference.edges, drawn(seed, size)).tolist(), LOOKS, SETTINGS)
        assert found.verdict is not Verdict.DRIFTED
        assert (found.verdict is Verdict.NOT_ENOUGH_DATA) == (size < SETTINGS.minimum_sample)


def test_a_fixed_limit_would_have_called_a_small_sample_drift() -> None:
    reference = histogram_of(drawn(0, 20_000))
    found = [stability_index(reference.counts, counts_of(reference.edges, drawn(s, 60)).tolist()) for s in range(1, 50)]
    assert max(found) > 0.2


def test_a_shift_is_drift() -> None:
    reference = histogram_of(drawn(0, 20_000))
    counts = counts_of(reference.edges, drawn(1, 5_000, shift=0.7)).tolist()
    assert judged("x", reference, counts, LOOKS, SETTINGS).verdict is Verdict.DRIFTED


def test_values_that_go_unknown_are_drift() -> None:
    reference = histogram_of(drawn(0, 20_000))
    values = drawn(1, 5_000)
    values[::5] = UNKNOWN
    counts = counts_of(reference.edges, values).tolist()
    assert judged("x", reference, counts, LOOKS, SETTINGS).verdict is Verdict.DRIFTED


@pytest.mark.parametrize(
    ("taught", "then"),
    [([0], [1]), ([7], [0]), ([0, 1, 2], [0, 1, 2, 3]), ([NONE], [0]), ([UNKNOWN], [0]), ([0, 1], [0, 10**9])],
    ids=["always 0", "always 7", "a new category", "always missing", "always unknown", "far above"],
)
def test_a_value_that_was_never_taught_is_drift(taught: list[int], then: list[int]) -> None:
    """Also where one bin held all that was taught: there was nothing between which anything could shift."""
    reference = histogram_of(np.array(taught * 6_000, np.int64))
    same = counts_of(reference.edges, np.array(taught * 3_000, np.int64)).tolist()
    assert judged("x", reference, same, LOOKS, SETTINGS).verdict is Verdict.STABLE
    other = counts_of(reference.edges, np.array(then * 3_000, np.int64)).tolist()
    assert judged("x", reference, other, LOOKS, SETTINGS).verdict is Verdict.DRIFTED


def test_2_a_reference_of_before_without_a_bin_above_what_was_taught_is_read() -> None:
    stored: dict[str, Json] = {**reference_json(reference()), "score_ppm": {"edges": [5, 9], "counts": [0, 0, 4, 4, 2]}}
    found = reference_in({"reference": stored})
    assert found is not None
    assert found.score_ppm == Histogram((5, 9), (0, 0, 4, 4, 2))


@pytest.mark.parametrize("degrees", [1, 5, 11])
@pytest.mark.parametrize("risk", [0.05, 1e-3, 1e-6])
def test_the_quantile_is_scipys_within_a_twentieth(degrees: int, risk: float) -> None:
    assert chi_square_quantile(degrees, risk) == pytest.approx(chi2.isf(risk, degrees), rel=0.05)


def reference() -> Reference:
    features = {"amount_gbp_minor": histogram_of(drawn(0, 20_000)), "account_count_1h": Histogram((1, 2), (0,) * 5)}
    return Reference(20_000, features, histogram_of(drawn(1, 20_000)))


def test_2_a_reference_is_what_its_json_says() -> None:
    assert reference() == reference_in({"source": "x", "reference": reference_json(reference())})
    assert reference_in({"source": "x"}) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"payments": -1},
        {"payments": True},
        {"features": {}},
        {"features": {"no_feature": {"edges": [], "counts": [0, 0, 0]}}},
        {"score_ppm": {"edges": [5, 5], "counts": [0, 0, 0, 0, 0]}},
        {"score_ppm": {"edges": [5], "counts": [0, 0, 0]}},
        {"score_ppm": {"edges": list(range(12)), "counts": [0] * 15}},
        {"score_ppm": {"edges": [], "counts": [0, 0, -1]}},
        {"more": 1},
    ],
)
def test_2_a_spoilt_reference_is_refused(spoilt: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match=r"reference|counts|edges|feature"):
        reference_in({"reference": {**reference_json(reference()), **spoilt}})


def test_a_model_without_a_reference_is_not_called_stable() -> None:
    report = drift_report(InputCounts(ScoreSums(10**6, 10**9, 0, 0, 0, 0), {}), None, SETTINGS)
    assert report.stabilities is None
    assert not report.is_proved_stable
    assert not drift_report(InputCounts(ScoreSums(), {}), reference(), SETTINGS).is_proved_stable


def test_1_counts_add_up_over_any_division_and_outlive_their_json() -> None:
    asked = [Asked([each] * 60, each, each > 500) for each in range(0, 1_000, 7)]
    whole = inputs_of(asked, reference())
    parts = inputs_of(asked[:40], reference()).plus(inputs_of(asked[40:], reference()))
    assert whole == parts == inputs_from(inputs_json(whole))
    assert len(asked) == sum(whole.histograms[SCORE])


def test_expected_quality_is_the_truth_where_probabilities_are_right() -> None:
    random, hits = np.random.default_rng(3), 0
    for _ in range(100):
        ppm = (random.beta(0.05, 2, 20_000) * 1_000_000).astype(np.int64)
        fraud, blocked = random.random(20_000) * 1_000_000 < ppm, ppm > 400_000
        quality = expected_quality(sums_of(ppm.tolist(), blocked.tolist()))
        assert quality.recall is not None
        truth = (fraud & blocked).sum() / fraud.sum() * 1_000_000
        hits += quality.recall.low_ppm <= truth <= quality.recall.high_ppm
    assert 88 <= hits


def test_too_few_expected_frauds_give_no_estimate() -> None:
    assert expected_quality(sums_of([1_000] * 100, [False] * 100)).recall is None


def test_the_policy_sets_the_limits_and_one_without_them_has_the_strict_ones() -> None:
    assert DriftSettings() == drift_settings_of(b"")
    assert 300 == drift_settings_of(b"[drift]\nstability_limit_milli = 300").stability_limit_milli
    for wrong in (b"[drift]\nstability_limit_milli = 2_000", b"drift = 1", b"[drift]\nother = 1", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            drift_settings_of(wrong)
