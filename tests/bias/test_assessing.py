"""The report: rates as fairlearn has them, intervals, and "not enough data" as an answer."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate

from pipeline.bias.assessing import Verdict, assessed, summed, verdict_words
from pipeline.bias.settings import BiasSettings, bias_settings_of
from pipeline.bias.smallest import RATIO_MAX, Sample, ratio_interval, smallest_ratio
from pipeline.bias.trial import judged_alone, judged_beside
from pipeline.bias.watching import Measure

SETTINGS = BiasSettings()
NE, SW = "segment:postcode_area=NE", "segment:postcode_area=SW"


def row(payments: int, blocked: int, false_stops: int = 0, frauds: int = 0) -> tuple[int, ...]:
    return payments, blocked, 0, false_stops, payments - frauds, frauds


def whole(ne: tuple[int, ...], sw: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"all": tuple(a + b for a, b in zip(ne, sw, strict=True)), NE: ne, SW: sw}


def verdict(ne: tuple[int, ...], sw: tuple[int, ...], measure: Measure = Measure.BLOCK) -> Verdict:
    [found] = [e for e in assessed(whole(ne, sw), (NE, SW), SETTINGS).findings if (e.scope, e.measure) == (NE, measure)]
    return found.verdict


@pytest.mark.parametrize(
    ("ne", "sw", "expected"),
    [
        (row(10_000, 800), row(90_000, 1_800), Verdict.GAP),
        (row(100_000, 2_000), row(900_000, 18_000), Verdict.NO_GAP),
        (row(10_000, 200), row(90_000, 1_800), Verdict.UNDECIDED),
        (row(600, 12), row(90_000, 1_800), Verdict.NOT_ENOUGH_DATA),
        (row(499, 499), row(90_000, 1_800), Verdict.NOT_ENOUGH_DATA),
        (row(10_000, 0), row(90_000, 0), Verdict.NOT_ENOUGH_DATA),
        (row(0, 0), row(90_000, 1_800), Verdict.NOT_ENOUGH_DATA),
    ],
)
def test_2_a_gap_none_or_not_enough_data(ne, sw, expected: Verdict) -> None:
    assert expected is verdict(ne, sw)


def test_rates_are_those_of_fairlearn() -> None:
    random = np.random.default_rng(5)
    segment, fraud = random.choice(["NE", "SW"], 5_000, p=[0.2, 0.8]), random.random(5_000) < 0.02
    stopped = random.random(5_000) < np.where(segment == "NE", 0.10, 0.04)
    frame = MetricFrame(
        metrics={"selected": selection_rate, "false": false_positive_rate},
        y_true=fraud,
        y_pred=stopped,
        sensitive_features=segment,
    )
    rows = [
        (int(at.sum()), int((stopped & at).sum()), 0, int((stopped & ~fraud & at).sum()), 0, int((fraud & at).sum()))
        for at in (segment == "NE", segment == "SW")
    ]
    by = {(each.scope, each.measure): each for each in assessed(whole(*rows), (NE, SW), SETTINGS).findings}
    for scope, name in ((NE, "NE"), (SW, "SW")):
        assert by[scope, Measure.BLOCK].rate_ppm == pytest.approx(frame.by_group["selected"][name] * 1e6, abs=1)
        assert by[scope, Measure.FALSE_STOP].rate_ppm == pytest.approx(frame.by_group["false"][name] * 1e6, abs=1)
    ratio = by[NE, Measure.FALSE_STOP].ratio
    assert 1 / ratio == pytest.approx(frame.ratio(method="between_groups")["false"], rel=1e-3)


def test_the_interval_of_a_ratio_holds_at_every_look() -> None:
    random, missed, runs = np.random.default_rng(11), 0, 150
    for _ in range(runs):
        own, rest = np.cumsum(random.binomial(100, 0.06, 60)), np.cumsum(random.binomial(900, 0.03, 60))
        for look in range(60):
            payments = 100 * (look + 1)
            low, high = ratio_interval(Sample(payments, int(own[look]), 9 * payments, int(rest[look])), 0.1)
            if not low <= 2.0 <= high:
                missed += 1
                break
    assert missed <= runs * 0.1


def test_what_would_have_been_seen_gets_smaller_with_the_sample() -> None:
    found = [smallest_ratio(Sample(n, n // 50, 9 * n, 9 * n // 50), 1.25, 12.0) for n in (1_000, 10_000, 100_000)]
    assert sorted(found, reverse=True) == found
    assert found[-1] < 1.5
    assert RATIO_MAX == smallest_ratio(Sample(1_000, 3, 9_000, 0), 1.25, 12.0)


def test_every_verdict_has_words() -> None:
    for found in assessed(whole(row(10_000, 800), row(90_000, 1_800)), (NE, SW), SETTINGS).findings:
        assert verdict_words(found)


def test_counts_of_spans_add_up() -> None:
    assert {"all": row(30, 3), NE: row(10, 1)} == summed([{"all": row(10, 1)}, {"all": row(20, 2), NE: row(10, 1)}])


def test_1_a_version_of_which_nothing_is_known_does_not_pass() -> None:
    assert not judged_alone(assessed({}, (NE, SW), SETTINGS), []).passed
    fair = assessed(whole(row(200_000, 2_000, 1_000), row(900_000, 9_000, 4_500)), (NE, SW), SETTINGS)
    assert judged_alone(fair, []).passed
    assert not judged_alone(fair, ["an open one"]).passed
    unfair = assessed(whole(row(200_000, 2_000, 2_000), row(900_000, 9_000, 2_000)), (NE, SW), SETTINGS)
    assert not judged_alone(unfair, []).passed


def test_2_a_challenger_is_held_against_the_champion_on_the_same_payments() -> None:
    champion = whole(row(50_000, 4_000), row(450_000, 9_000))
    same = judged_beside(champion, champion, assessed(champion, (NE, SW), SETTINGS), (NE, SW), SETTINGS)
    assert same.passed, "an honest difference is both models'"
    worse = whole(row(50_000, 8_000), row(450_000, 9_000))
    trial = judged_beside(worse, champion, assessed(worse, (NE, SW), SETTINGS), (NE, SW), SETTINGS)
    assert not trial.passed
    assert NE in trial.findings[0]
    assert not judged_beside({}, {}, assessed({}, (NE, SW), SETTINGS), (NE, SW), SETTINGS).passed


def test_channels_alone_do_not_pass_where_the_policy_declares_segments() -> None:
    """Payments that name no segment, or too few of each, would let a model pass of which no customer is known."""
    fair = row(200_000, 2_000, 1_000)
    counts = {"all": row(1_100_000, 11_000, 5_500), "channel:CARD": fair, NE: row(499, 5, 2)}
    scopes = ("channel:CARD", "channel:BRANCH", NE, SW)
    alone = judged_alone(assessed(counts, scopes, SETTINGS), [])
    beside = judged_beside(counts, counts, assessed(counts, scopes, SETTINGS), scopes, SETTINGS)
    for trial in (alone, beside):
        assert ("only channels could be judged" in trial.findings[-1], trial.passed) == (True, False)
    undeclared = scopes[:2]
    assert judged_alone(assessed(counts, undeclared, SETTINGS), []).passed
    assert judged_beside(counts, counts, assessed(counts, undeclared, SETTINGS), undeclared, SETTINGS).passed


def test_the_policy_sets_the_floor_and_one_without_it_has_the_strict_one() -> None:
    assert BiasSettings() == bias_settings_of(b"")
    assert 90 == bias_settings_of(b"[bias]\nratio_floor_percent = 90").ratio_floor_percent
    for wrong in (b"[bias]\nratio_floor_percent = 40", b"bias = 1", b"[bias]\nother = 1", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            bias_settings_of(wrong)
