"""What a model escalates by itself: counted apart, judged by its own yardstick, and never zero where unknown."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ops.bench.breaker.cases import NEW, OLD, STEP_S, World, shipped
from pipeline.breaker import BreakerRecord, Cause, Condition, Event, Observation, Watch, codec, judge, next_event
from pipeline.breaker.answer_counts import ALL, Answer, Counts, counts_of, difference
from pipeline.breaker.detecting.baselines import Usual
from pipeline.breaker.detecting.gauges import gauges
from pipeline.breaker.detecting.history import History
from pipeline.domain.context import BreakerHour
from pipeline.domain.decision import BreakerState, Outcome
from tests.breaker.given import DEFAULTS, START_MS, answers, baseline, record

STEPS_A_DAY = 86_400 // STEP_S
MODEL = "model:m1"
ESCALATES = Condition.ESCALATE_RATE_SPIKE


def traffic(steps: int, doubt: float, *, guardrails: float = 0.01, per_s: float = 50, seed: int = 1) -> list[Counts]:
    """Return steps of which so much is doubted by the model, and so much escalated by guardrails besides."""
    rng = np.random.default_rng(seed)
    total = rng.poisson(per_s * STEP_S, steps)
    doubted, stopped, block = (rng.binomial(total // 3, 3 * share) for share in (doubt, guardrails, 0.02))
    return [
        Counts(int(n - b - d - g), int(b), int(d + g), 0, int(n) * 20_000, int(n) * 10_400, int(d), int(n))
        for n, b, d, g in zip(total, block, doubted, stopped, strict=True)
    ]


def told_nothing(steps: list[Counts]) -> list[Counts]:
    """Return the steps as a worker of before doubts were counted counts them."""
    return [counts._replace(doubt=0, doubt_known=0) for counts in steps]


def after(days: int, steps: list[Counts]) -> World:
    world = World(shipped())
    for counts in (steps * days)[: days * STEPS_A_DAY]:
        world.count(counts, OLD)
    return world


@pytest.fixture(scope="module")
def day() -> list[Counts]:
    return traffic(STEPS_A_DAY, 0.02)


@pytest.mark.parametrize("days", [1, 4])
@pytest.mark.parametrize(("factor", "minutes_max"), [(3, 3), (2, 6)])
def test_new_version_that_doubts_more_trips_from_its_first_hour_on(day, days, factor, minutes_max):
    minutes = after(days, day).minutes_to_trip(traffic(120, 0.02 * factor, seed=2))
    assert minutes is not None
    assert minutes <= minutes_max


def test_version_that_escalates_everything_trips_at_the_second_evaluation_and_says_so(day):
    world = after(1, day)
    everything = [counts._replace(allow=0, doubt=counts.allow + counts.escalate) for counts in traffic(9, 0.02, seed=3)]
    assert world.minutes_to_trip(everything) == 1.0
    (trip,) = [trip for trip in world.made[0].trips if trip.condition is ESCALATES]
    assert "the model itself would escalate" in trip.evidence
    assert trip.counted > 0


def test_version_that_doubts_as_usual_does_not_trip_however_many_guardrails_escalate(day):
    assert after(1, day).minutes_to_trip(traffic(120, 0.02, guardrails=0.12, seed=4)) is None


def test_doubts_alone_are_counted_and_of_workers_that_say_nothing_none_is_known():
    batch = [
        Answer(Outcome.ESCALATE, 300_000, {}, is_doubted=True),
        Answer(Outcome.ESCALATE, 10_000, {}, is_doubted=False),  # a guardrail's
        Answer(Outcome.ALLOW, 10_000, {}, is_doubted=False),
        Answer(Outcome.ESCALATE, 300_000, {}),
        Answer(None, None, {}),
    ]
    counts = counts_of(batch, 5, 5, "m1", lambda _name, _value: False)[MODEL]
    assert (counts.escalate, counts.doubt, counts.doubt_known, counts.handled) == (3, 1, 3, 5)


def test_days_that_tell_of_no_doubts_are_unknown_and_not_zero(day):
    """Against a week of zeros, a version that doubts as usual would trip within minutes of the new release."""
    world = after(4, told_nothing(day))
    assert world.history.seasonal(ALL, world.now_ms, world.settings).doubts is None
    assert world.minutes_to_trip(traffic(240, 0.02, seed=5)) is None
    untold = baseline(900, 880, 9)._replace(doubts=None)
    judged = judge(NEW, Observation(answers(900), Counts(), Counts(), untold, None), Watch(), DEFAULTS).judged
    assert ESCALATES not in judged
    assert Condition.BLOCK_RATE_SPIKE in judged


def test_hours_kept_by_an_earlier_release_make_a_yardstick_of_rates_and_none_of_doubts():
    history, hour_ms = History(), 3_600_000
    kept = [BreakerHour(START_MS + hour * hour_ms, [MODEL], [900, 20, 30, 0, 5, 6], [], []) for hour in range(96)]
    history.restore(kept, START_MS + 96 * hour_ms)
    found = history.seasonal(MODEL, START_MS + 96 * hour_ms, DEFAULTS)
    assert (found.answered > 0, found.doubts) == (True, None)
    told = [each._replace(doubts=[20, 950]) for each in kept]
    history = History()
    history.restore(told, START_MS + 96 * hour_ms)
    doubts = history.seasonal(MODEL, START_MS + 96 * hour_ms, DEFAULTS).doubts
    assert doubts.counted / doubts.answered == pytest.approx(20 / 950)


def test_too_few_days_that_tell_of_doubts_are_no_seasonal_yardstick():
    history, hour_ms = History(), 3_600_000
    hours = [BreakerHour(START_MS + hour * hour_ms, [MODEL], [900, 20, 30, 0, 5, 6], [], []) for hour in range(96)]
    late = [each._replace(doubts=[20, 950]) if place >= 72 else each for place, each in enumerate(hours)]
    history.restore(late, START_MS + 96 * hour_ms)
    assert history.seasonal(MODEL, START_MS + 96 * hour_ms, DEFAULTS).doubts is None


def test_hour_is_kept_with_its_doubts_and_read_back(day):
    history = after(1, day).history
    kept = history.unkept()
    again = History()
    again.restore(kept, kept[-1].start_ms)
    assert [len(each.doubts) for each in kept] == [2 * len(each.scopes) for each in kept]
    assert again._hours[OLD] == {
        start: hour._replace(counts=hour.counts) for start, hour in history._hours[OLD].items()
    }


def test_of_a_fleet_that_tells_of_half_its_answers_the_share_is_of_those():
    window = answers(20_000, doubt=1_000, doubt_known=10_000)
    (gauge,) = [each for each in gauges(MODEL, Observation(window, window, window, baseline(9_000, 8_000, 200), None),
                                        Watch(), DEFAULTS, 1) if each.condition is ESCALATES]  # fmt: skip
    assert (gauge.counted, gauge.sample, gauge.trips_at) == (1_000, 10_000, 1_600)
    few = window._replace(doubt_known=DEFAULTS.minimum_sample - 1, doubt=499)
    judged = judge(MODEL, Observation(few, few, Counts(), baseline(9_000, 8_000, 200), None), Watch(), DEFAULTS)
    assert ESCALATES not in judged.judged


@pytest.mark.parametrize("sums", [5, 7, 9])
def test_stored_window_of_an_earlier_release_is_read_and_no_other_length(sums):
    world = World(DEFAULTS)
    world.minutes_to_trip([answers(500, errors=500)] * 9)
    text = codec.transition_to_json(world.made[0])
    stored = json.loads(text)
    assert codec.transition_from(text) == world.made[0]
    *_, latency = stored["window"]
    before = codec.transition_from(json.dumps(stored | {"window": [*stored["window"][:6], latency]}))
    assert (before.window.doubt, before.window.doubt_known) == (0, 0)
    with pytest.raises(codec.Unreadable):
        codec.transition_from(json.dumps(stored | {"window": [*[1] * sums, latency]}))


def test_yardstick_of_before_a_trip_survives_being_stored_and_an_earlier_one_knows_no_doubts():
    held = record(BreakerState.OPEN, frozen=baseline(1_000, 900, 20, is_seasonal=False))
    text = codec.record_to_json(held)
    assert codec.states_from({held.scope: text}).records[held.scope] == held
    stored = json.loads(text)
    del stored["frozen"]["doubts"]
    read = codec.states_from({held.scope: json.dumps(stored)}).records[held.scope]
    assert read.frozen == held.frozen._replace(doubts=None)


def test_counts_that_a_later_release_adds_are_passed_over():
    assert codec.totals_from(["allow|all", "3", "hesitated|all", "9", "position|0", "7"]) == {"all": Counts(allow=3)}


def test_totals_that_go_back_are_no_doubts():
    assert difference(answers(500, doubt=4), answers(500, doubt=5)) == Counts()


def probation(doubt: int, spans: int, tripped_by: Condition = ESCALATES) -> Event | None:
    """Return what comes of answers on probation of which so many in a hundred are doubted."""
    held = BreakerRecord(MODEL, BreakerState.HALF_OPEN, 7, START_MS, 0, Cause("because", "monitor", (tripped_by,)),
                         share_percent=25, salt="salt")  # fmt: skip
    watch, now_ms = Watch(), START_MS + 10_000_000
    for _ in range(spans):
        window, probes = answers(10_000, 200, 300, doubt=100), answers(100, 2, doubt, doubt=doubt)
        seen = Observation(window, window, answers(1_000, 20, 30, doubt=10), baseline(9_000, 8_500, 180), None, probes)
        outcome = next_event(held, judge(MODEL, seen, watch, DEFAULTS), seen, now_ms, DEFAULTS)
        if not isinstance(outcome, Watch):
            return outcome.event
        watch = outcome
    return None


@pytest.mark.parametrize(
    ("doubt", "tripped_by", "expected"),
    [
        (1, ESCALATES, Event.PROBE_GOOD),
        (60, ESCALATES, Event.PROBE_BAD),
        (60, Condition.BLOCK_RATE_SPIKE, Event.PROBE_GOOD),
    ],
)
def test_what_tripped_by_doubts_comes_back_by_its_own_doubts_alone(doubt, tripped_by, expected):
    assert probation(doubt, 20, tripped_by) == expected


def test_doubts_that_are_not_known_pass_no_probation():
    held = BreakerRecord(MODEL, BreakerState.HALF_OPEN, 7, START_MS, 0, Cause("because", "monitor", (ESCALATES,)),
                         share_percent=25, salt="salt")  # fmt: skip
    watch = Watch()
    for _ in range(20):
        window, probes = told_nothing([answers(10_000, 200, 300), answers(100, 2)])
        seen = Observation(window, window, window, baseline(9_000, 8_500, 180)._replace(doubts=None), None, probes)
        outcome = next_event(held, judge(MODEL, seen, watch, DEFAULTS), seen, START_MS + 10_000_000, DEFAULTS)
        assert isinstance(outcome, Watch)
        watch = outcome


def test_a_usual_share_is_kept_through_an_incident_without_its_season():
    world = World(shipped())
    for counts in traffic(STEPS_A_DAY, 0.02) * 4:
        world.count(counts, NEW)
    assert world.minutes_to_trip(traffic(120, 0.3, seed=6)) is not None
    frozen = world.record.frozen.doubts
    assert (frozen.is_seasonal, frozen.level) == (False, 1.0)
    assert frozen.counted / frozen.answered == pytest.approx(0.02, rel=0.1)
    assert isinstance(frozen, Usual)
