"""What PostgreSQL knows of one decision: audit rows, cases, saga, postings and rollback plans, as values."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pipeline.domain.identities import execution_id
from pipeline.io.postgres import Connection, failures_named, statements

_SQL: Final = statements("pipeline.explain", "explain")


class AuditRow(NamedTuple):
    """A record of decisions.v1 as the audit log keeps it."""

    partition: int
    offset: int
    record: bytes
    leaf: bytes
    chain: bytes
    recorded_at_us: int


class CaseRow(NamedTuple):
    """An event of a case; `expires_at_ms` is the case's."""

    round: int
    sequence: int
    kind: str
    actor: str
    at_ms: int
    outcome: str | None
    reason: str | None
    claimed_until_ms: int | None
    expires_at_ms: int


class ExecutionRow(NamedTuple):
    """`caused_at_ms`: of the decision's record on its topic."""

    execution_id: str
    cause: str
    aim: str
    currency: str
    amount_minor: int
    caused_at_ms: int
    partition: int
    offset: int
    recorded_at_ms: int


class CauseRow(NamedTuple):
    """`after_sequence`: of the last step before it. `ignored`: why it changed nothing."""

    cause_id: str
    cause: str
    ignored: str | None
    after_sequence: int
    caused_at_ms: int
    partition: int
    offset: int
    recorded_at_ms: int


class StepRow(NamedTuple):
    sequence: int
    step: str
    before: str
    after: str
    aim: str
    cause: str
    reason: str | None
    recorded_at_ms: int


class PostingRow(NamedTuple):
    number: int
    posting_id: str
    step: str
    attempt: int
    source_account_id: str
    destination_account_id: str
    currency: str
    amount_minor: int
    reverses: str | None
    event_time_ms: int
    recorded_at_ms: int


class PlanRow(NamedTuple):
    """A rollback plan, and its line about this decision; None from `approved_by` on where it did not come so far."""

    plan_id: str
    requested_by: str
    requested_at_ms: int
    reason: str
    good_model_version: str
    good_policy_version: str
    before: str | None
    after: str | None
    disposition: str
    why: str
    approved_by: str | None
    approved_at_ms: int | None
    started_by: str | None
    started_at_ms: int | None
    completed_by: str | None
    completed_at_ms: int | None


class OtherDecision(NamedTuple):
    """`state`: of its payment in the ledger; None where nothing was done yet."""

    decision_id: str
    transaction_id: str
    outcome: str
    decided_at_ms: int
    summary: str
    state: str | None


class LifeRows(NamedTuple):
    audited: tuple[AuditRow, ...]
    batches: tuple[tuple[int, int] | None, ...]  # of each audited record: the log's size before its batch and after
    cases: tuple[CaseRow, ...]
    execution: ExecutionRow | None
    causes: tuple[CauseRow, ...]
    steps: tuple[StepRow, ...]
    postings: tuple[PostingRow, ...]
    plans: tuple[PlanRow, ...]
    released_as: OtherDecision | None  # the payment after it was given back
    released_from: OtherDecision | None  # the payment before that


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


def _batch(connection: Connection, row: AuditRow) -> tuple[int, int] | None:
    place = {"partition": row.partition, "offset": row.offset}
    found = connection.execute(_SQL["batch_of_record"], place).fetchone()
    return None if found is None else (found[0], found[1])


def _other(connection: Connection, decision_id: str | None) -> OtherDecision | None:
    if decision_id is None:
        return None
    found = connection.execute(_SQL["other_decision"], {"decision_id": decision_id}).fetchone()
    return None if found is None else OtherDecision._make(found)
