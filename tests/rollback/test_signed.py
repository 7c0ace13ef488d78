"""Plans and approvals, attacked: what whoever holds the rollback role's credential can do without anybody's key."""

from __future__ import annotations

import threading

import psycopg
import pytest

from pipeline.io.filing import server_now_ms
from pipeline.people.act_store import append_act, read_registry
from pipeline.people.acts import ActKind
from pipeline.people.store import revoke_key
from pipeline.people.verify_command import verify
from pipeline.rollback.acts import approved, run_subject
from pipeline.rollback.plan_store import read_plan
from pipeline.rollback.reversal import ApplyRefusal, Approval
from tests.known import identity, revoke
from tests.rollback.scene import Scene


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, blocked=3, allowed=3)


def forged(scene, name, kind, subject):
    """An act that names the person's key, and is signed with nothing; its digest."""
    root = read_registry(scene.connection).root
    signed = identity(name).sign(kind, subject, server_now_ms(scene.connection), root)
    append_act(scene.connection, signed._replace(signature=bytes(64)))
    return signed.digest


def forge_approval(scene, name="abe"):
    plan, approval = read_plan(scene.connection, scene.plan_id), Approval(name, server_now_ms(scene.connection))
    subject = approved(scene.plan_id, plan.content_hash, approval).subject
    scene.connection.execute(
        "INSERT INTO control.rollback_approval (plan_id, approved_by, approved_at, content_hash, act)"
        " VALUES (%s, %s, timestamptz 'epoch' + %s * interval '1 ms', %s, decode(%s, 'hex'))",
        [
            scene.plan_id,
            name,
            approval.approved_at_ms,
            plan.content_hash,
            forged(scene, name, ActKind.ROLLBACK_APPROVED, subject),
        ],
    )


def forge_run(scene, name="abe"):
    scene.connection.execute(
        "INSERT INTO control.rollback_progress (plan_id, sequence, kind, applied_by, appended, end_offsets, act)"
        " VALUES (%s, 1, 'STARTED', %s, 0, '{}', decode(%s, 'hex'))",
        [scene.plan_id, name, forged(scene, name, ActKind.ROLLBACK_APPLIED, run_subject(scene.plan_id, 1))],
    )


def nothing_is_appended(scene):
    return scene.news("decisions.v1") == [] and scene.news("transactions.v1") == []


def test_a_plan_in_somebodys_name_is_refused_by_the_database(scene):
    for columns in ("requested_by", "'abe'", "'RAE'"):
        with pytest.raises(psycopg.errors.CheckViolation, match="has not signed"):
            scene.connection.execute(
                "INSERT INTO control.rollback_plan (plan_id, requested_by, requested_at, expires_at, reason, criteria,"
                " good_model_version, good_model_hash, good_policy_version, good_policy_hash, breaker, audited_until,"
                f" decisions, changing, blast_radius, content_hash) SELECT gen_random_uuid(), {columns}, requested_at,"
                " expires_at, reason, criteria, good_model_version, good_model_hash, good_policy_version,"
                " good_policy_hash, breaker, audited_until, decisions, changing, blast_radius, content_hash"
                " FROM control.rollback_plan"
            )


def test_an_approval_in_somebodys_name_is_refused_by_the_database(scene):
    for name in ("abe", "both", "mallory"):
        with pytest.raises(psycopg.errors.CheckViolation, match="has not signed"):
            scene.connection.execute(
                "INSERT INTO control.rollback_approval (plan_id, approved_by, approved_at, content_hash)"
                " SELECT plan_id, %s, now(), content_hash FROM control.rollback_plan",
                [name],
            )


@pytest.mark.parametrize("name", ["rae", "RAE", "Rae"])
def test_a_maker_is_nobody_else_by_another_spelling(scene, name):
    with pytest.raises(psycopg.errors.CheckViolation):
        forge_approval(scene, name)


def test_a_forged_approval_carries_nothing_out(scene, owner):
    forge_approval(scene)
    assert scene.apply() is ApplyRefusal.UNPROVED
    assert nothing_is_appended(scene)
    assert {"control.rollback_approval", "control.signed_act"} == {each.of_table for each in verify(owner, None).faults}


def test_a_plan_whose_makers_signature_is_false_is_refused(scene, owner):
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("UPDATE control.signed_act SET signature = %s WHERE kind = 'ROLLBACK_PLANNED'", [bytes(64)])
    assert scene.apply() is ApplyRefusal.UNPROVED
    assert nothing_is_appended(scene)


@pytest.mark.parametrize("how", ["role", "key"])
def test_revocation_of_its_maker_voids_a_plan_that_was_not_begun(scene, owner, how):
    if how == "role":
        revoke(owner, "rae", "ROLLBACK_REQUESTER")
    else:
        assert revoke_key(owner, identity("rae").key_id, "it was copied", identity("ada")) is None
    assert scene.apply() is ApplyRefusal.UNPROVED
    assert nothing_is_appended(scene)


def test_nobody_pretends_that_a_plan_was_begun_to_save_it_from_a_revocation(scene, owner):
    forge_approval(scene)
    forge_run(scene)
    revoke(owner, "rae", "ROLLBACK_REQUESTER")
    assert scene.apply() is ApplyRefusal.UNPROVED
    assert nothing_is_appended(scene)


def test_what_was_begun_is_finished_though_its_maker_and_approver_have_gone(scene, owner):
    stopping = threading.Event()
    scene.apply(rate=5, stopping=stopping, advance=lambda done: stopping.set() if done >= 2 else None)
    revoke(owner, "rae", "ROLLBACK_REQUESTER")
    revoke(owner, "abe", "ROLLBACK_APPROVER")
    assert scene.apply() is ApplyRefusal.NOT_AUTHORISED
    assert scene.apply(by="both").is_complete
    scene.require_done_once()
    assert [] == verify(owner, None).faults
