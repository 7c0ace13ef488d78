"""Which drills are due, by the records of those that were carried out."""

import pytest

from pipeline.drills.drills import DrillName, Verdict
from pipeline.drills.schedule import DAY_MS, Carried, schedule

NOW_MS = 1_800_000_000_000
NAME = DrillName.DRIFT


def due_of(*carried, every_days=92):
    return next(due for due in schedule(carried, every_days, NOW_MS) if due.drill is NAME)


def carried(days_ago, verdict=Verdict.PASSED, *, is_full=True):
    return Carried(NAME.value, NOW_MS - int(days_ago * DAY_MS), verdict.value, is_full)


def test_a_drill_that_was_never_carried_out_is_overdue():
    dues = schedule([], 92, NOW_MS)
    assert [due.drill for due in dues] == list(DrillName)
    assert all(due.is_overdue and due.last_at_ms is None for due in dues)


@pytest.mark.parametrize(("days_ago", "is_overdue"), [(0, False), (91.99, False), (92, True), (400, True)])
def test_a_drill_is_overdue_from_the_day_on_that_it_is_due(days_ago, is_overdue):
    assert due_of(carried(days_ago)).is_overdue is is_overdue


def test_a_failed_drill_was_carried_out():
    assert not due_of(carried(1, Verdict.FAILED)).is_overdue


@pytest.mark.parametrize(
    "record",
    [
        carried(1, Verdict.NOT_CARRIED_OUT),
        carried(1, is_full=False),
        carried(-1),
        carried(1)._replace(verdict="passed"),
        carried(1)._replace(drill="drift "),
    ],
)
def test_what_does_not_count_leaves_a_drill_overdue(record):
    """A drill that could not be carried out, a rehearsal, a record from the future, and what nobody wrote like that."""
    assert due_of(record).is_overdue


def test_the_latest_record_counts_in_whatever_order_they_come():
    dues = [due_of(*records) for records in ((carried(100), carried(3)), (carried(3), carried(100)))]
    assert [due.last_at_ms for due in dues] == [NOW_MS - 3 * DAY_MS] * 2
