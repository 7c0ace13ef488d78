"""The evidence of a gap is an e-value: proved by counting every case, and by many runs."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from pipeline.bias.evidence import DISPERSION, PARTS, STEPS, alert_nats, cumulated, minute_nats, over_nats


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3, 0.7])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("part", [1.0, 0.5, 0.0])
def test_1_its_expectation_is_at_most_1_whatever_the_rate_of_all_is(rate: float, step: float, part: float) -> None:
    """part: of the ratio that the null allows; below 1 the segment fares better than that."""
    own, rest, ratio = 6, 9, 1.25
    expected = math.fsum(
        binomial(own, k, ratio * part * rate) * binomial(rest, r, rate)
        * math.exp(DISPERSION * minute_nats(own, k, rest, r, ratio, step))
        for k, r in product(range(own + 1), range(rest + 1))
    )  # fmt: skip
    assert expected <= 1 + 1e-12


def test_a_gap_above_what_is_let_pass_grows_and_one_below_does_not() -> None:
    """On average, of 1,000 payments against 9,000 at 2 %."""
    for ratio_true, grows in ((1.0, False), (1.25, False), (2.0, True), (20.0, True)):
        best = max(minute_nats(1_000, round(20 * ratio_true), 9_000, 180, 1.25, step) for step in STEPS)
        assert grows == (best > 0)


def test_2_a_burst_of_one_minute_is_never_a_gap() -> None:
    needed = alert_nats(1, 130, 4)
    sums = cumulated((0.0,) * 3, (10_000.0,) * 3, needed)
    assert max(sums) == pytest.approx(needed / PARTS)
    for _ in range(PARTS - 1):
        sums = cumulated(sums, (10_000.0,) * 3, needed)
    assert max(sums) >= needed - 1e-9


def test_nothing_is_lost_below_0_so_a_long_quiet_time_delays_no_alert() -> None:
    assert (0.0, 0.0, 0.0) == cumulated((1.0,) * 3, (-50.0,) * 3, 25.0)


def test_ten_times_the_segments_take_a_tenth_more_evidence() -> None:
    assert 1.05 < alert_nats(1, 1300, 4) / alert_nats(1, 130, 4) < 1.12


def test_a_segment_without_payments_or_a_rest_without_any_says_nothing() -> None:
    assert 0.0 == minute_nats(0, 0, 100, 5, 1.25, 2.5) == minute_nats(100, 5, 0, 0, 1.25, 2.5)


def test_evidence_that_a_gap_is_over_rises_where_the_segment_is_as_usual_and_falls_where_it_is_not() -> None:
    assert over_nats(1_000, 20, 9_000, 180, 1.25, 1.0) > 0
    assert over_nats(1_000, 60, 9_000, 180, 1.25, 1.0) < 0
    assert 0.0 == over_nats(1_000, 20, 9_000, 180, 1.25, 1.25)


def test_1_a_watch_that_is_looked_at_each_minute_keeps_its_risk() -> None:
    """At the null's very edge, with a risk of 1 in 20 and one begin: far fewer than 1 in 20 runs are ever alarmed."""
    random, alarmed, runs = np.random.default_rng(7), 0, 300
    for _ in range(runs):
        total = 0.0
        for _ in range(300):
            own, rest = random.binomial(50, 0.05), random.binomial(450, 0.04)
            total += minute_nats(50, own, 450, rest, 1.25, 2.5)
            if total >= math.log(20):
                alarmed += 1
                break
    assert alarmed <= runs / 20
