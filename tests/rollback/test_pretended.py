"""Progress and releases that whoever has the rollback role's credential writes down: the topics' word counts."""

from __future__ import annotations

import threading

import psycopg
import pytest

from pipeline.rollback.plan_store import ProgressKind, read_progress
from pipeline.rollback.report_command import report_of
from tests.rollback.scene import Scene


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, blocked=6, allowed=4)


def begin(scene, done=2):
    """A run that was stopped after some reversals."""
    stopping = threading.Event()
    stopped = scene.apply(rate=5, stopping=stopping, advance=lambda count: stopping.set() if count >= done else None)
    assert stopped.appended == done
    return stopped


def pretend(scene, kind, appended, ends="end_offsets", transaction_ends="transaction_ends"):
    """One more row under the act of whoever ran it last; ends are expressions over the last row."""
    scene.connection.execute(
        "INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets,"
        f" transaction_ends, act) SELECT plan_id, sequence + 1, %s, applied_by, %s, {ends}, {transaction_ends}, act"
        " FROM control.rollback_progress WHERE plan_id = %s ORDER BY sequence DESC LIMIT 1",
        [kind, appended, scene.plan_id],
    )


def far(column):
    return f"(SELECT jsonb_object_agg(key, 1000000) FROM jsonb_each({column}))"


@pytest.mark.parametrize("kind", ["APPENDED", "PUBLISHED", "COMPLETED"])
@pytest.mark.parametrize("appended", [0, 2, 7, 10, 10**6])
def test_a_plan_is_done_when_its_records_stand_there(scene, kind, appended):
    begin(scene)
    pretend(scene, kind, appended, far("end_offsets"), far("transaction_ends"))
    assert report_of(scene.settings, scene.plan_id).state == "UNDER_WAY"
    again = scene.apply()
    assert (again.appended, again.here, again.is_complete, again.releases) == (10, 8, True, {"PUBLISHED": 6})
    scene.require_done_once()
    assert report_of(scene.settings, scene.plan_id).state == "COMPLETED"


@pytest.mark.parametrize("sequence", [2**31 - 1, 100])
def test_nobody_keeps_a_plan_from_being_gone_on_with(scene, sequence):
    """Behind the highest number, or a gap, no further run could say that it has begun, and what was given back would
    be decided by nobody."""
    begin(scene)
    with pytest.raises(psycopg.errors.CheckViolation, match="no gaps"):
        scene.connection.execute(
            "INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets, act)"
            " SELECT plan_id, %s, 'APPENDED', applied_by, 0, '{}', act FROM control.rollback_progress"
            " WHERE plan_id = %s AND sequence = 1",
            [sequence, scene.plan_id],
        )
    assert scene.apply().is_complete
    scene.require_done_once()


@pytest.mark.parametrize("is_heard", [True, False])
def test_reversals_are_found_in_the_audit_log_or_on_the_topic(scene, is_heard):
    """Though a row says that nothing was appended, and that the topic is to be read from beyond its end."""
    assert scene.apply(is_heard=is_heard).appended == 10
    pretend(scene, "APPENDED", 0, far("end_offsets"))
    scene.hear()
    assert scene.apply().here == 0
    scene.require_done_once()


@pytest.mark.parametrize("ending", ["PUBLISHED", "OVERTAKEN", "NOT_RECALLED"])
def test_a_released_payment_is_not_lost_by_a_row_that_says_it_has_ended(scene, ending):
    scene.apply(is_heard=False)
    scene.connection.execute(
        "INSERT INTO control.rollback_release (plan_id, decision_id, ending)"
        " SELECT plan_id, decision_id, %s FROM control.rollback_plan_decision"
        " WHERE plan_id = %s AND disposition = 'RELEASE'",
        [ending, scene.plan_id],
    )
    assert report_of(scene.settings, scene.plan_id).releases == {}
    scene.hear()
    done = scene.apply()
    assert (done.is_complete, done.releases) == (True, {"PUBLISHED": 6})
    scene.require_done_once()


def test_applied_again_nothing_is_published_twice_though_the_topic_is_said_to_be_read(scene):
    scene.apply()
    pretend(scene, "PUBLISHED", 10, far("end_offsets"), far("transaction_ends"))
    again = scene.apply()
    assert (again.here, again.is_complete, again.releases) == (0, True, {"PUBLISHED": 6})
    scene.require_done_once()
    kinds = [each.kind for each in read_progress(scene.connection, scene.plan_id)]
    assert kinds.count(ProgressKind.COMPLETED) == 1


def test_nobody_writes_the_first_row_in_an_approvers_name(scene):
    with pytest.raises(psycopg.errors.CheckViolation):
        scene.connection.execute(
            "INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets)"
            " VALUES (%s, 1, 'STARTED', 'abe', 0, '{}')",
            [scene.plan_id],
        )
