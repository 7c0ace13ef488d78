"""What is usual: whose hours make a yardstick, and that they outlive the store."""

from pipeline.breaker import History
from pipeline.breaker.answer_counts import ALL, Counts, probe_scope
from pipeline.domain.context import BreakerHour
from tests.breaker.given import DEFAULTS, START_MS, answers

HOUR_MS = 3_600_000
OLD, NEW = "model:old", "model:new"


class Clockwork:
    """A history that is told running totals at every full hour."""

    def __init__(self) -> None:
        self.history, self.totals, self.now_ms = History(), {}, START_MS
        self.history.add(START_MS, {})

    def hour(self, **counts: Counts) -> None:
        for scope, more in counts.items():
            self.totals[scope] = self.totals.get(scope, Counts()).plus(more)
        self.now_ms += HOUR_MS
        self.history.add(self.now_ms, dict(self.totals))


def answered_by(version: str, total: int, block: int) -> dict[str, Counts]:
    return {ALL: answers(total, block), version: answers(total, block)}


def inherited(clockwork: Clockwork, before: dict[str, Counts] | None = None):
    totals = before or clockwork.totals
    return clockwork.history.inherited(NEW, clockwork.now_ms, clockwork.now_ms + 1, totals, DEFAULTS)


def test_new_version_inherits_what_answered_before_it_and_never_its_own():
    clockwork = Clockwork()
    for _ in range(5):
        clockwork.hour(**answered_by(OLD, 1_000, 20))
    assert (inherited(clockwork).answered, inherited(clockwork).block) == (5_000, 100)
    for _ in range(30):
        clockwork.hour(**answered_by(NEW, 1_000, 900))
    assert (inherited(clockwork).answered, inherited(clockwork).block) == (5_000, 100)
    assert not inherited(clockwork).is_seasonal


def test_new_version_inherits_the_same_hours_of_others_on_however_few_days():
    clockwork = Clockwork()
    for hour in range(24):
        clockwork.hour(**answered_by(OLD, 1_000 + hour, 20 + hour))
    first = inherited(clockwork)  # half an hour before and after midnight, of hours 23 and 0
    assert (first.is_seasonal, first.answered, first.score_sigma_ppm) == (True, 1_023, None)
    for _ in range(25):
        clockwork.hour(**answered_by(NEW, 1_000, 900))
    later = inherited(clockwork)
    assert (later.is_seasonal, later.answered, later.block) == (True, 1_000, 20)
    clockwork.history.exclude({("*", START_MS), ("*", START_MS + HOUR_MS)})
    assert not inherited(clockwork).is_seasonal


def test_others_that_answer_beside_a_version_lend_it_their_hours_and_none_of_its_own():
    clockwork = Clockwork()
    for _ in range(48):
        clockwork.hour(**{ALL: answers(3_000, 1_840), OLD: answers(1_000, 40), NEW: answers(2_000, 1_800)})
    assert inherited(clockwork).block / inherited(clockwork).answered == 0.04


def test_version_beside_another_is_measured_by_the_other_within_the_hour_too():
    clockwork = Clockwork()
    clockwork.hour(**answered_by(OLD, 1_000, 20))
    before = {ALL: clockwork.totals[ALL].plus(answers(3_000, 1_010)), NEW: answers(2_000, 1_000)}
    found = inherited(clockwork, before)
    assert (found.answered, found.block) == (2_000, 30)


def test_first_version_of_all_inherits_nothing():
    clockwork = Clockwork()
    for _ in range(30):
        clockwork.hour(**answered_by(NEW, 1_000, 900))
    assert inherited(clockwork) is None


def kept_by(clockwork: Clockwork) -> list[BreakerHour]:
    kept = clockwork.history.unkept()
    clockwork.history.mark_kept(kept)
    return kept


def test_history_that_was_kept_elsewhere_is_the_same_again():
    clockwork = Clockwork()
    for day in range(8 * 24):
        clockwork.hour(**answered_by(OLD, 1_000 + day, 20))
    clockwork.history.exclude({("*", START_MS + 30 * HOUR_MS), (OLD, START_MS + 40 * HOUR_MS)})
    anew = History()
    anew.restore(kept_by(clockwork), clockwork.now_ms)
    for scope in (ALL, OLD):
        found = [each.seasonal(scope, clockwork.now_ms, DEFAULTS) for each in (anew, clockwork.history)]
        assert found[0] == found[1] is not None
    assert anew.unkept() == clockwork.history.unkept() == []


def test_only_hours_that_changed_are_kept_again():
    clockwork = Clockwork()
    clockwork.hour(**answered_by(OLD, 1_000, 20))
    clockwork.hour(**answered_by(OLD, 1_000, 20))
    assert [hour.start_ms for hour in kept_by(clockwork)] == [START_MS, START_MS + HOUR_MS]
    clockwork.history.exclude({("*", START_MS)})
    assert [(hour.start_ms, hour.excluded) for hour in kept_by(clockwork)] == [(START_MS, ["*"])]


def test_exclusion_that_the_store_lost_is_not_forgotten():
    clockwork = Clockwork()
    for _ in range(30):
        clockwork.hour(**answered_by(OLD, 1_000, 20))
    clockwork.history.exclude({("*", START_MS + HOUR_MS * hour) for hour in range(40)})
    clockwork.history.exclude(frozenset())
    assert clockwork.history.trailing(OLD, clockwork.now_ms, clockwork.now_ms, Counts(), DEFAULTS) is None


def test_probes_are_no_history():
    clockwork = Clockwork()
    clockwork.hour(**answered_by(OLD, 1_000, 20), **{probe_scope(OLD): answers(10)})
    assert [hour.scopes for hour in kept_by(clockwork)] == [[ALL, OLD]]


def test_hours_beyond_eight_days_are_dropped():
    clockwork = Clockwork()
    for _ in range(20 * 24):
        clockwork.hour(**answered_by(OLD, 1_000, 20))
    assert len(kept_by(clockwork)) == 8 * 24


def test_level_of_the_last_hours_is_heeded_as_far_as_the_slack_and_an_incident_is_no_level():
    clockwork = Clockwork()
    for _ in range(7 * 24):
        clockwork.hour(**answered_by(OLD, 10_000, 200))
    for blocked, expected in ((220, 1.07), (900, 1.25), (20, 0.8)):
        later = Clockwork()
        later.history.restore(clockwork.history.unkept(), clockwork.now_ms)
        later.now_ms, later.history.last_ms = clockwork.now_ms, clockwork.now_ms
        for _ in range(3):
            later.hour(**answered_by(OLD, 10_000, blocked))
        found = later.history.seasonal(OLD, later.now_ms, DEFAULTS)
        assert round(found.block_level, 2) == expected
        later.history.exclude({("*", later.now_ms - hour * HOUR_MS) for hour in (1, 2, 3)})
        assert later.history.seasonal(OLD, later.now_ms, DEFAULTS).block_level == 1.0


def test_level_is_as_usual_where_the_late_hours_have_none_to_compare_with():
    clockwork = Clockwork()
    for _ in range(24):
        clockwork.hour(**answered_by(OLD, 10_000, 900))
    assert (inherited(clockwork).block_level, inherited(clockwork).stop_level) == (1.0, 1.0)
