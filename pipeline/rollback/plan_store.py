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
from pipeline.domain.reversal import RecordKind, RecordName
from pipeline.execute.orders import outcome_of
from pipeline.execute.saga import Cause
from pipeline.io.postgres import Connection, statements, turn_of
from pipeline.review.cases import EXPIRY
from pipeline.rollback.blast_radius import BlastRadius, radius_json, radius_of
from pipeline.rollback.reversal import (
    Approval,
    Disposition,
    Heard,
    Place,
    PlanHeader,
    PlanLine,
    ReleaseEnd,
    Standing,
)

_SQL: Final = statements("pipeline.rollback", "rollback")
SELECTED_MAX: Final = 1_000_000
"""Decisions of one plan; a day's at a dozen a second. Split the time span if you need more."""
ROWS_A_FETCH: Final = 2048


class Selected(NamedTuple):
    """A decision of the audit log; `record` as it stands on the topic."""

    decision_id: DecisionId
    topic_partition: int
    topic_offset: int
    execution_id: str
    record: bytes


class StoredPlan(NamedTuple):
    """`act`: the digest of what its maker signed."""

    header: PlanHeader
    audited_until: Mapping[str, int]
    decisions: int
    changing: int
    blast_radius: BlastRadius
    content_hash: bytes
    act: str | None


class ProgressKind(StrEnum):
    STARTED = "STARTED"
    RESUMED = "RESUMED"
    APPENDED = "APPENDED"
    PUBLISHED = "PUBLISHED"
    COMPLETED = "COMPLETED"


class Progress(NamedTuple):
    """`appended`: reversals that stand on decisions.v1 so far.

    `end_offsets` and `transaction_ends`: where to look for more, by partition of decisions.v1 and transactions.v1.
    """

    kind: ProgressKind
    applied_by: str
    appended: int
    end_offsets: Mapping[int, int]
    transaction_ends: Mapping[int, int]
    at_ms: int = 0  # the database's to say
    act: str | None = None  # what the run's author signed


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
    patient(connection)


def patient(connection: Connection) -> None:
    """Until the caller's transaction ends, let statements take as long as a large plan takes."""
    connection.execute(_SQL["patient"])


def audited_until(connection: Connection, topic: str) -> dict[str, int]:
    rows = connection.execute(_SQL["audited_until"], [topic]).fetchall()
    return {str(partition): offset for partition, offset in rows}


def select_decisions(connection: Connection, criteria: Mapping[str, object]) -> Iterator[list[Selected]]:
    """The selected decisions in the topic's order, ROWS_A_FETCH at a time, within the caller's transaction.

    At most one more than SELECTED_MAX.
    """
    with connection.cursor("plan_selection") as cursor:
        cursor.execute(_SQL["select_decisions"], {**criteria, "most": SELECTED_MAX + 1})
        while rows := cursor.fetchmany(ROWS_A_FETCH):
            yield [Selected(*row) for row in rows]


def positions_of(connection: Connection, topic: str, consumers: Sequence[str]) -> dict[str, dict[int, int]]:
    """The next offset of each consumer in each partition that it has stored anything of."""
    found: dict[str, dict[int, int]] = {consumer: {} for consumer in consumers}
    for consumer, partition, offset in connection.execute(_SQL["positions_of"], [topic, list(consumers)]).fetchall():
        found[consumer][partition] = offset
    return found


UNEXECUTED: Final = Standing(Place.UNKNOWN, "", RecordName(RecordKind.OTHER, ""), None, False, False)


def standings(connection: Connection, decision_ids: Sequence[DecisionId]) -> dict[DecisionId, Standing]:
    """What ledger and reviews say about each decision; UNEXECUTED where the ledger has no execution for it."""
    rows = connection.execute(_SQL["in_force"], [list(decision_ids)]).fetchall()
    by_people = _reviews_by_people(connection, [name for _, kind, name, *_ in rows if kind == RecordKind.REVIEW])
    cases: dict[str, str] = dict(connection.execute(_SQL["cases_under_way"], [list(decision_ids)]).fetchall())
    found = dict.fromkeys(decision_ids, UNEXECUTED)
    for decision_id, kind, name, cause, state, is_at_rest, is_partly in rows:
        case = cases.get(decision_id)
        # An escalation that has expired is decided by nobody, but its payment moves within moments.
        place = Place.UNDER_WAY if case == "EXPIRED" else _place(state, is_at_rest=is_at_rest, is_partly=is_partly)
        found[decision_id] = Standing(
            place,
            state,
            RecordName(RecordKind(kind), name),
            outcome_of(Cause(cause)),
            is_reviewed=name in by_people or case == "DECIDED",
            is_in_review=case is not None and case not in ("DECIDED", "EXPIRED"),
        )
    return found


