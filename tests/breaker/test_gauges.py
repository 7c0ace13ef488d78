"""A gauge says what it would take: its condition holds from there on, and not one below."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import Cause, Observation, Watch, judge
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.detecting.gauges import Gauge, ProbationGauge, gauges, probation_gauge
from pipeline.breaker.settings import Condition
from pipeline.breaker.status_command import ScopeStanding, gauge_words, show_standings
from pipeline.domain.decision import BreakerState
from pipeline.terminal.output import Output
from tests.breaker.given import DEFAULTS, START_MS, answers, baseline, record


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


PROBATION = record(BreakerState.HALF_OPEN, since_ms=START_MS, share_percent=5)
USUAL = baseline(20_000, 18_000, 2_000)


def probation_of(window: Counts, watch: Watch, *tripped_by: Condition, now_ms: int = START_MS) -> ProbationGauge:
    seen = Observation(window, window, answers(0), USUAL, None)
    found = probation_gauge(
        PROBATION._replace(cause=Cause("", "monitor", tripped_by)), seen, watch, now_ms, DEFAULTS, 1
    )
    assert found is not None
    return found


@pytest.mark.parametrize("state", [state for state in BreakerState if state is not BreakerState.HALF_OPEN])
def test_what_is_on_no_probation_waits_for_none(state):
    seen = Observation(answers(500), answers(0), answers(0), USUAL, None)
    assert probation_gauge(record(state), seen, Watch(), START_MS, DEFAULTS, 1) is None


def test_a_probation_names_everything_that_it_waits_for():
    found = probation_of(answers(100, 10), Watch(), Condition.MODEL_DRIFT, now_ms=START_MS + 500)
    assert found.seconds_left == DEFAULTS.half_open_s
    assert found.waits_for == (
        "more of its own answers as usual",
        "500 payments, of which there were 100",
        "MODEL_DRIFT to be judged",
    )
    wrong = probation_of(answers(1_000, 900), Watch(bad_evidence=-5.0))
    assert wrong.waits_for == ("BLOCK_RATE_SPIKE to hold no more",)
    late = probation_of(answers(1_000, 100), Watch(bad_evidence=-5.0), now_ms=START_MS + 10**9)
    assert (late.waits_for, late.seconds_left) == ((), 0)


def test_what_is_held_back_too_little_is_shown_where_it_is_tested():
    watch = Watch(bad_evidence=-5.0, lax_evidence=2.0)
    assert probation_of(answers(1_000, 100), watch).lax_evidence == 0.0
    lax = probation_of(answers(1_000, 100), watch, Condition.ALLOW_RATE_SPIKE)
    assert (lax.lax_evidence, lax.waits_for) == (2.0, ("more of its own answers as usual",))


def test_the_command_says_it_in_one_line(capsys):
    found = probation_of(answers(100, 10), Watch(probes=40, bad_evidence=-3.14), Condition.ALLOW_RATE_SPIKE)
    show_standings(Output(as_json=False), {"model:m1": ScopeStanding([], found)})
    assert capsys.readouterr().out.split(maxsplit=2)[1:] == [
        "HALF_OPEN",
        "at 5 %, 40 answers of its own; evidence -3.1, where -4.6 passes and +4.6 fails; good 0 of 2 times; "
        "waits for 120 s at this share, more of its own answers as usual, 500 payments, of which there were 100\n",
    ]


@pytest.mark.parametrize(
    ("condition", "counted", "sample", "begins"),
    [
        (Condition.BLOCK_RATE_SPIKE, 0, 1_140, "0 of 1,140; "),
        (Condition.BLOCK_RATE_SPIKE, 1, 113, "1 of 113; "),
        (Condition.ERROR_RATE, 0, 0, "has held"),
        (Condition.MODEL_DRIFT, 0, 140, "has held"),
    ],
)
def test_none_of_many_is_told_and_what_is_not_counted_is_not(
    condition: Condition, counted: int, sample: int, begins: str
) -> None:
    gauge = Gauge(condition, counted, sample, None, 0, 2, 0.0, 0.0, "too little is known of what is usual", "")
    assert gauge_words(gauge).startswith(begins)
