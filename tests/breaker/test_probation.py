"""The sequential test on probation: how often a good model fails, and how often a wrong one passes."""

from __future__ import annotations

import math
import random

import pytest

from pipeline.breaker import BreakerSettings
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.detecting.baselines import Baseline
from pipeline.breaker.detecting.conditions import Observation, Watch
from pipeline.breaker.detecting.probation import Standing, probes_added, standing
from pipeline.breaker.settings import Condition
from tests.breaker.given import DEFAULTS, answers, baseline

POINTS = DEFAULTS.block_rate_spike_points / 100
LANES = 200
SPANS_MAX = 300
TRIPPED_BY = (Condition.BLOCK_RATE_SPIKE, Condition.ALLOW_RATE_SPIKE)


def probed(probes: Counts, yardstick: Baseline, watch: Watch, given: BreakerSettings = DEFAULTS) -> Watch:
    seen = Observation(Counts(), Counts(), Counts(), yardstick, None, probes)
    return probes_added(seen, watch, given)


def stands_after(spans: list[Counts], yardstick: Baseline, tripped_by: tuple[Condition, ...] = ()) -> Standing:
    watch = Watch()
    for span in spans:
        watch = probed(span, yardstick, watch)
    return standing(watch, tripped_by, DEFAULTS)


@pytest.mark.parametrize("burst", [Counts(allow=9, block=4), Counts(allow=51, block=8), Counts(block=30)])
def test_one_ring_of_fraud_that_the_model_rightly_blocks_condemns_nobody(burst):
    """With 4 of 1,105 usual, 4 blocks of 13 ended a probation of the demonstration at once."""
    usual = baseline(1_105, 1_090, 4, is_seasonal=False)
    quiet = [answers(30)] * 4
    assert stands_after([burst], usual) is Standing.UNDECIDED
    assert stands_after([burst, *quiet], usual) is Standing.PASSED
    assert stands_after([quiet[0], burst, burst, *quiet], usual) is Standing.PASSED
    assert stands_after([burst] * 3, usual) is Standing.FAILED


def test_one_evaluation_full_of_stops_passes_no_model_that_let_everything_through():
    usual = baseline(10_000, 9_000, 500)
    stopped, lax = answers(500, 60, 60), answers(500)
    assert stands_after([stopped], usual, TRIPPED_BY[1:]) is Standing.UNDECIDED
    assert stands_after([stopped, lax, lax, lax], usual, TRIPPED_BY[1:]) is Standing.UNDECIDED
    assert stands_after([lax] * 3, usual, TRIPPED_BY[1:]) is Standing.FAILED


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_what_a_small_yardstick_leaves_likely_is_no_evidence_against_a_model(blocks):
    """None of 150 blocked is seen in one case of five where 1 % is usual: it doesn't say that 1 % is wrong."""
    usual = baseline(150, 150 - blocks, blocks, is_seasonal=False)
    assert stands_after([answers(100, blocks + 2)] * 20, usual) is Standing.PASSED
    assert stands_after([answers(100, 20 + blocks)] * 20, usual) is Standing.FAILED


@pytest.mark.parametrize("answers_a_span", [4, 40])
@pytest.mark.parametrize("share", [0.002, 0.03])
@pytest.mark.parametrize("sample", [600, 100_000])
def test_risk_is_kept_either_way_however_little_the_yardstick_holds(answers_a_span, share, sample):
    """The yardstick is drawn, too. The rings are of up to 8 payments, and half of the model's blocks come so."""
    drawn = random.Random(f"{answers_a_span} {share} {sample}")
    good = [ended(drawn, answers_a_span, share, 0.0, sample) for _ in range(LANES)]
    wrong = [ended(drawn, answers_a_span, share, POINTS, sample) for _ in range(LANES)]
    most = LANES * 2 * DEFAULTS.half_open_risk_percent / 100  # with 2 expected, chance makes over 4 in 5 %
    assert good.count(Standing.FAILED) <= most
    assert wrong.count(Standing.PASSED) <= most
    assert good.count(Standing.PASSED) >= LANES * 0.95


def ended(drawn: random.Random, answers_a_span: float, share: float, added: float, sample: int) -> Standing:
    """Return how a probation ends of a model that blocks `share`, half of it in rings, and `added` beside."""
    blocks = min(round(max(drawn.gauss(sample * share, math.sqrt(2 * sample * share)), 0)), sample)
    usual, watch = baseline(sample, sample - blocks, blocks, is_seasonal=False), Watch()
    for _ in range(SPANS_MAX):
        watch = probed(span_of(drawn, answers_a_span, share, added), usual, watch)
        stands = standing(watch, (), DEFAULTS)
        if stands is not Standing.UNDECIDED:
            return stands
    return Standing.UNDECIDED


def span_of(drawn: random.Random, mean: float, share: float, added: float) -> Counts:
    total = int(mean) + (drawn.random() < mean % 1)
    block = sum(drawn.random() < share / 2 + added for _ in range(total))
    ring = 8 if mean > 8 else 2
    if drawn.random() < mean * share / 2 / ((1 + ring) / 2):
        block = min(block + drawn.randint(1, ring), total)
    return Counts(allow=total - block, block=block)
