"""Plans applied on a broker: what stands on the topics afterwards, and who is refused."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from pipeline.io.postgres import connect
from pipeline.rollback.apply_service import AnotherIsApplied, NoSuchPlan, ProgressBroken
from pipeline.rollback.plan_store import ProgressKind, read_progress, turn_to_apply
from pipeline.rollback.reversal import ApplyRefusal
from tests.decisions import record_of
from tests.records import NOON_MS
from tests.rollback.scene import WAIT_S, Scene
from tests.rollback.stand import WIRE


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, tmp_path):
    return lambda **sizes: Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", **sizes)


def test_a_plan_is_carried_out_exactly(scene):
    scene = scene()
    seen = []
    applied = scene.apply(advance=seen.append)
    assert (applied.appended, applied.here, applied.is_complete) == (50, 50, True)
    assert seen == [0, 50]
    scene.require_done_once()
    kinds = [each.kind for each in read_progress(scene.connection, scene.plan_id)]
    assert kinds == [ProgressKind.STARTED, ProgressKind.APPENDED, ProgressKind.COMPLETED]


def test_applied_again_it_appends_nothing(scene):
    scene = scene()
    scene.apply()
    again = scene.apply()
    assert (again.appended, again.here, again.is_complete) == (50, 0, True)
    scene.require_done_once()


def test_records_name_both_people_and_say_why(scene):
    scene = scene()
    scene.apply()
    records = [record_of(one.value) for one in scene.news("decisions.v1")]
    assert {(each.requested_by, each.approved_by) for each in records} == {("rae", "abe")}
    assert all(each.reason.startswith("it went wrong. Under model small-1") for each in records)


@pytest.mark.parametrize(
    ("by", "refusal"),
    [("rae", ApplyRefusal.NOT_AUTHORISED), ("mallory", ApplyRefusal.NOT_AUTHORISED)],
)
def test_who_may_not_is_refused_and_nothing_is_appended(scene, by, refusal):
    scene = scene()
    assert scene.apply(by=by) is refusal
    assert scene.news("decisions.v1") == []


def test_nobody_applies_their_own_plan_though_they_hold_both_roles(scene, owner):
    scene = scene()
    grant = "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES (%s, %s, true, 'test')"
    owner.execute(grant, ["rae", "ROLLBACK_APPROVER"])
    assert scene.apply(by="rae") is ApplyRefusal.OWN_PLAN


def test_an_altered_plan_is_refused(scene, owner):
    """By a superuser who switches the triggers off; the hash tells."""
    scene = scene()
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.rollback_plan_decision SET amount_minor = amount_minor + 1 WHERE position = 7")
    assert scene.apply() is ApplyRefusal.ALTERED
    assert scene.news("decisions.v1") == []


def test_an_expired_plan_is_refused(scene):
    scene = scene()
    expired = scene.make_plan(lifetime_ms=1, now_ms=NOON_MS)
    assert scene.apply(plan_id=expired) is ApplyRefusal.EXPIRED


def test_a_plan_that_was_overtaken_by_another_is_refused(scene):
    """Two plans about the same decisions: the second would reverse what the first has reversed."""
    scene = scene()
    second = scene.make_plan()
    scene.apply()
    scene.audited.append([one.value for one in scene.news("decisions.v1")])
    assert scene.apply(plan_id=second) is ApplyRefusal.OVERTAKEN


def test_no_plan_has_that_id(scene):
    with pytest.raises(NoSuchPlan):
        scene().apply(plan_id=str(uuid4()))


def test_what_is_told_to_stop_is_taken_up_where_it_stood(scene):
    scene = scene(blocked=10, allowed=10)
    stopping = threading.Event()
    stopped = scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 4 else None)
    assert (stopped.appended, stopped.is_complete) == (4, False)
    finished = scene.apply(by="both")  # another approver may finish it; the records still name the first
    assert (finished.appended, finished.here) == (20, 16)
    scene.require_done_once()
    assert {record_of(one.value).approved_by for one in scene.read["decisions.v1"]} == {"abe"}


def test_a_rate_is_kept(scene):
    scene = scene(blocked=10, allowed=20)
    begun = time.monotonic()
    scene.apply(rate=20)
    assert time.monotonic() - begun >= 30 / 20


def test_two_are_not_applied_at_once(scene, database_url, monkeypatch):
    scene = scene()
    monkeypatch.setattr("pipeline.io.postgres._TURN_LIMITS", (b"SET LOCAL lock_timeout = '100ms'",))
    with (
        closing(connect(database_url, "other")) as other,
        turn_to_apply(other, AnotherIsApplied),
        pytest.raises(AnotherIsApplied),
    ):
        scene.apply()


def test_records_under_the_plans_id_that_it_does_not_lead_to_stop_it(scene):
    scene = scene(blocked=5, allowed=5)
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    forged = record_of(scene.news("decisions.v1")[0].value)._replace(reversal_id=str(uuid4()))
    producer = Producer({"bootstrap.servers": scene.settings.bootstrap_servers})
    producer.produce(f"{scene.prefix}decisions.v1", WIRE.encode(forged), b"key")
    assert producer.flush(WAIT_S) == 0
    with pytest.raises(ProgressBroken):
        scene.apply()
