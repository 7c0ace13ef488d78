"""A rollback plan and all that followed from it, read for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.io.postgres import Connection
from pipeline.rollback.plan_content_store import read_content
from pipeline.rollback.plan_store import (
    Progress,
    ProgressKind,
    Settled,
    StoredPlan,
    count_releases,
    decided_anew,
    ledger_sums,
    logged_reversals,
    read_approval,
    read_lines,
    read_progress,
    settled,
)
from pipeline.rollback.reversal import Approval, Disposition, PlanLine, ReleaseEnd, plan_digest, released_id


class Report(NamedTuple):
    """A plan and everything that followed from it, from one moment of the database."""

    plan: StoredPlan
    is_intact: bool  # the stored bytes give the digest that was approved, and the stored lines are those bytes
    approval: Approval | None
    progress: Sequence[Progress]
    releases: Mapping[ReleaseEnd, int]
    settled: Sequence[Settled]
    logged: int  # reversals in the audit log
    logged_distinct: int
    anew: Mapping[str, int]  # decisions about payments that were given back, by outcome
    ledger_sums: Mapping[str, int]
    lines: Sequence[PlanLine]

    @property
    def appended(self) -> int:
        return self.progress[-1].appended if self.progress else 0

    @property
    def state(self) -> str:
        if self.approval is None:
            return "PLANNED"
        is_complete = bool(self.progress) and self.progress[-1].kind is ProgressKind.COMPLETED
        return "COMPLETED" if is_complete else "UNDER_WAY"

    @property
    def milestones(self) -> list[Progress]:
        """Without the steps in between; the last stays, whatever it is."""
        return [each for each in self.progress if each.kind is not ProgressKind.APPENDED or each is self.progress[-1]]


def read_report(connection: Connection, plan: StoredPlan) -> Report:
    """Within the caller's transaction."""
    plan_id = plan.header.plan_id
    lines = list(read_lines(connection, plan_id))
    released = [line for line in lines if line.disposition is Disposition.RELEASE]
    logged, distinct = logged_reversals(connection, plan_id)
    approved = read_approval(connection, plan_id)
    return Report(
        plan,
        _is_intact(connection, plan, lines, plan.content_hash if approved is None else approved.content_hash),
        None if approved is None else approved.approval,
        read_progress(connection, plan_id),
        count_releases(connection, plan_id),
        settled(connection, plan_id),
        logged,
        distinct,
        decided_anew(connection, [released_id(line.transaction_id, line.decision_id) for line in released]),
        ledger_sums(connection),
        lines,
    )


def _is_intact(connection: Connection, plan: StoredPlan, lines: Sequence[PlanLine], digest: bytes) -> bool:
    content = read_content(connection, plan.header.plan_id, digest)
    if content is None:
        return False
    content.close()
    return plan.content_hash == digest == plan_digest(plan.header, lines)
