"""A gauge says what it would take: its condition holds from there on, and not one below."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import Observation, Watch, judge
from pipeline.breaker.detecting.gauges import gauges
from pipeline.breaker.settings import Condition
from tests.breaker.given import DEFAULTS, answers, baseline


def gauge_of(observation: Observation, condition: Condition):
    return next(each for each in gauges("model:m1", observation, Watch(), DEFAULTS, 1) if each.condition is condition)


@given(st.integers(500, 20_000), st.floats(0.001, 0.8), st.floats(0, 0.001))
def test_block_rate_holds_from_the_count_that_the_gauge_names(total, usual, correlation):
    yardstick = baseline(1_000_000, 0, round(1_000_000 * usual), correlation=correlation)

    def seen(block: int) -> Observation:
        return Observation(answers(total, block), answers(0), answers(0), yardstick, None)

    def holds(block: int) -> bool:
        trips = judge("model:m1", seen(block), Watch(), DEFAULTS).trips
        return Condition.BLOCK_RATE_SPIKE in [trip.condition for trip in trips]

    trips_at = gauge_of(seen(0), Condition.BLOCK_RATE_SPIKE).trips_at
    if trips_at is None:
        assert not holds(total)
    else:
        assert (holds(trips_at), holds(trips_at - 1)) == (True, False)


def test_errors_hold_from_the_count_that_the_gauge_names():
    counts = answers(9_900, errors=100)
    found = gauge_of(Observation(counts, counts, counts, None, None), Condition.ERROR_RATE)
    assert (found.counted, found.sample, found.trips_at) == (100, 10_000, 100)


def test_gauge_says_why_a_detector_says_nothing():
    few = Observation(answers(400), answers(0), answers(0), baseline(1_000, 900, 20), None)
    assert gauge_of(few, Condition.BLOCK_RATE_SPIKE).missing == "500 payments are needed"
    unknown = few._replace(baseline=None)
    assert gauge_of(unknown, Condition.BLOCK_RATE_SPIKE).missing == "too little is known of what is usual"
