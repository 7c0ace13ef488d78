"""The bench's lanes judge as the breaker does: the same trips at the same evaluations, by the same baselines."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.breaker.breaker import GOALS_MIN, Found, Quiet
from ops.bench.breaker.cases import CASES, START_MS, shipped
from ops.bench.breaker.lanes import Hours, interpolated
from ops.bench.breaker.runs import Detection, FalseTrips, Kind, Run, detection
from ops.bench.breaker.thresholds import CONDITIONS
from ops.bench.breaker.traffic import STEP_S, STEPS_A_DAY, STEPS_AN_HOUR, Fault, Profile, Steps, Traffic
from pipeline.breaker import BreakerRecord, Cause, Event, History, ScopeReading, Watch, advance
from pipeline.breaker.answer_counts import Counts, difference
from pipeline.domain.decision import BreakerState

LANES, DAYS = 4, 8
SETTINGS = shipped()
PROFILE = Profile(np.array([50.0, 20.0, 5.0, 1.0]), np.full(LANES, 0.0245))
FAULT = Fault(np.array([5 * 3600.0, 9 * 3600.0, 40_000.0, 11 * 3600.0]), factor=2.5)
DOUBTS = FAULT._replace(factor=1.0, doubt_factor=2.5)


class Recorded(Traffic):
    """Traffic that remembers what it gave."""

    def __init__(self, profile: Profile, seed: int) -> None:
        super().__init__(profile, seed)
        self.days: list[Steps] = []

    def day(self, fault=None, steps=STEPS_A_DAY, from_step=0):
        self.days.append(super().day(fault, steps, from_step))
        return self.days[-1]


@pytest.fixture(scope="module", params=[FAULT, DOUBTS], ids=["blocks", "escalations"])
def ran(request):
    traffic = Recorded(PROFILE, seed=5)
    run = Run(SETTINGS, traffic, LANES, Kind())
    run.warm(DAYS)
    tripped = [each.tripped for each in run.day(request.param)]
    return traffic, np.concatenate(tripped)


def counts_of(traffic: Recorded, lane: int) -> list[Counts]:
    steps = [np.concatenate([getattr(day, name)[:, lane] for day in traffic.days]).tolist() for name in Steps._fields]
    return [
        Counts(total - block - escalate, block, escalate, 0, score, squares, doubt, total)
        for total, block, escalate, _errors, _slow, score, squares, doubt in zip(*steps, strict=True)
    ]


def evaluations_that_trip(counts: list[Counts], scope: str) -> list[int]:
    """Judge a lane by the breaker's own code. A scope that trips is at once CLOSED again, with its streaks."""
    history, totals = History(), [Counts()]
    history.add(START_MS, {scope: Counts()})
    record = BreakerRecord(scope, BreakerState.CLOSED, 0, 0, 0, Cause("", "monitor"))
    watch, tripped = Watch(), []
    window, errors = SETTINGS.window_s // STEP_S, SETTINGS.error_window_s // STEP_S
    for place, more in enumerate(counts):
        totals.append(totals[-1].plus(more))
        now_ms = START_MS + (place + 1) * STEP_S * 1000
        if (place + 1) % STEPS_AN_HOUR == 0:
            history.add(now_ms, {scope: totals[-1]})
        if place + 1 < DAYS * STEPS_A_DAY:
            continue
        spans = [difference(totals[-1], totals[max(len(totals) - 1 - back, 0)]) for back in (window, errors, 1)]
        reading = ScopeReading(*spans, history.seasonal(scope, now_ms, SETTINGS), None, None)
        advanced = advance(record, watch, reading, now_ms, SETTINGS)
        watch = advanced.watch
        if advanced.transition is not None:
            assert advanced.transition.event is Event.TRIP
            tripped.append(place + 1 - DAYS * STEPS_A_DAY)
            if len(tripped) == 1:
                break  # from here on a real scope is out of the loop
    return tripped


@pytest.mark.parametrize("lane", range(LANES))
def test_lane_trips_first_at_the_evaluation_at_which_the_breaker_does(ran, lane):
    traffic, tripped = ran
    (expected,) = evaluations_that_trip(counts_of(traffic, lane), "model:m1")
    assert np.flatnonzero(tripped[:, lane])[0] == expected


def kept(steps: Steps):
    return steps.total, steps.allow, steps.block, steps.score_sum_ppm, steps.doubt


def counted(sums, lane: int) -> Counts:
    total, allow, block, score, doubt = (int(each[lane]) for each in sums)
    return Counts(allow, block, total - allow - block, 0, score, 0, doubt, total)


