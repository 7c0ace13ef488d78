"""PostgreSQL's knowledge of one decision: audit rows, cases, saga, postings and rollback plans, read in one moment."""

from __future__ import annotations

from typing import Any, Final

from pipeline.audit.chain import Times
from pipeline.domain.decision import Decision, Outcome
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
from pipeline.rollback.reversal import origin_ids, released_id

_SQL: Final = statements("pipeline.explain", "explain")


def read_life(connection: Connection, decision: Decision) -> LifeRows:
    """Raises DatabaseUnavailable, DatabaseRefused."""
    ids = {"decision_id": decision.decision_id, "execution_id": execution_id(decision.snapshot.transaction)}

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
            _released_as(connection, decision),
            _released_from(connection, decision),
        )


def read_audited(connection: Connection, decision_id: str) -> list[AuditRow]:
    """The records alone; raises as read_life."""
    with failures_named():
        found = connection.execute(_SQL["audited"], {"decision_id": decision_id}).fetchall()
    return list(map(_audit_row, found))


def _audit_row(row: tuple[Any, ...]) -> AuditRow:
    partition, offset, logged_at_ms, filed_at_ms, record, leaf, chain, recorded_at_us = row
    times = Times(logged_at_ms, filed_at_ms)
    return AuditRow(partition, offset, times, bytes(record), bytes(leaf), bytes(chain), recorded_at_us)


def _batch(connection: Connection, row: AuditRow) -> Batch | None:
    place = {"partition": row.partition, "offset": row.offset}
    found = connection.execute(_SQL["batch_of_record"], place).fetchone()
    return None if found is None else Batch._make(found)


def _released_as(connection: Connection, decision: Decision) -> OtherDecision | None:
    """The decision about the payment after a reversal gave it back."""
    name = released_id(decision.transaction_id, decision.decision_id)
    found = connection.execute(_SQL["decision_of_transaction"], {"transaction_id": name}).fetchone()
    return None if found is None else _other(found)


def _released_from(connection: Connection, decision: Decision) -> OtherDecision | None:
    """The decision about the payment before a reversal gave it back under this id."""
    origin = origin_ids(decision.transaction_id)
    if origin is None:
        return None
    for found in connection.execute(_SQL["decisions_between"], origin._asdict()).fetchall():
        other = _other(found)
        if released_id(other.transaction_id, other.decision_id) == decision.transaction_id:
            return other
    return None


def _other(found: tuple[Any, ...]) -> OtherDecision:
    other = OtherDecision._make(found)
    return other._replace(outcome=Outcome(other.outcome))
