"""The sequential test on probation: how often a good model fails, and how often a wrong one passes."""

from __future__ import annotations

import math
import random

import pytest

from pipeline.breaker import BreakerSettings, Cause, Event
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.detecting.baselines import Baseline
from pipeline.breaker.detecting.conditions import Observation, Watch
from pipeline.breaker.detecting.judging import judge, next_event
from pipeline.breaker.detecting.probation import Standing, probes_added, standing
from pipeline.breaker.settings import Condition, breaker_settings_of
from pipeline.domain.decision import BreakerState
from tests.breaker.given import DEFAULTS, START_MS, answers, baseline
from tests.breaker.given import record as half_open
from tests.records import POLICY_PATH

SHIPPED = breaker_settings_of(POLICY_PATH.read_bytes())
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


def evaluations_until_closed(scope: str, a_window: int, a_span: float, tripped_by: Condition) -> int | None:
    """Return after how many evaluations the last probation of a sound model ends in CLOSED; None for never in a day."""
    drawn, watch = random.Random(f"{a_window} {tripped_by}"), Watch()
    usual = baseline(20_000, 18_000, 2_000)
    record = half_open(BreakerState.HALF_OPEN, scope, since_ms=START_MS, share_percent=25)
    record = record._replace(cause=Cause("", "monitor", (tripped_by,)))
    for place in range(24 * 120):
        total, block = (int((place + 1) * each) - int(place * each) for each in (a_span, a_span / 10))
        span = answers(total, block)  # the shadow's are as usual throughout
        window = answers(a_window, a_window // 10)
        seen = Observation(window, Counts(), span, usual, None, span_of(drawn, a_span / 4, 0.1, 0.0))
        judgement = judge(scope, seen, watch, SHIPPED, 30)
        outcome = next_event(record, judgement, seen, START_MS + place * SHIPPED.evaluation_interval_s * 1000, SHIPPED)
        if not isinstance(outcome, Watch):
            return place if outcome.event is Event.PROBE_GOOD else None
        watch = outcome
    return None


@pytest.mark.parametrize("tripped_by", [Condition.BLOCK_RATE_SPIKE, Condition.ALLOW_RATE_SPIKE])
@pytest.mark.parametrize("a_window", [40, 99, 150, 199])
def test_a_part_with_fewer_payments_than_a_probation_asks_for_comes_back_all_the_same(a_window, tripped_by):
    """A postcode trips from 100 payments in a window on, and by the cumulative sum with fewer. A probation asked for
    200 in the window, and for the condition to be judged there: by itself it never ended."""
    found = evaluations_until_closed("segment:postcode_area=NE", a_window, a_window / 10, tripped_by)
    assert found is not None
    assert found * a_window / 10 >= SHIPPED.half_open_minimum_sample * 0.8


def test_what_too_few_payments_say_closes_nothing_without_a_yardstick():
    watch = probed(answers(50), baseline(20_000, 19_000, 400), Watch())._replace(good=5, sampled=10_000)
    seen = Observation(answers(50), Counts(), answers(5), None, None, Counts())
    record = half_open(BreakerState.HALF_OPEN, since_ms=0, share_percent=25)
    record = record._replace(cause=Cause("", "monitor", (Condition.BLOCK_RATE_SPIKE,)))
    judgement = judge(record.scope, seen, watch, SHIPPED)
    assert isinstance(next_event(record, judgement, seen, START_MS, SHIPPED), Watch)