def test_lanes_baselines_are_those_of_the_breakers_history():
    traffic, hours, history = Recorded(PROFILE, seed=6), Hours(LANES), History()
    scopes = [f"model:{lane}" for lane in range(LANES)]
    totals = dict.fromkeys(scopes, Counts())
    history.add(START_MS, totals)
    for day in range(DAYS):
        steps = traffic.day()
        for hour in range(24):
            part = slice(hour * STEPS_AN_HOUR, (hour + 1) * STEPS_AN_HOUR)
            sums = [each[part].sum(axis=0) for each in kept(steps)]
            hours.add(*sums)
            for lane, scope in enumerate(scopes):
                totals = {**totals, scope: totals[scope].plus(counted(sums, lane))}
            history.add(START_MS + (day * 24 + hour + 1) * 3_600_000, totals)
    found, sigma_ppm = interpolated(hours, STEPS_AN_HOUR, SETTINGS), hours.sigma_ppm()
    for evaluation in range(STEPS_AN_HOUR):
        now_ms = START_MS + DAYS * 86_400_000 + evaluation * STEP_S * 1000
        for lane, scope in enumerate(scopes):
            known = history.seasonal(scope, now_ms, SETTINGS)
            ours = [float(column[evaluation][lane]) for column in found[:5]]
            levels = (known.block_level, known.stop_level, known.doubts.level)
            assert levels == pytest.approx((found.block_level[lane], found.stop_level[lane], found.doubt_level[lane]))
            doubts = (found.doubt[evaluation][lane], found.doubt_correlation[evaluation][lane])
            assert known.doubts[:2] == (doubts[0], known.answered)
            assert known.doubts.correlation == pytest.approx(doubts[1])
            assert ours == pytest.approx(
                [known.answered, known.allow, known.block, known.correlation, known.score_mean_ppm]
            )
            assert float(sigma_ppm[lane]) == pytest.approx(known.score_sigma_ppm)


def test_lanes_with_a_day_behind_them_are_judged_by_what_a_new_version_inherits():
    traffic, hours, histories = Recorded(PROFILE, seed=7), Hours(LANES), [History() for _ in range(LANES)]
    totals = [Counts() for _ in range(LANES)]
    for history in histories:
        history.add(START_MS, {"all": Counts()})
    steps = traffic.day()
    for hour in range(24):
        part = slice(hour * STEPS_AN_HOUR, (hour + 1) * STEPS_AN_HOUR)
        sums = [each[part].sum(axis=0) for each in kept(steps)]
        hours.add(*sums)
        for lane, history in enumerate(histories):
            totals[lane] = totals[lane].plus(counted(sums, lane))
            history.add(START_MS + (hour + 1) * 3_600_000, {"all": totals[lane]})
    found = interpolated(hours, STEPS_AN_HOUR, SETTINGS)
    for evaluation in range(STEPS_AN_HOUR):
        now_ms = START_MS + 86_400_000 + evaluation * STEP_S * 1000
        for lane in range(2):  # the others have no 500 payments in an hour of the night
            known = histories[lane].inherited("model:new", now_ms, now_ms, {"all": totals[lane]}, SETTINGS)
            ours = [float(column[evaluation][lane]) for column in found[:3]]
            ours += [found.block_level[lane], found.stop_level[lane], found.doubt[evaluation][lane]]
            assert known.is_seasonal
            assert ours == pytest.approx(
                [
                    *(known.answered, known.allow, known.block),
                    *(known.block_level, known.stop_level, known.doubts.counted),
                ]
            )


@pytest.mark.parametrize("name", CASES)
def test_finding_stays_mended(name):
    found = CASES[name]()
    assert found.holds, found.told


@pytest.mark.parametrize("name", CONDITIONS)
def test_condition_alone_holds_at_its_limit_and_not_one_step_below(name):
    found = CONDITIONS[name]()
    assert found.holds, found.told


YEARS = {"model": FalseTrips(20.0, 30, 12, {}, 1), "segment": FalseTrips(20.0, 30, 8, {}, 1)}
WEEKS = {"200 for 8 weeks": FalseTrips(30.7, 56, 0, {}, 0)}


@pytest.mark.parametrize(
    ("quiet", "expected"),
    [
        (Quiet(YEARS, YEARS, WEEKS, {}, {}), True),
        (Quiet(YEARS, {"model": FalseTrips(20.0, 30, 21, {}, 1)}, WEEKS, {}, {}), False),
        (Quiet({"model": FalseTrips(20.0, 30, 21, {}, 1)}, YEARS, WEEKS, {}, {}), False),
        (Quiet({}, {}, {"200 for 8 weeks": FalseTrips(30.7, 56, 1, {}, 1)}, {}, {}), False),  # 6.5 a year
        (Quiet({"model": FalseTrips(20.0, 30, 3, {}, 3)}, {}, {}, {}, {}), False),  # in one day
        (Quiet({}, {}, {}, {"model": FalseTrips(1.0, 30, 500, {}, 9)}, {}), True),
    ],
)
def test_false_trips_of_all_scopes_side_by_side_are_held_to_one_a_year(quiet, expected):
    assert quiet.is_calm() is expected


def test_faults_are_held_to_their_minutes_and_to_their_place():
    prompt = {name: Detection(np.array([1.0]), 0) for name in GOALS_MIN}
    late = prompt | {"x2 at 5/s": Detection(np.array([1.0] * 9 + [15.5]), 0)}
    missed = prompt | {"40 % of a postcode": Detection(np.array([1.0] * 9 + [np.inf]), 0)}
    found = [Found(prompt, 0), Found(prompt, 1), Found(late, 0), Found(missed, 0)]
    assert [each.is_prompt() for each in found] == [True, False, False, False]


def test_lanes_that_a_fault_is_tried_on_stay_as_they_were():
    warm = Run(SETTINGS, Traffic(PROFILE, seed=5), LANES, Kind())
    warm.warm(DAYS)
    first, again = (detection(warm, FAULT).minutes.tolist() for _ in range(2))
    assert first == again
