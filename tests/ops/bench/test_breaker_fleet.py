"""The bench of a fleet under a breaker that trips: what it calls a fault; and on the real stack there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.breaker.breaker_fleet import (
    LOST_S,
    Decided,
    Routed,
    Told,
    quick_policy,
    routed_after,
    run,
    transition_faults,
)
from pipeline.breaker.settings import breaker_settings_of
from pipeline.breaker.states import Event
from pipeline.domain.decision import BreakerState
from pipeline.io.settings import Settings
from tests.ops.bench.saying import say

AT_MS = 1_800_000_000_000
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
TRIP = Told("model:m1", 1, CLOSED, Event.TRIP, OPEN, AT_MS)
TRIED = Told("model:m1", 2, OPEN, Event.OPEN_PERIOD_OVER, HALF_OPEN, AT_MS + 5_000)


def test_decisions_by_the_model_count_until_the_breaker_says_otherwise() -> None:
    decided = [
        Decided(AT_MS - 1, 0, "MODEL"),
        Decided(AT_MS + 700, 1, "MODEL"),
        Decided(AT_MS + 900, 1, "FALLBACK"),
        Decided(AT_MS + 2_001, 2, "MODEL"),
        Decided(AT_MS + 2_002, 3, "FALLBACK"),
        Decided(AT_MS + 2_003, 4, "GUARDRAIL"),
        Decided(AT_MS + 5_000, 5, "MODEL"),
    ]
    assert Routed(2.001, 1, 2) == routed_after(TRIP, [TRIP, TRIED], decided)
    assert Routed(0.7, 0, 1) == routed_after(TRIP, [TRIP, TRIED], decided[:3])
    assert Routed(5.0, 2, 2) == routed_after(TRIP, [TRIP], decided)


def test_a_transition_that_the_table_lacks_or_that_skips_one_is_a_fault() -> None:
    assert [] == transition_faults([TRIP, TRIED], [])
    assert 1 == len(transition_faults([TRIP, TRIED._replace(after=CLOSED)], []))
    skipped = Told("model:m1", 3, HALF_OPEN, Event.PROBE_GOOD, CLOSED, AT_MS + 9_000)
    assert 1 == len(transition_faults([TRIP, skipped], []))
    assert [] == transition_faults([TRIP, skipped], [AT_MS + 8_000.0]), "Redis came back a second older"
    assert 1 == len(transition_faults([TRIP, skipped], [skipped.at_ms - LOST_S * 1000]))
    assert [] == transition_faults([TRIP, TRIED._replace(scope="all")], []), "each scope goes its own way"


def test_the_policy_of_the_bench_is_one_that_a_worker_takes() -> None:
    settings = breaker_settings_of(quick_policy(Settings.model_construct().policy_path.read_text("utf-8")).encode())
    assert (1, (50,)) == (settings.confirmations, settings.half_open_shares_percent)


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_a_trip_routes_all_and_kills_leave_a_valid_recorded_state(tmp_path: Path) -> None:
    result = run(say, tmp_path, is_quick=True)
    assert [] == result["transition_faults"]
    assert [] == result["transitions_untold"]
    assert result["ok"], result
