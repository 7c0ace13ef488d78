"""Plans applied on a broker: what stands on the topics afterwards, and who is refused."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer

from pipeline.io.postgres import connect
from pipeline.rollback import apply_service
from pipeline.rollback.apply_service import AnotherIsApplied, NoSuchPlan, ProgressBroken
from pipeline.rollback.plan_content_store import PlanRefused, read_content
from pipeline.rollback.plan_store import ProgressKind, read_plan, read_progress, turn_to_apply
from pipeline.rollback.reversal import ApplyRefusal
from tests.decisions import record_of
from tests.known import grant
from tests.records import NOON_MS
from tests.rollback.scene import WAIT_S, Scene
from tests.rollback.stand import WIRE
from tests.sealing import seal_headers


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return lambda **sizes: Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, **sizes)


def test_a_plan_is_carried_out_exactly(scene):
    scene = scene()
    seen = []
    applied = scene.apply(advance=seen.append)
    assert (applied.appended, applied.here, applied.is_complete) == (50, 50, True)
    assert seen == [0, 50]
    assert applied.releases == {"PUBLISHED": 30}
    scene.require_done_once()
    kinds = [each.kind for each in read_progress(scene.connection, scene.plan_id)]
    assert kinds == [ProgressKind.STARTED, ProgressKind.APPENDED, ProgressKind.PUBLISHED, ProgressKind.COMPLETED]


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
    grant(owner, "rae", "ROLLBACK_APPROVER")
    assert scene.apply(by="rae") is ApplyRefusal.OWN_PLAN


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE control.rollback_plan_content SET content = replace(content::text, '78', '79')::bytea WHERE part = 1",
        "UPDATE control.rollback_plan_content SET part = 9 - part",
        "DELETE FROM control.rollback_plan_content",
        "UPDATE control.rollback_plan SET requested_by = 'roy'",
        "UPDATE control.rollback_plan SET expires_at = expires_at + interval '1 year'",
    ],
)
def test_an_altered_plan_is_refused(scene, owner, statement):
    """By a superuser who switches the triggers off; the hash tells."""
    scene = scene()
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(statement)
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
    assert scene.apply(plan_id=second) is ApplyRefusal.OVERTAKEN


def test_a_plan_that_is_overtaken_when_it_is_approved_pays_nothing(scene):
    """The executor hears the first plan only after the second was approved: what the second says counts nowhere."""
    scene = scene(blocked=6, allowed=4)
    second = scene.make_plan()
    assert scene.apply(is_heard=False).waiting == 6
    assert scene.apply(plan_id=second, is_heard=False).waiting == 6
    scene.hear()
    assert scene.apply().releases == {"PUBLISHED": 6}
    overtaken = scene.apply(plan_id=second)
    assert (overtaken.is_complete, overtaken.releases) == (True, {"OVERTAKEN": 6})
    ids = [WIRE.decode_transaction(one.value).transaction.transaction_id for one in scene.news("transactions.v1")]
    assert len(ids) == len(set(ids)) == 6
    assert scene.audited.desk.findings() == []


def test_no_payment_is_published_before_the_ledger_has_released_it(scene):
    scene = scene(blocked=6, allowed=4)
    waiting = scene.apply(is_heard=False)
    assert (waiting.appended, waiting.waiting, waiting.is_complete, waiting.releases) == (10, 6, False, {})
    assert scene.news("transactions.v1") == []
    scene.hear()
    done = scene.apply()
    assert (done.here, done.waiting, done.is_complete, done.releases) == (0, 0, True, {"PUBLISHED": 6})
    scene.require_done_once()


def test_payments_that_a_killed_run_published_are_not_published_again(scene, monkeypatch):
    """The kill comes after Kafka has committed, and before that was written down."""
    scene = scene(blocked=6, allowed=4)
    scene.apply(is_heard=False)
    scene.hear()
    with monkeypatch.context() as patched:
        patched.setattr(apply_service, "append_releases", killed)
        with pytest.raises(Killed):
            scene.apply()
    assert len(scene.news("transactions.v1")) == 6
    assert scene.apply().releases == {"PUBLISHED": 6}
    scene.require_done_once()


class Killed(Exception):
    pass


def killed(*_):
    raise Killed


def test_lines_that_are_slipped_in_are_refused_and_make_no_difference(scene, owner):
    """Finding 11: by the role's own credential, then by a superuser who passes the triggers by."""
    scene = scene(blocked=3, allowed=3)
    copied = """INSERT INTO control.rollback_plan_decision
        SELECT plan_id, 1000, gen_random_uuid(), 'tx-stranger', account_id, topic_partition, topic_offset, currency,
            4900000, 4900000, outcome_before, outcome_after, disposition, is_held, is_in_review, why, payment_hex,
            state, replaces_kind, replaces_id
        FROM control.rollback_plan_decision WHERE plan_id = %s AND disposition = 'RELEASE' LIMIT 1"""
    content = "INSERT INTO control.rollback_plan_content VALUES (%s, 1000, 'more')"
    for statement in (copied, content):
        with pytest.raises(psycopg.errors.RestrictViolation):
            scene.connection.execute(statement, [scene.plan_id])
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(copied, [scene.plan_id])
    assert scene.apply().appended == 6
    assert {record_of(one.value).transaction_id for one in scene.news("decisions.v1")}.isdisjoint({"tx-stranger"})
    assert len(scene.news("transactions.v1")) == 3


