"""Acts of a rollback: people sign the plan by its digest, its approval, and each run that carries it out."""

from __future__ import annotations

from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import Role
from pipeline.rollback.reversal import Approval, PlanHeader


def planned(header: PlanHeader, digest: bytes, decisions: int, changing: int) -> Expected:
    """`digest` covers the header, with its reason, and every line."""
    subject: Subject = {
        "plan_id": header.plan_id,
        "content_hash": digest.hex(),
        "decisions": decisions,
        "changing": changing,
        "expires_at_ms": header.expires_at_ms,
    }
    return Expected(ActKind.ROLLBACK_PLANNED, header.requested_by, subject, (Role.ROLLBACK_REQUESTER,))


def approved(plan_id: str, digest: bytes, approval: Approval) -> Expected:
    subject: Subject = {"plan_id": plan_id, "content_hash": digest.hex(), "approved_at_ms": approval.approved_at_ms}
    return Expected(ActKind.ROLLBACK_APPROVED, approval.approved_by, subject, (Role.ROLLBACK_APPROVER,))


def run_subject(plan_id: str, sequence: int) -> Subject:
    """`sequence`: of the row of progress with which the run begins."""
    return {"plan_id": plan_id, "sequence": sequence}


def begun(plan_id: str, name: str) -> Expected:
    """The first run."""
    return Expected(ActKind.ROLLBACK_APPLIED, name, run_subject(plan_id, 1), (Role.ROLLBACK_APPROVER,))
