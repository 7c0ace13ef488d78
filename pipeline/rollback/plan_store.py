"""Rollback plans in PostgreSQL: rows of control.rollback_* as the core's values, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId
from pipeline.io.postgres import Connection, statements, turn_of
from pipeline.review.cases import EXPIRY
from pipeline.rollback.blast_radius import BlastRadius, radius_json, radius_of
from pipeline.rollback.reversal import Approval, Disposition, PlanHeader, PlanLine

_SQL: Final = statements("pipeline.rollback", "rollback")
ROWS_A_FETCH: Final = 2048


class Selected(NamedTuple):
    """A decision of the audit log; `record` as it stands on the topic."""

    decision_id: DecisionId
    topic_partition: int
    topic_offset: int
    execution_id: str
    record: bytes


class InForce(NamedTuple):
    """The outcome in force for a decision; `outcome` None where it was given back to be decided anew.

    `is_reviewed`: by a person; an escalation that expired was decided by nobody.
    """

    outcome: Outcome | None
    is_reviewed: bool


class _Said(NamedTuple):
    """A reversal's or a review's effect on a decision; `outcome` None where it was given back."""

    outcome: Outcome | None
    offset: int
    by: str = ""


class StoredPlan(NamedTuple):
    header: PlanHeader
    audited_until: Mapping[str, int]
    decisions: int
    changing: int
    blast_radius: BlastRadius
    content_hash: bytes


class ProgressKind(StrEnum):
    STARTED = "STARTED"
    RESUMED = "RESUMED"
    APPENDED = "APPENDED"
    COMPLETED = "COMPLETED"


class Progress(NamedTuple):
    """`appended`: records that stand on the topic so far. `end_offsets`: where to look for more, by partition."""

    kind: ProgressKind
    applied_by: str
    appended: int
    end_offsets: Mapping[int, int]
    at_ms: int = 0  # the database's to say


class Settled(NamedTuple):
    """Payments of reversed decisions by where they stand in the ledger; `state` None: not there yet."""

    before: str
    after: str
    disposition: str
    state: str | None
    decisions: int
    amount_minor: int
    currency: str


def begin_plan(connection: Connection) -> None:
    """First in its transaction."""
    connection.execute(_SQL["begin_plan"])
    connection.execute(_SQL["patient"])


def audited_until(connection: Connection, topic: str) -> dict[str, int]:
    rows = connection.execute(_SQL["audited_until"], [topic]).fetchall()
    return {str(partition): offset for partition, offset in rows}


def select_decisions(connection: Connection, criteria: Mapping[str, object]) -> Iterator[list[Selected]]:
    """The selected decisions in the topic's order, ROWS_A_FETCH at a time, within the caller's transaction."""
    with connection.cursor("plan_selection") as cursor:
        cursor.execute(_SQL["select_decisions"], criteria)
        while rows := cursor.fetchmany(ROWS_A_FETCH):
            yield [Selected(*row) for row in rows]


def in_force(connection: Connection, decided: Mapping[DecisionId, Outcome]) -> dict[DecisionId, InForce]:
    """The outcome in force for each: its own, or what a review or a reversal made of it since; the later one counts."""
    ids = list(decided)
    reversals = {
        decision_id: _Said(_outcome(corrected), offset)
        for decision_id, corrected, offset in connection.execute(_SQL["latest_reversals"], [ids]).fetchall()
    }
    reviews = {
        decision_id: _Said(_outcome(outcome), offset, by)
        for decision_id, outcome, by, offset in connection.execute(_SQL["latest_reviews"], [ids]).fetchall()
    }
    found = {}
    for decision_id, outcome in decided.items():
        reversal, review = reversals.get(decision_id), reviews.get(decision_id)
        if review is not None and (reversal is None or review.offset > reversal.offset):
            found[decision_id] = InForce(review.outcome, review.by != EXPIRY)
        else:
            found[decision_id] = InForce(outcome if reversal is None else reversal.outcome, is_reviewed=False)
    return found


def held_executions(connection: Connection, execution_ids: Sequence[str]) -> set[str]:
    return _first_column(connection, "held_executions", execution_ids)


def open_reviews(connection: Connection, decision_ids: Sequence[str]) -> set[str]:
    return _first_column(connection, "open_reviews", decision_ids)


def copy_lines(connection: Connection, plan_id: str, position: int, lines: Sequence[PlanLine]) -> None:
    """`position`: of the first of them."""
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_lines"]) as copy:
        for place, line in enumerate(lines, start=position):
            copy.write_row((plan_id, place, *line))


def insert_plan(connection: Connection, plan: StoredPlan) -> None:
    header = plan.header._asdict() | {"criteria": Jsonb(dict(plan.header.criteria))}
    sums = {
        "audited_until": Jsonb(dict(plan.audited_until)),
        "decisions": plan.decisions,
        "changing": plan.changing,
        "blast_radius": Jsonb(radius_json(plan.blast_radius)),
        "content_hash": plan.content_hash,
    }
    connection.execute(_SQL["insert_plan"], {**header, **sums})


def read_plan(connection: Connection, plan_id: str) -> StoredPlan | None:
    row = connection.execute(_SQL["read_plan"], [plan_id]).fetchone()
    if row is None:
        return None
    columns = len(PlanHeader._fields)
    until, decisions, changing, blast_radius, content_hash = row[columns:]
    header, radius = PlanHeader(*row[:columns]), radius_of(blast_radius)
    return StoredPlan(header, until, decisions, changing, radius, bytes(content_hash))


def read_plans(connection: Connection, limit: int) -> list[StoredPlan]:
    """Newest first."""
    ids = connection.execute(_SQL["read_plan_ids"], [limit]).fetchall()
    return [plan for (plan_id,) in ids if (plan := read_plan(connection, plan_id)) is not None]


def read_lines(connection: Connection, plan_id: str) -> Iterator[PlanLine]:
    """All of a plan's, in order, within the caller's transaction."""
    yield from _lines(connection, "read_lines", [plan_id])


def read_changing_lines(
    connection: Connection, plan_id: str, skipped: int = 0, limit: int | None = None
) -> Iterator[PlanLine]:
    """The lines that lead to a record, in order, without the first `skipped`; within the caller's transaction."""
    yield from _lines(connection, "read_changing_lines", [plan_id, limit, skipped])