_PLACES: Final = {
    "RELEASED": Place.RELEASED,
    "SETTLED": Place.PAID,
    "HELD": Place.HELD,
    "REFUSED": Place.UNPAID,
    "REVERSED": Place.UNPAID,
}


def _place(state: str, *, is_at_rest: bool, is_partly: bool) -> Place:
    if not is_at_rest:
        return Place.UNDER_WAY
    place = _PLACES[state]
    return Place.PARTLY_PAID if is_partly and place is Place.PAID else place


def _reviews_by_people(connection: Connection, review_ids: Sequence[str]) -> set[str]:
    """Those that stand: all but what the audit log knows to be the expiry's alone."""
    authors: dict[str, set[str]] = {name: set() for name in review_ids}
    for name, author in connection.execute(_SQL["reviewers"], [list(review_ids)]).fetchall():
        authors[name].add(author)
    return {name for name, found in authors.items() if found != {EXPIRY}}


def replaced_names(connection: Connection, decision_ids: Sequence[str]) -> dict[str, RecordName]:
    """The record in force about each decision that is executed."""
    rows = connection.execute(_SQL["replaced_names"], [list(decision_ids)]).fetchall()
    return {decision_id: RecordName(RecordKind(kind), name) for decision_id, kind, name in rows}


def heard_reversals(
    connection: Connection, decision_ids: Sequence[str], reversal_ids: Sequence[str]
) -> dict[str, Heard]:
    """What the executor made of reversals, by decision; one that it hasn't heard has no entry."""
    rows = connection.execute(_SQL["heard_reversals"], [list(decision_ids), list(reversal_ids)]).fetchall()
    return {
        decision_id: Heard(is_ignored, is_last, _place(state, is_at_rest=is_at_rest, is_partly=is_partly))
        for decision_id, is_ignored, is_last, state, is_at_rest, is_partly in rows
    }


def audited_reversals(connection: Connection, plan_id: str, decision_ids: Sequence[str]) -> set[str]:
    """The reversals of a plan that the audit log holds about these decisions."""
    rows = connection.execute(_SQL["audited_reversals"], [plan_id, list(decision_ids)]).fetchall()
    return {name for (name,) in rows}


def decided_payments(connection: Connection, transaction_ids: Sequence[str]) -> dict[str, list[bytes]]:
    """The records of the decisions on transactions with these ids, as they stand on the topic."""
    found: dict[str, list[bytes]] = {}
    for name, record in connection.execute(_SQL["decided_payments"], [list(transaction_ids)]).fetchall():
        found.setdefault(name, []).append(record)
    return found


def read_releases(connection: Connection, plan_id: str) -> dict[str, ReleaseEnd]:
    """How the giving back of payments is said to have ended, by decision."""
    rows = connection.execute(_SQL["read_releases"], [plan_id]).fetchall()
    return {decision_id: ReleaseEnd(ending) for decision_id, ending in rows}


def append_releases(connection: Connection, plan_id: str, ended: Mapping[str, ReleaseEnd]) -> None:
    connection.execute(_SQL["append_releases"], [plan_id, list(ended), [end.value for end in ended.values()]])


def append_content(connection: Connection, plan_id: str, part: int, content: bytes) -> None:
    """A part of a plan's canonical bytes; before its header is written."""
    connection.execute(_SQL["append_content"], [plan_id, part, content])


def content_parts(connection: Connection, plan_id: str) -> Iterator[bytes]:
    """A plan's canonical bytes, within the caller's transaction."""
    with connection.cursor("plan_content") as cursor:
        cursor.itersize = 1
        for (content,) in cursor.execute(_SQL["read_content"], [plan_id]):
            yield bytes(content)


