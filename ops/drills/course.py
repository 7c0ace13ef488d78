"""The course of a drill: all is well; the fault; it is seen, contained and told; it is mended; all is well again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ops.drills.baseline import lay_baseline
from ops.drills.notes import Course, Sample, samples
from ops.drills.patience import HOLD_S, REST_S, contained_s, recovered_s, warm_s, well_s
from ops.drills.plays import PLAYS, Play
from ops.drills.stage import DrillNotCarriedOut, Stage, begin
from pipeline.domain.decision import BreakerState, Route
from pipeline.drills.drills import DrillName
from pipeline.drills.judging import Measured
from pipeline.io.clock import now_ms

TICK_S: Final = 0.1
WITH_HISTORY: Final = frozenset({DrillName.DRIFT, DrillName.MODEL_ALLOWS})
"""The drills whose fault the breaker sees by what has been usual for days, as it is known to a deployment."""
FRESH_S: Final = 2.0
"""A decision that is no older shows that nothing waits any more."""
CHECKED: Final = ("every record published is decided or set aside", "no payment has two decisions")
"""Every drill looks for this at its end, besides what its play looks for."""


class Performed(NamedTuple):
    measured: Measured
    course: Course
    samples: list[Sample]
    published: int
    decided: int
    dead_letters: dict[str, int]
    answered: dict[str, int]  # decisions by the model's version
    checked: tuple[str, ...]
    harm: str
    settings: dict[str, Any]  # those of the breaker's that the lane was judged by in place of the policy's


def perform(stage: Stage, say: Callable[[str], None]) -> Performed:
    """Carry the drill out on a stage that is set. Raises DrillNotCarriedOut where it shows nothing, either way."""
    course = Course()
    play = PLAYS[stage.asked.drill](stage, course)
    begin(stage)
    say("payments are decided; the breaker learns what is usual")
    _warm_up(stage, course)
    course.begin_fault(time.monotonic(), now_ms())
    course.states = [each for each in course.states if each[0] >= course.fault_s - 3 * stage.policy.breaker.window_s]
    course.note("the fault begins", course.fault_s)
    play.go_wrong()
    say(f"the fault begins: {stage.asked.drill}")
    _wait_until_contained(stage, course, play, say)
    play.mend()
    course.mended_s = time.monotonic()
    course.note("the fault is mended")
    _wait_until_recovered(stage, course, play, say)
    _come_to_rest(stage, course, play)
    return Performed(
        course.measured(play.leaked()),
        course,
        samples(course, stage.decided.since()),
        stage.traffic.published,
        len(stage.decided.since()),
        stage.decided.dead_letters(),
        Counter(each.decision.model_version for each in stage.decided.since() if each.decision.route is Route.MODEL),
        (*CHECKED, *play.checked),
        play.harm,
        dict(stage.changed),
    )


def _warm_up(stage: Stage, course: Course) -> None:
    """Let the breaker see enough, and see that all is well: a fault shows nothing in a lane that isn't."""
    breaker = stage.policy.breaker
    until_s = time.monotonic() + warm_s(stage.asked.drill, breaker, is_full=stage.asked.is_full)
    while time.monotonic() < until_s:
        _tick(stage, course)
    if stage.asked.drill in WITH_HISTORY:
        course.note("a week of hours as the lane's own is laid, and the worker starts anew")
        lay_baseline(stage)
        until_s = time.monotonic() + breaker.window_s
    deadline_s = until_s + well_s(breaker)
    while time.monotonic() < until_s or not (_is_well(stage, course) and stage.are_ready()):
        _tick(stage, course)
        if time.monotonic() > deadline_s:
            raise DrillNotCarriedOut("all was not well before the fault")


def _wait_until_contained(stage: Stage, course: Course, play: Play, say: Callable[[str], None]) -> None:
    """Wait until the fault is seen, contained and told, or should long have been."""
    deadline_s = course.fault_s + contained_s(stage.policy.breaker, stage.rhythm, is_full=stage.asked.is_full)
    while time.monotonic() < deadline_s:
        _tick(stage, course, is_wrong=True)
        now_s = time.monotonic()
        if course.detected_s is None and play.is_seen():
            _reach(course, "detected_s", now_s, "it is seen", say)
        if play.has_trip and course.tripped_s is None and play.is_contained():
            _reach(course, "tripped_s", now_s, "the model is out of the loop", say)
        play.keep_up()
        paged_s = play.paged_at_s(now_s)
        if course.paged_s is None and paged_s is not None:
            _reach(course, "paged_s", paged_s, "on-call is paged", say)
        if course.detected_s and course.paged_s and (course.tripped_s or not play.has_trip):
            break
    else:
        course.note("nothing more was waited for")
    held_s = time.monotonic() + HOLD_S
    while time.monotonic() < held_s:
        _tick(stage, course, is_wrong=True)
        play.keep_up()


def _wait_until_recovered(stage: Stage, course: Course, play: Play, say: Callable[[str], None]) -> None:
    assert course.mended_s is not None
    deadline_s = course.mended_s + recovered_s(stage.policy.breaker)
    while time.monotonic() < deadline_s:
        _tick(stage, course, is_wrong=True)
        play.keep_up()
        if _is_well(stage, course, needs_closed=play.needs_closed) and play.is_well():
            _reach(course, "recovered_s", time.monotonic(), "all is well again", say)
            return
    course.note("it did not recover in the time that a drill waits")


def _come_to_rest(stage: Stage, course: Course, play: Play) -> None:
    """Stop the traffic, and account for every record (I1) and for every payment's one decision (I2)."""
    stage.traffic.stop()
    deadline_s = time.monotonic() + REST_S
    while time.monotonic() < deadline_s:
        _tick(stage, course, is_wrong=True)
        play.keep_up()
        if stage.decided.accounted_for() >= stage.traffic.published and play.is_well():
            break
    accounted, published = stage.decided.accounted_for(), stage.traffic.published
    if accounted != published:
        course.faults.append(f"{published:,} records were published, and {accounted:,} are accounted for")
    decided = [each.decision for each in stage.decided.since()]
    if len({each.decision_id for each in decided}) != len(decided):
        course.faults.append("a payment has more than one decision")
    course.faults += play.faults()


def _is_well(stage: Stage, course: Course, *, needs_closed: bool = True) -> bool:
    """Whether the worker is ready, the breaker closed, and the good model's latest decision a fresh one."""
    good = stage.models.good
    if not stage.is_ready() or (needs_closed and stage.breaker.strictest(good) is not BreakerState.CLOSED):
        return False
    since_s = course.mended_s or 0.0
    for at_s, decision in reversed(stage.decided.since()[-200:]):
        if (decision.route is Route.MODEL or not needs_closed) and decision.model_version == good:
            is_fresh = decision.decided_at_ms - decision.source_timestamp_ms < FRESH_S * 1000
            return is_fresh and at_s >= since_s and time.monotonic() - at_s < FRESH_S
    return False


def _tick(stage: Stage, course: Course, *, is_wrong: bool = False) -> None:
    stage.require_running(but=tuple(stage.services) if is_wrong else ())
    now_s = time.monotonic()
    for change in stage.breaker.poll(now_s):
        course.note(f"breaker {change.before} to {change.after} for {change.scope}: {change.why}", now_s)
    state = stage.breaker.strictest(stage.models.good)
    course.states.append((now_s, state.value, stage.is_ready()))
    time.sleep(TICK_S)


def _reach(course: Course, moment: str, at_s: float, what: str, say: Callable[[str], None]) -> None:
    setattr(course, moment, at_s)
    course.note(what, at_s)
    say(f"{what} after {at_s - course.fault_s:.1f} s")
