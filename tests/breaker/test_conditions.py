"""Each of the five conditions trips on its own, from its limit on, and only with sample, significance, confirmation."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.breaker import BreakerSettings, Observation, ScopeReading, Watch, advance, judge, next_event
from pipeline.breaker.answer_counts import LATENCY_BOUNDS_MS, Answer, Counts, counts_of
from pipeline.breaker.detecting.baselines import Hour, baseline_of, hourly_score_sigma_ppm
from pipeline.breaker.detecting.conditions import Limits, shifts_cumulated
from pipeline.breaker.detecting.detectors import SLACK, SURE_COUNT, fall, likely_range, rise, usual_share
from pipeline.breaker.settings import Condition, breaker_settings_of
from pipeline.breaker.states import Cause, Event
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.io.settings import Settings
from tests.breaker.given import DEFAULTS, START_MS, answers, baseline, record, settings

USUAL = baseline(100_000, 55_000, 40_000)


def seen(window: Counts, usual=USUAL, drift=None, error_window=None, span=None) -> Observation:
    """Return an observation to judge by its rates alone, by default; its span holds nothing for a cumulative sum."""
    calm = answers(0)
    return Observation(window, error_window or window, span or calm, usual, drift)


def conditions(scope: str, observation: Observation, settings: BreakerSettings = DEFAULTS) -> list[str]:
    return [trip.condition for trip in judge(scope, observation, Watch(), settings).trips]


@pytest.mark.parametrize(("block", "expected"), [(5_499, []), (5_500, ["BLOCK_RATE_SPIKE"])])
def test_block_rate_trips_from_15_points_on(block, expected):
    assert conditions("model:m1", seen(answers(10_000, block, 1_000))) == expected


@pytest.mark.parametrize(("escalate", "expected"), [(1_501, []), (1_500, ["ALLOW_RATE_SPIKE"])])
def test_allow_rate_trips_from_20_points_on(escalate, expected):
    assert conditions("model:m1", seen(answers(10_000, 1_000, escalate))) == expected


@pytest.mark.parametrize(("errors", "expected"), [(99, []), (100, ["ERROR_RATE"])])
def test_error_rate_trips_from_1_percent_on(errors, expected):
    counts = answers(10_000 - errors, errors=errors)
    assert conditions("all", seen(counts, span=counts)) == expected


def latencies(slow: int, total: int) -> Counts:
    within, beyond = LATENCY_BOUNDS_MS.index(800), LATENCY_BOUNDS_MS.index(900)
    buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    buckets[within], buckets[beyond] = total - slow, slow
    return answers(total, latency=tuple(buckets))


@pytest.mark.parametrize(("slow", "expected"), [(99, []), (100, ["LATENCY_P99"])])
def test_latency_trips_when_1_in_100_takes_longer_than_800_ms(slow, expected):
    counts = latencies(slow, 10_000)
    assert conditions("all", seen(counts, span=counts)) == expected


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(("strays_ppm", "expected"), [(9_999, []), (10_000, ["MODEL_DRIFT"])])
def test_drift_trips_from_2_sigma_on_either_side(strays_ppm, expected, direction):
    window = answers(10_000, 4_000, 500)
    window = window._replace(score_sum_ppm=(20_000 + direction * strays_ppm) * 10_000)
    usual = USUAL._replace(score_sigma_ppm=5_000.0)
    assert conditions("model:m1", seen(window, drift=usual), settings(significance_z=1)) == expected


def test_service_is_judged_on_all_traffic_and_the_model_on_its_own():
    counts = latencies(5_000, 10_000)._replace(errors=5_000, block=9_000, allow=1_000)
    observation = seen(counts, span=counts)
    assert conditions("all", observation) == ["ERROR_RATE", "LATENCY_P99"]
    assert conditions("model:m1", observation) == ["ERROR_RATE", "BLOCK_RATE_SPIKE"]


def test_rates_need_a_sample_and_significance():
    assert conditions("model:m1", seen(answers(499, 400))) == []
    assert conditions("model:m1", seen(answers(500, 400))) == ["BLOCK_RATE_SPIKE"]
    few = settings(minimum_sample=20, segment_minimum_sample=20)
    assert conditions("model:m1", seen(answers(100, 60)), few) == []  # z of 3.5
    assert conditions("model:m1", seen(answers(200, 120)), few) == ["BLOCK_RATE_SPIKE"]  # 5.0


def test_many_segments_need_more_significance():
    observation = seen(answers(200, 120))  # z of 5.0; 256 side by side need 6.0
    trips = [judge("segment:a=b", observation, Watch(), DEFAULTS, peers).trips for peers in (1, 256)]
    assert [len(found) for found in trips] == [1, 0]


def test_nothing_relative_is_judged_without_a_baseline():
    judgement = judge("model:m1", seen(answers(10_000, 10_000), usual=None), Watch(), DEFAULTS)
    assert (judgement.trips, judgement.judged) == ((), frozenset([Condition.ERROR_RATE]))


def test_bad_second_that_is_over_is_not_an_outage():
    counts = latencies(5_000, 10_000)._replace(errors=5_000)
    assert conditions("all", seen(counts, span=latencies(0, 100))) == []


def test_burst_of_any_size_is_no_shift_and_three_spans_are():
    usual, burst = baseline(1_000_000, 960_000, 20_000), answers(1_500, 1_500)
    calm_window = answers(15_000, 300, 300)
    watch, certain = Watch(), []
    for _ in range(3):
        judgement = judge("model:m1", seen(calm_window, usual, span=burst), watch, DEFAULTS)
        watch = judgement.watch
        certain.append([trip.condition for trip in judgement.trips if trip.is_certain])
    assert certain == [[], [], ["BLOCK_RATE_SPIKE"]]


def test_trip_says_observed_limit_and_by_how_much():
    (trip,) = judge("model:m1", seen(answers(10_000, 6_000, 500)), Watch(), DEFAULTS).trips
    assert (round(trip.observed), trip.limit, round(trip.excess), trip.unit, trip.sample) == (
        20,
        15,
        5,
        "points",
        10_000,
    )
    assert trip.evidence == (
        "the model blocks 60.0 % of 10,000 payments in 300 s, +20.0 points on the 40.0 % usual at this time of day; "
        "the limit is +15 points"
    )


def evaluations(state_record, observation, count, settings=DEFAULTS, from_ms=START_MS):
    """Return the events of `count` evaluations running; None stands for one that led to nothing."""
    watch, events = Watch(), []
    for place in range(count):
        judgement = judge(state_record.scope, observation, watch, settings)
        now_ms = from_ms + place * settings.evaluation_interval_s * 1000
        outcome = next_event(state_record, judgement, observation, now_ms, settings)
        watch = outcome if isinstance(outcome, Watch) else Watch()
        events.append(None if isinstance(outcome, Watch) else outcome.event)
    return events


def test_trip_needs_confirmation():
    bad = seen(answers(10_000, 9_000))
    assert evaluations(record(), bad, 2) == [None, Event.TRIP]
    assert evaluations(record(), bad, 3, settings(confirmations=3)) == [None, None, Event.TRIP]


def test_confirmation_is_of_evaluations_running():
    bad, calm = seen(answers(10_000, 9_000)), seen(answers(10_000, 4_000, 500))
    watch = judge("model:m1", bad, Watch(), DEFAULTS).watch
    watch = judge("model:m1", calm, watch, DEFAULTS).watch
    assert judge("model:m1", bad, watch, DEFAULTS).watch.streaks == (0, 0, 1, 0, 0, 0)


BAD, GOOD = seen(answers(10_000, 9_000)), seen(answers(10_000, 4_000, 500))
OPEN = record(BreakerState.OPEN, open_until_ms=START_MS)


def test_open_is_kept_until_open_until_and_for_as_long_as_the_shadow_is_bad():
    assert evaluations(OPEN, GOOD, 1, from_ms=START_MS - 1) == [None]
    assert evaluations(OPEN, GOOD, 1) == [Event.OPEN_PERIOD_OVER]
    assert evaluations(OPEN, BAD, 1) == [Event.STILL_BAD]


PROBATION = record(BreakerState.HALF_OPEN, since_ms=START_MS - 300_000, share_percent=25)
PROBED = GOOD._replace(probes=answers(200, 80, 10))
"""Probes as usual: 40 % blocked. They pass the test in three evaluations, the fewest that there can be."""
PASSED = [None, None, None]
"""What comes of them before the second evaluation by which they have passed."""


def test_probation_ends_in_closed_or_open():
    assert evaluations(PROBATION, PROBED, 4) == [*PASSED, Event.PROBE_GOOD]
    assert evaluations(PROBATION._replace(share_percent=1), PROBED, 4) == [*PASSED, Event.SHARE_RAISED]
    assert evaluations(PROBATION, GOOD, 20) == [None] * 20  # nothing of its own was answered
    wrong = GOOD._replace(probes=answers(200, 120, 10))
    assert evaluations(PROBATION, wrong, 3) == [None, None, Event.PROBE_BAD]
    assert evaluations(PROBATION, GOOD._replace(probes=Counts(errors=20)), 3) == [None, None, Event.PROBE_BAD]
    assert evaluations(PROBATION, BAD, 2) == [None, Event.PROBE_BAD]


def test_probation_lasts_its_time_and_needs_its_sample():
    assert evaluations(PROBATION._replace(since_ms=START_MS), PROBED, 4) == [None] * 4
    thin = seen(answers(499, 200))._replace(probes=PROBED.probes)
    assert evaluations(PROBATION, thin, 8) == [None] * 8


def test_what_tripped_must_be_judged_before_closing():
    tripped = PROBATION._replace(cause=Cause("", "monitor", (Condition.MODEL_DRIFT,)))
    assert evaluations(tripped, PROBED, 8) == [None] * 8
    judged = PROBED._replace(drift_baseline=baseline(100_000, 55_000, 40_000))
    assert evaluations(tripped, judged, 4) == [*PASSED, Event.PROBE_GOOD]


def test_incident_is_never_its_own_yardstick():
    incident, before = baseline(100_000, 5_000, 90_000), baseline(100_000, 55_000, 40_000, is_seasonal=False)
    reading = ScopeReading(answers(10_000, 9_000), Counts(), Counts(), None, None, incident._replace(is_seasonal=False))
    advanced = advance(OPEN._replace(frozen=before), Watch(), reading, START_MS, DEFAULTS)
    assert advanced.transition.event is Event.STILL_BAD


def test_trip_keeps_what_was_usual_before_it():
    usual = baseline(100_000, 55_000, 40_000, is_seasonal=False)
    reading = ScopeReading(answers(10_000, 9_000), Counts(), Counts(), None, None, usual)
    first = advance(record(), Watch(), reading, START_MS, DEFAULTS)
    second = advance(record(), first.watch, reading, START_MS, DEFAULTS)
    assert (first.transition, second.transition.event) == (None, Event.TRIP)
    assert second.transition.after.frozen == usual._replace(score_sigma_ppm=None)


def test_forced_open_is_left_to_people():
    assert evaluations(record(BreakerState.FORCED_OPEN), GOOD, 5) == [None] * 5


def test_counts_of_a_batch_by_scope():
    batch = [
        Answer(Outcome.ALLOW, 10_000, {"age_band": "18-25"}),
        Answer(Outcome.BLOCK, 900_000, {"age_band": "18-25", "postcode_area": "SW"}),
        Answer(None, None, {}),
    ]
    counts = counts_of(batch, 801, 3, "m1", DEFAULTS.declares)
    both = Counts(1, 1, 0, 0, 910_000, 810_100)
    assert {scope: found._replace(latency=Counts().latency) for scope, found in counts.items()} == {
        "all": both._replace(errors=1),
        "model:m1": both._replace(errors=1),
        "segment:age_band=18-25": both,
        "segment:postcode_area=SW": Counts(0, 1, 0, 0, 900_000, 810_000),
    }
    assert (sum(counts["all"].latency), counts["all"].slower_than(800)) == (3, 3)
    assert counts_of(batch, 800, 3, "m1", DEFAULTS.declares)["all"].slower_than(800) == 0
    assert sum(counts["model:m1"].latency) == 0
    assert counts_of([], 800, 0, "m1", DEFAULTS.declares) == {}


def test_baseline_takes_the_same_hours_of_seven_days():
    hours = [Hour(START_MS + day * 86_400_000, answers(1_000, 20 + day)) for day in range(10)]
    now_ms = START_MS + 10 * 86_400_000
    found = baseline_of(hours, hours, now_ms, days_minimum=3, sample_minimum=500)
    assert (found.answered, found.block) == (7_000, sum(range(23, 30)))
    assert baseline_of(hours[:5], hours, now_ms, days_minimum=3, sample_minimum=500) is None
    assert baseline_of(hours, hours, now_ms, days_minimum=3, sample_minimum=7_001) is None


def test_sigma_is_about_each_hour_of_day():
    hours = [
        Hour(
            START_MS + (day * 24 + hour) * 3_600_000, Counts(1, score_sum_ppm=hour * 1_000 + (100 if day % 2 else -100))
        )
        for day in range(6)
        for hour in range(24)
    ]
    assert round(hourly_score_sigma_ppm(hours), 1) == 109.5  # 100 · √(6/5), whatever the rhythm of the day
    assert hourly_score_sigma_ppm(hours[:24]) is None


REFUSED = [
    ({"latency_p99_ms": 750}, "latency_p99_ms must be one of 5, 10"),
    ({"error_window_s": 20}, "evaluation_interval_s is above error_window_s"),
    ({"window_s": 50}, "error_window_s is above window_s"),
    ({"open_period_s": 299}, "open_period_s is below window_s"),
    ({"open_period_max_s": 299}, "open_period_max_s is below open_period_s"),
    ({"state_lost_open_s": 3_601}, "state_lost_open_s is above open_period_max_s"),
    ({"minimum_sample": 19}, "greater than or equal to 20"),
    ({"half_open_shares_percent": (1, 51)}, "less than or equal to 50"),
    ({"half_open_shares_percent": (5, 1)}, "shares that grow"),
    ({"half_open_shares_percent": ()}, "at least one"),
    ({"segment_minimum_sample": 501}, "segment_minimum_sample is above"),
    ({"segments": {"a": ["x", "x"]}}, "declares a value twice"),
    ({"segments": {"a": [""]}}, "can't declare"),
    ({"segments": {"a": [str(number) for number in range(257)]}}, "257 values, and 256"),
    ({"confirmations": "2"}, "valid integer"),
    ({"cooldown_s": 3}, "Unexpected keyword"),
]


@pytest.mark.parametrize(("changed", "message"), REFUSED)
def test_settings_refuse_ranges_contradictions_and_unknown_keys(changed, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(BreakerSettings).validate_python(dataclasses.asdict(DEFAULTS) | changed)


def test_shipped_policy_has_the_limits_that_were_asked_for():
    shipped = breaker_settings_of(Settings.model_construct().policy_path.read_bytes())
    limits = (
        (shipped.block_rate_spike_points, shipped.allow_rate_spike_points, shipped.window_s),
        (shipped.latency_p99_ms, shipped.error_rate_percent, shipped.error_window_s, shipped.model_drift_sigma),
        shipped.half_open_shares_percent,
    )
    assert limits == ((15, 20, 300), (800, 1, 60, 2), (1, 5, 25))


def test_two_sigma_that_chance_may_make_warns_and_does_not_trip():
    window = answers(600, 240, 30)
    window = window._replace(score_sum_ppm=600 * 30_000)
    usual = USUAL._replace(score_sigma_ppm=5_000.0)
    judgement = judge("model:m1", seen(window, drift=usual), Watch(), DEFAULTS)
    assert judgement.trips == ()
    assert judgement.warnings[0].endswith("but chance may do as much: z is 1.5 of 5.0")


def test_one_account_at_its_full_weight_is_no_evidence_of_a_shift_even_at_night():
    usual, watch = baseline(1_000_000, 975_000, 20_000), Watch()
    quiet = settings(account_window_max=2)
    for evaluation in range(2_000):
        span = answers(15, 2) if evaluation % 10 == 0 else answers(15)  # 2 blocked in 150 payments of 5 minutes
        watch = judge("model:m1", seen(answers(150, 5), usual, span=span), watch, quiet).watch
    assert watch.block_shift < DEFAULTS.shift_evidence / 2


def test_without_a_season_a_tripling_adds_up_and_a_day_of_rhythm_does_not():
    usual = baseline(1_000_000, 960_000, 24_500, is_seasonal=False)
    for share, is_found in ((0.034, False), (0.0735, True)):
        watch = Watch()
        for _ in range(40):
            span = answers(1_500, round(1_500 * share))
            watch = judge("model:m1", seen(answers(15_000, 370, 300), usual, span=span), watch, DEFAULTS).watch
        assert (watch.block_shift >= DEFAULTS.shift_evidence) is is_found


def test_segments_need_a_smaller_sample_than_the_whole():
    usual, few = baseline(100_000, 95_000, 2_000), answers(120, 60)
    assert conditions("segment:a=b", seen(few, usual)) == ["BLOCK_RATE_SPIKE"]
    assert conditions("channel:CARD", seen(few, usual)) == ["BLOCK_RATE_SPIKE"]
    assert conditions("model:m1", seen(few, usual)) == []


def test_part_that_is_out_of_the_loop_counts_apart():
    batch = [
        Answer(Outcome.BLOCK, 1, {"postcode_area": "SW"}, "CARD", "a", apart="segment:postcode_area=SW"),
        Answer(Outcome.ALLOW, 1, {"postcode_area": "NE"}, "CARD", "b"),
        Answer(Outcome.ALLOW, 1, {"postcode_area": "XX"}, "CARD", "c", probed="all"),
    ]
    counts = counts_of(batch, 5, 3, "m1", DEFAULTS.declares)
    assert {scope: (found.allow, found.block) for scope, found in counts.items()} == {
        "all": (2, 0),
        "model:m1": (2, 0),
        "channel:CARD": (2, 0),
        "segment:postcode_area=NE": (1, 0),
        "segment:other": (1, 0),
        "segment:postcode_area=SW": (0, 1),
        "probe:all": (1, 0),
    }
    assert sum(counts["all"].latency) == 3


def spans_to_trip(per_s: float, times: float) -> int:
    """Count the evaluations until blocks that are `times` as many as usual, and nothing but those, trip."""
    usual, watch = baseline(1_000_000, 945_000, 25_000), Watch()
    window = answers(round(per_s * 300), round(per_s * 7.5), round(per_s * 9))
    for evaluation in range(1, 200):
        span = answers(round(per_s * 30), round(per_s * 0.75 * times), round(per_s * 0.9))
        judgement = judge("model:m1", seen(window, usual, span=span), watch, DEFAULTS)
        watch = judgement.watch
        if any(trip.is_certain for trip in judgement.trips):
            return evaluation
    return 0


def test_shift_takes_fewer_spans_with_more_traffic_but_never_one_busy_minute():
    assert [spans_to_trip(per_s, 2.0) for per_s in (5, 50, 500, 5_000)] == [9, 4, 3, 3]
    assert [spans_to_trip(per_s, 3.0) for per_s in (5, 50, 500)] == [4, 3, 3]


@pytest.mark.parametrize("per_s", [5, 50, 500, 5_000])
def test_a_third_more_is_no_shift_however_much_traffic_there_is(per_s):
    assert spans_to_trip(per_s, 1.35) == 0


def test_first_span_of_a_version_is_judged_as_a_part_of_a_whole_window():
    usual = baseline(1_000_000, 945_000, 25_000)
    span = answers(150, 8, 4)
    first = judge("model:m1", seen(span, usual, span=span), Watch(), DEFAULTS).watch.block_shift
    later = judge("model:m1", seen(answers(1_500, 38, 45), usual, span=span), Watch(), DEFAULTS).watch.block_shift
    assert first == pytest.approx(later)
    assert first > 0


@pytest.mark.parametrize(("mean_ppm", "expected"), [(28_000, []), (40_000, ["MODEL_DRIFT"])])
def test_wave_after_a_calm_week_is_no_drift_and_a_doubling_is(mean_ppm, expected):
    window = answers(15_000, 6_000, 750)
    window = window._replace(score_sum_ppm=15_000 * mean_ppm)
    assert conditions("model:m1", seen(window, drift=USUAL._replace(score_sigma_ppm=300.0))) == expected


def shifts_after(known, spans):
    """Return both sums after spans that are each a full window's fifth."""
    watch, limits = Watch(), Limits(settings(minimum_sample=20, segment_minimum_sample=20), 1)
    for span in spans:
        watch = shifts_cumulated(Observation(span, span, span, known, None), watch, limits)
    return watch.block_shift, watch.allow_shift


