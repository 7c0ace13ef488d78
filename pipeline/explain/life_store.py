"""PostgreSQL's knowledge of one decision: audit rows, cases, saga, postings and rollback plans, read in one moment."""

from __future__ import annotations

from typing import Any, Final

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import execution_id
from pipeline.explain.life import (
    AuditRow,
    Batch,
    CaseRow,
    CauseRow,
    ExecutionRow,
    LifeRows,
    OtherDecision,
    PlanRow,
    PostingRow,
    StepRow,
)
from pipeline.io.postgres import Connection, failures_named, statements

_SQL: Final = statements("pipeline.explain", "explain")


def read_life(connection: Connection, decision_id: str, released: str | None, origin: str | None) -> LifeRows:
    """`released` and `origin`: ids of the decisions that the payment may have had after and before this one.

    Raises DatabaseUnavailable, DatabaseRefused.
    """
    ids = {"decision_id": decision_id, "execution_id": execution_id(decision_id)}

    def rows(name: str) -> list[tuple[Any, ...]]:
        return connection.execute(_SQL[name], ids).fetchall()

    with failures_named(), connection.transaction():
        connection.execute(_SQL["one_moment"])
        audited = tuple(map(_audit_row, rows("audited")))
        executions = [ExecutionRow._make(row) for row in rows("execution")]
        return LifeRows(
            audited,
            tuple(_batch(connection, row) for row in audited),
            tuple(map(CaseRow._make, rows("case_events"))),
            executions[0] if executions else None,
            tuple(map(CauseRow._make, rows("causes"))),
            tuple(map(StepRow._make, rows("steps"))),
            tuple(map(PostingRow._make, rows("postings"))),
            tuple(map(PlanRow._make, rows("plans"))),
            _other(connection, released),
            _other(connection, origin),
        )


def read_audited(connection: Connection, decision_id: str) -> list[AuditRow]:
    """The records alone; raises as read_life."""
    with failures_named():
        found = connection.execute(_SQL["audited"], {"decision_id": decision_id}).fetchall()
    return list(map(_audit_row, found))


def _audit_row(row: tuple[Any, ...]) -> AuditRow:
    partition, offset, record, leaf, chain, recorded_at_us = row
    return AuditRow(partition, offset, bytes(record), bytes(leaf), bytes(chain), recorded_at_us)


def _batch(connection: Connection, row: AuditRow) -> Batch | None:
    place = {"partition": row.partition, "offset": row.offset}
    found = connection.execute(_SQL["batch_of_record"], place).fetchone()
    return None if found is None else Batch._make(found)


def _other(connection: Connection, decision_id: str | None) -> OtherDecision | None:
    if decision_id is None:
        return None
    found = connection.execute(_SQL["other_decision"], {"decision_id": decision_id}).fetchone()
    if found is None:
        return None
    other = OtherDecision._make(found)
    return other._replace(outcome=Outcome(other.outcome))