def count_overtaken(connection: Connection, plan_id: str) -> int:
    return _number(connection, "count_overtaken", [plan_id])


def approve(connection: Connection, plan: StoredPlan, approval: Approval) -> None:
    row = [plan.header.plan_id, approval.approved_by, approval.approved_at_ms, plan.content_hash]
    connection.execute(_SQL["approve"], row)


def read_approval(connection: Connection, plan_id: str) -> Approval | None:
    row = connection.execute(_SQL["read_approval"], [plan_id]).fetchone()
    return None if row is None else Approval(*row)


def turn_to_apply(connection: Connection, taken: type[Exception]) -> AbstractContextManager[None]:
    """One plan is applied at a time; `taken` is raised where another keeps its turn."""
    return turn_of(connection, _SQL, taken)


def append_progress(connection: Connection, plan_id: str, progress: Progress) -> None:
    ends = Jsonb({str(partition): offset for partition, offset in progress.end_offsets.items()})
    fields = {**progress._asdict(), "plan_id": plan_id, "end_offsets": ends}
    connection.execute(_SQL["append_progress"], fields)


def read_progress(connection: Connection, plan_id: str) -> list[Progress]:
    rows = connection.execute(_SQL["read_progress"], [plan_id]).fetchall()
    return [
        Progress(ProgressKind(kind), by, appended, {int(name): end for name, end in ends.items()}, at_ms)
        for kind, by, appended, ends, at_ms in rows
    ]


def settled(connection: Connection, plan_id: str) -> list[Settled]:
    return [Settled(*row) for row in connection.execute(_SQL["reversed_states"], [plan_id]).fetchall()]


def logged_reversals(connection: Connection, plan_id: str) -> tuple[int, int]:
    """Records, and different reversals among them."""
    row = connection.execute(_SQL["logged_reversals"], [plan_id]).fetchone()
    assert row is not None, "an aggregate has one row"
    records, distinct = row
    return records, distinct


def decided_anew(connection: Connection, transaction_ids: Sequence[str]) -> dict[str, int]:
    return dict(connection.execute(_SQL["decided_anew"], [list(transaction_ids)]).fetchall())


def ledger_sums(connection: Connection) -> dict[str, int]:
    """By currency."""
    return dict(connection.execute(_SQL["ledger_sums"]).fetchall())


def is_plan_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _lines(connection: Connection, name: str, values: Sequence[object]) -> Iterator[PlanLine]:
    with connection.cursor("plan_lines") as cursor:
        cursor.execute(_SQL[name], values)
        while rows := cursor.fetchmany(ROWS_A_FETCH):
            yield from map(_line, rows)


def _line(row: Sequence[Any]) -> PlanLine:
    line = PlanLine(*row)
    return line._replace(
        before=_outcome(line.before), after=_outcome(line.after), disposition=Disposition(line.disposition)
    )


def _outcome(text: str | None) -> Outcome | None:
    return None if text is None else Outcome(text)


def _first_column(connection: Connection, name: str, ids: Sequence[str]) -> set[str]:
    return {found for (found,) in connection.execute(_SQL[name], [list(ids)]).fetchall()}


def _number(connection: Connection, name: str, values: Sequence[object]) -> int:
    row = connection.execute(_SQL[name], values).fetchone()
    assert row is not None, "an aggregate has one row"
    [count] = row
    return int(count)