TINY = baseline(36, 35, 0, is_seasonal=False, score_sigma_ppm=None)


def test_one_escalation_among_36_answers_is_no_sure_yardstick():
    rarely = [answers(200, 0, 1)] * 200
    assert shifts_after(TINY, rarely)[1] < 1
    enough = Limits(settings(), 1).shift_evidence
    assert shifts_after(TINY, [answers(200)] * 60)[1] >= enough, "nothing held back at all is still a shift"
    assert shifts_after(TINY, [answers(200, 100)] * 3)[0] >= enough, "and so are blocks of a half"


@given(st.integers(1, 2_000), st.integers(1, 10**6))
def test_the_likely_range_holds_the_share_and_narrows_with_what_is_known(successes, beside):
    total = successes + beside
    least, most = likely_range(successes, total)
    wider_least, wider_most = likely_range(successes, total * 1.0)
    assert 0 < least <= usual_share(successes, total) <= most < 1
    if successes >= SURE_COUNT:
        assert least == most
    else:
        assert least < most
        narrower = likely_range(successes * 10, total * 10)
        assert narrower[1] - narrower[0] < most - least
    assert (wider_least, wider_most) == (least, most)


@pytest.mark.parametrize("factor", [1.2, 2.0, 11.0])
@pytest.mark.parametrize("slack", [1.0, SLACK])
def test_what_is_sought_is_beyond_what_is_as_usual_however_little_is_known(factor, slack):
    for successes, total in [(0, 1), (1, 36), (35, 36), (36, 36), (10, 10_000), (249, 300), (5_000, 10_000)]:
        usual, (least, most) = usual_share(successes, total), likely_range(successes, total)
        as_usual, sought = rise(usual, most, factor, slack, 0.0)
        assert 0 < usual <= as_usual < sought < 1
        as_usual, sought = fall(usual, least, factor, slack)
        assert 0 < sought < as_usual <= usual < 1