def test_what_changes_in_the_database_once_the_plan_was_read_makes_no_difference(scene, owner):
    """The plan's bytes are in a file of the process by then; every record bears their digest."""
    scene = scene(blocked=3, allowed=3)
    digest = read_plan(scene.connection, scene.plan_id).content_hash

    def forge(_):
        with owner.transaction():
            owner.execute("SET LOCAL session_replication_role = replica")
            owner.execute("UPDATE control.rollback_plan_content SET content = 'forged'")
            owner.execute("DELETE FROM control.rollback_plan_decision")

    lines = scene.lines()
    assert scene.apply(rate=5, advance=forge).appended == 6
    records = [record_of(one.value) for one in scene.news("decisions.v1")]
    assert [each.decision_id for each in records] == [line.decision_id for line in lines]
    assert {each.plan_digest for each in records} == {digest.hex()}
    assert scene.apply() is ApplyRefusal.ALTERED  # what is finished later is what was approved, or nothing


def test_a_forged_plan_with_a_digest_of_its_own_is_not_what_was_approved(scene, owner):
    """Whoever rewrites bytes and digest after the approval is found out by the approval's digest."""
    scene = scene(blocked=3, allowed=3)
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.rollback_plan_content SET content = content || E'[]\n' WHERE part = 1")
        owner.execute(
            "UPDATE control.rollback_plan SET content_hash = (SELECT sha256(string_agg(content, ''::bytea ORDER BY"
            " part)) FROM control.rollback_plan_content)"
        )
    assert scene.apply() is ApplyRefusal.ALTERED


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
    applied = scene.apply(rate=20)
    assert time.monotonic() - begun >= 30 / 20
    assert (applied.is_complete, applied.releases) == (True, {"PUBLISHED": 10})
    scene.require_done_once()


def test_lines_that_are_read_twice_at_once_are_all_read_both_times(scene):
    scene = scene(blocked=3, allowed=2)
    plan = read_plan(scene.connection, scene.plan_id)
    with read_content(scene.connection, scene.plan_id, plan.content_hash) as content:
        outer = content.lines()
        first, inner, rest = next(outer), list(content.lines()), list(outer)
    assert [first, *rest] == inner
    assert len(inner) == plan.decisions


def test_two_are_not_applied_at_once(scene, database_url, monkeypatch):
    scene = scene()
    monkeypatch.setattr("pipeline.io.postgres._TURN_LIMITS", (b"SET LOCAL lock_timeout = '100ms'",))
    with (
        closing(connect(database_url, "other")) as other,
        turn_to_apply(other, AnotherIsApplied),
        pytest.raises(AnotherIsApplied),
    ):
        scene.apply()


def forged_reversal(scene):
    """Another reversal under a plan's id, when two of its own stand on the topic."""
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    return WIRE.encode(record_of(scene.news("decisions.v1")[0].value)._replace(reversal_id=str(uuid4())))


def append(scene, value, headers):
    producer = Producer({"bootstrap.servers": scene.settings.bootstrap_servers})
    producer.produce(f"{scene.prefix}decisions.v1", value, b"key", 0, headers=headers)
    assert producer.flush(WAIT_S) == 0


def test_records_under_the_plans_id_that_it_does_not_lead_to_stop_it(scene):
    scene = scene(blocked=5, allowed=5)
    forged = forged_reversal(scene)
    append(scene, forged, seal_headers(f"{scene.prefix}decisions.v1", b"key", forged, 0))
    with pytest.raises(ProgressBroken):
        scene.apply()


def test_a_reversal_that_nobody_proves_to_have_written_counts_for_nothing(scene):
    """A stolen credential for the topic can't make a plan look broken, or a reversal look applied."""
    scene = scene(blocked=5, allowed=5)
    append(scene, forged_reversal(scene), None)
    assert scene.apply().appended == 10


def lose(owner, *tables):
    """What a database that was put back has not got any more."""
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            owner.execute(f"DELETE FROM {table}")


APPROVED = ("control.rollback_progress", "control.rollback_release", "control.rollback_approval")


def test_a_plan_whose_approval_was_lost_with_the_database_is_not_applied_twice(scene, owner):
    """PostgreSQL was put back to a time before the approval; the audit log was filled again, the ledger was not."""
    scene = scene(blocked=3, allowed=2)
    scene.apply(is_heard=False)
    scene.hear(is_executed=False)
    lose(owner, *APPROVED)
    assert scene.apply(by="both", is_heard=False) is ApplyRefusal.APPLIED_BEFORE
    assert len(scene.news("decisions.v1")) == 5


def test_nobody_approves_a_plan_before_the_audit_log_has_come_to_the_end(scene, owner, monkeypatch):
    """After a database was put back, the audit log lacks what was appended under the plan."""
    scene = scene(blocked=3, allowed=2)
    scene.apply(is_heard=False)
    lose(owner, *APPROVED)
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.consumer_position SET next_offset = 0 WHERE consumer = 'audit'")
    monkeypatch.setattr(apply_service, "READERS_PATIENCE_S", 0.0)
    with pytest.raises(PlanRefused, match="the audit log has not taken in decisions"):
        scene.apply(by="both", is_audited=False)
    assert len(scene.news("decisions.v1")) == 5


def test_a_run_whose_progress_was_lost_with_the_database_appends_no_reversal_again(scene, owner):
    """A payment that nobody has decided yet is published once more, by the same bytes: a worker knows its duplicate."""
    scene = scene(blocked=3, allowed=2)
    scene.apply()
    lose(owner, "control.rollback_progress", "control.rollback_release")
    again = scene.apply()
    assert (again.appended, again.here, again.is_complete) == (5, 0, True)
    assert len(scene.news("decisions.v1")) == 5
    assert len({one.value for one in scene.news("transactions.v1")}) == 3