def copy_lines(connection: Connection, plan_id: str, position: int, lines: Sequence[PlanLine]) -> None:
    """`position`: of the first of them."""
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_lines"]) as copy:
        for place, line in enumerate(lines, start=position):
            copy.write_row((plan_id, place, *line))


def insert_plan(connection: Connection, plan: StoredPlan) -> None:
    maps = {name: Jsonb(dict(getattr(plan.header, name))) for name in ("criteria", "good_feeds")}
    header = plan.header._asdict() | maps
    sums = {
        "audited_until": Jsonb(dict(plan.audited_until)),
        "decisions": plan.decisions,
        "changing": plan.changing,
        "blast_radius": Jsonb(radius_json(plan.blast_radius)),
        "content_hash": plan.content_hash,
        "act": plan.act,
    }
    connection.execute(_SQL["insert_plan"], {**header, **sums})


def read_plan(connection: Connection, plan_id: str) -> StoredPlan | None:
    row = connection.execute(_SQL["read_plan"], [plan_id]).fetchone()
    if row is None:
        return None
    columns = len(PlanHeader._fields)
    until, decisions, changing, blast_radius, content_hash, act = row[columns:]
    header, radius = PlanHeader(*row[:columns]), radius_of(blast_radius)
    return StoredPlan(header, until, decisions, changing, radius, bytes(content_hash), act)


def read_plans(connection: Connection, limit: int) -> list[StoredPlan]:
    """Newest first."""
    ids = connection.execute(_SQL["read_plan_ids"], [limit]).fetchall()
    return [plan for (plan_id,) in ids if (plan := read_plan(connection, plan_id)) is not None]


def read_lines(connection: Connection, plan_id: str) -> Iterator[PlanLine]:
    """All of a plan's, in order, within the caller's transaction."""
    yield from _lines(connection, "read_lines", [plan_id])


def approve(connection: Connection, plan: StoredPlan, approval: Approval, act: str) -> None:
    row = [plan.header.plan_id, approval.approved_by, approval.approved_at_ms, plan.content_hash, act]
    connection.execute(_SQL["approve"], row)


class StoredApproval(NamedTuple):
    """`content_hash`: the digest of what was approved; `act`: of what the approver signed."""

    approval: Approval
    content_hash: bytes
    act: str | None


def read_approval(connection: Connection, plan_id: str) -> StoredApproval | None:
    row = connection.execute(_SQL["read_approval"], [plan_id]).fetchone()
    if row is None:
        return None
    *approval, content_hash, act = row
    return StoredApproval(Approval(*approval), bytes(content_hash), act)


def turn_to_apply(connection: Connection, taken: type[Exception]) -> AbstractContextManager[None]:
    """One plan is applied at a time; `taken` is raised where another keeps its turn."""
    return turn_of(connection, _SQL, taken)


def append_progress(connection: Connection, plan_id: str, progress: Progress, act: str) -> None:
    """`act`: the digest of what the run's author signed when it began."""
    ends = {"end_offsets": _ends_json(progress.end_offsets), "transaction_ends": _ends_json(progress.transaction_ends)}
    fields = {**progress._asdict(), "plan_id": plan_id, "act": act, **ends}
    connection.execute(_SQL["append_progress"], fields)


def read_progress(connection: Connection, plan_id: str) -> list[Progress]:
    rows = connection.execute(_SQL["read_progress"], [plan_id]).fetchall()
    return [
        Progress(ProgressKind(kind), by, appended, _ends(decisions), _ends(transactions), at_ms, act)
        for kind, by, appended, decisions, transactions, at_ms, act in rows
    ]


def _ends_json(ends: Mapping[int, int]) -> Jsonb:
    return Jsonb({str(partition): offset for partition, offset in ends.items()})


def _ends(read: Mapping[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in read.items()}


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
        before=_outcome(line.before),
        after=_outcome(line.after),
        disposition=Disposition(line.disposition),
        replaces_kind=RecordKind(line.replaces_kind),
    )


def _outcome(text: str | None) -> Outcome | None:
    return None if text is None else Outcome(text)
