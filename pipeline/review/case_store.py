"""Review cases in PostgreSQL: rows of review.review_case and review.case_event as the core's values, and back.

Every call is part of the caller's transaction. Whoever appends to a case locks it first and reads it then, so that what
they read is still so when they write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from psycopg.errors import IntegrityError, UniqueViolation

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, review_id
from pipeline.domain.in_force import InForce
from pipeline.domain.reversal import RecordKind, RecordName
from pipeline.io.postgres import Connection, statements
from pipeline.review.cases import Case, CaseEvent, CaseStanding, Kind, standing

_SQL: Final = statements("pipeline.review", "review")
_CASE_COLUMNS: Final = len(Case._fields)


class CaseMoved(Exception):
    """Somebody else has appended to the case since it was read."""


class RecordPlace(NamedTuple):
    """The place of the record that was read, on decisions.v1."""

    partition: int
    offset: int


class CaseFile(NamedTuple):
    case: Case
    summary: str  # why it was escalated, of customers: for reviewers' eyes only
    events: tuple[CaseEvent, ...]

    @property
    def standing(self) -> CaseStanding:
        return standing(self.events)


class Opening(NamedTuple):
    case: Case
    cause_id: str  # of the decision or the reversal
    summary: str
    place: RecordPlace


class Worth(NamedTuple):
    """The amount of a case in its own currency and in pounds; UNKNOWN where that can't be said."""

    currency: str
    amount_minor: int
    amount_gbp_minor: int


class OpenMoney(NamedTuple):
    """The sum of open cases in one currency, and when the oldest of them was opened."""

    currency: str
    amount_minor: int
    oldest_ms: int


def open_cases(connection: Connection, openings: Sequence[Opening], events: Sequence[CaseEvent]) -> None:
    """Each opening with its first event."""
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["open_case"], [_opening_row(opening) for opening in openings])
        cursor.executemany(
            _SQL["append_event"],
            [_event_row(one.case, event, one.place) for one, event in zip(openings, events, strict=True)],
        )


def refusal_of(connection: Connection, store: Callable[[], None]) -> str | None:
    """Store something, or nothing of it where the database's constraints refuse it; return why."""
    try:
        with connection.transaction():
            store()
    except IntegrityError as refusal:
        return refusal.diag.message_primary or type(refusal).__name__
    return None


def decision_places(connection: Connection, decision_ids: Sequence[DecisionId]) -> dict[DecisionId, RecordPlace]:
    """Return the places of those decisions that were escalated themselves, not by a reversal."""
    rows = connection.execute(_SQL["decision_places"], [list(decision_ids)]).fetchall() if decision_ids else []
    return {DecisionId(decision_id): RecordPlace(partition, offset) for decision_id, partition, offset in rows}


def append_event(connection: Connection, case: Case, event: CaseEvent, place: RecordPlace | None = None) -> None:
    """`place`: None where a person acted, or time did. Raises CaseMoved."""
    try:
        connection.execute(_SQL["append_event"], _event_row(case, event, place))
    except UniqueViolation:
        raise CaseMoved(case.decision_id) from None


def lock_cases(connection: Connection, decision_ids: Iterable[str]) -> None:
    """Until the transaction's end nobody else appends to cases of these decisions."""
    connection.execute(_SQL["lock_cases"], [sorted(set(decision_ids))])


def opened_for(connection: Connection, cause_ids: Iterable[str]) -> set[str]:
    """Those of these decisions and reversals that a case was opened for."""
    return {name for (name,) in connection.execute(_SQL["opened_for"], [sorted(set(cause_ids))]).fetchall()}


def records_in_force(connection: Connection, firsts: Mapping[DecisionId, int]) -> dict[DecisionId, InForce]:
    """What was in force about each decision before a place on the topic: the first that is read now, whatever somebody
    has written of later ones. `outcome` None: that is not known here."""
    wanted, offsets = list(firsts), list(firsts.values())
    rounds = Counter(name for name, _ in connection.execute(_SQL["rounds_of"], [wanted, offsets]).fetchall())
    found = {
        decision_id: InForce(
            RecordName(RecordKind.DECISION, decision_id),
            Outcome.ESCALATE if decision_id in rounds else None,
            rounds[decision_id],
        )
        for decision_id in wanted
    }
    for name, kind, record_id, outcome in connection.execute(_SQL["records_in_force"], [wanted, offsets]).fetchall():
        word = None if outcome is None else Outcome(outcome)
        found[name] = found[name]._replace(record=RecordName(RecordKind(kind), record_id), outcome=word)
    return found


def append_in_force(connection: Connection, decision_id: DecisionId, now: InForce, place: RecordPlace) -> None:
    """What took another's place, by the record that was read there."""
    outcome = None if now.outcome is None else now.outcome.value
    connection.execute(_SQL["append_in_force"], [*place, decision_id, now.record.kind, now.record.record_id, outcome])


def unheld_cases(connection: Connection, partitions: Sequence[int], limit: int) -> list[tuple[CaseFile, str]]:
    """Open cases whose payments are at rest but not held, locked and read again; each with the reason."""
    rows = connection.execute(_SQL["unheld_cases"], {"partitions": list(partitions), "limit": limit}).fetchall()
    lock_cases(connection, [decision_id for decision_id, *_ in rows])
    return list(zip(_of_rounds(connection, [row[:2] for row in rows]), [why for *_, why in rows], strict=True))


def worths_of(connection: Connection, decision_ids: Iterable[str]) -> dict[str, Worth]:
    """As the audit log has the payments; UNKNOWN of a decision that it hasn't."""
    rows = connection.execute(_SQL["worths_of"], [sorted(set(decision_ids))]).fetchall()
    return {name: Worth(*worth) for name, *worth in rows}


def unfounded_cases(connection: Connection, files: Sequence[CaseFile]) -> set[tuple[str, int]]:
    """By decision and round: those that are not what the audit log says of their records."""
    names = [(file.case.decision_id, file.case.round) for file in files]
    wanted = [[decision_id for decision_id, _ in names], [case_round for _, case_round in names]]
    return set(connection.execute(_SQL["unfounded_cases"], wanted).fetchall())


def latest_cases(connection: Connection, decision_ids: Iterable[str]) -> list[CaseFile]:
    """The latest round of each decision that has one."""
    return _files(connection, connection.execute(_SQL["latest_cases"], [list(decision_ids)]).fetchall())


def cases_of(connection: Connection, decision_ids: Iterable[str]) -> dict[str, CaseFile]:
    """Every round of these decisions, by the review id that follows from it."""
    files = _files(connection, connection.execute(_SQL["cases_of"], [sorted(set(decision_ids))]).fetchall())
    return {review_id(file.case.decision_id, file.case.round): file for file in files}


def cases_by_name(connection: Connection, wanted: str) -> list[CaseFile]:
    """Every round of a decision, or of every decision about a transaction, found by the id of either; oldest first."""
    return _files(connection, connection.execute(_SQL["cases_by_name"], {"wanted": wanted}).fetchall())


def cases_to_act_on(connection: Connection, limit: int) -> list[CaseFile]:
    """Soonest expiry first."""
    return _files(connection, connection.execute(_SQL["open_cases"], [limit]).fetchall())


def due_cases(connection: Connection, partitions: Sequence[int], now_ms: int, limit: int) -> list[CaseFile]:
    """Undecided past their expiry; locked, and read again after that."""
    wanted = {"partitions": list(partitions), "now_ms": now_ms, "limit": limit}
    rows = connection.execute(_SQL["due_cases"], wanted).fetchall()
    lock_cases(connection, [decision_id for decision_id, _ in rows])
    return _of_rounds(connection, rows)


def unpublished_cases(connection: Connection, partitions: Sequence[int], limit: int) -> list[CaseFile]:
    """Decided, but not yet read back from the topic; in the order in which they were decided."""
    rows = connection.execute(_SQL["unpublished_cases"], {"partitions": list(partitions), "limit": limit}).fetchall()
    files = {(file.case.decision_id, file.case.round): file for file in _of_rounds(connection, rows)}
    return [files[decision_id, case_round] for decision_id, case_round in rows]


def pending_cases(connection: Connection, partitions: Sequence[int], limit: int) -> list[CaseFile]:
    """Cases in which a person's claim or proposal waits; locked, and read again after that."""
    rows = connection.execute(_SQL["pending_cases"], {"partitions": list(partitions), "limit": limit}).fetchall()
    lock_cases(connection, [decision_id for decision_id, _ in rows])
    return _of_rounds(connection, rows)


def voided_cases(connection: Connection, partitions: Sequence[int], limit: int) -> list[CaseFile]:
    """Cases in which what came last was voided."""
    rows = connection.execute(_SQL["voided_cases"], {"partitions": list(partitions), "limit": limit}).fetchall()
    return _of_rounds(connection, rows)


def count_cases(connection: Connection) -> tuple[int, int]:
    """Count the cases that are open, and those that wait to be published."""
    found = connection.execute(_SQL["count_cases"]).fetchone()
    assert found is not None, "an aggregate has one row"
    return found[0], found[1]


def open_money(connection: Connection) -> list[OpenMoney]:
    """Return what open cases are about, a currency each."""
    return [OpenMoney(*row) for row in connection.execute(_SQL["open_money"]).fetchall()]


def _of_rounds(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[CaseFile]:
    decisions, rounds = [decision_id for decision_id, _ in rows], [case_round for _, case_round in rows]
    return _files(connection, connection.execute(_SQL["cases_of_round"], [decisions, rounds]).fetchall())


def _files(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[CaseFile]:
    """The cases in the order of `rows`, each with its events."""
    cases = [Case(*row[:_CASE_COLUMNS]) for row in rows]
    decisions, rounds = [case.decision_id for case in cases], [case.round for case in cases]
    events: dict[tuple[str, int], list[CaseEvent]] = {}
    for decision_id, case_round, *fields in connection.execute(_SQL["events_of"], [decisions, rounds]).fetchall():
        events.setdefault((decision_id, case_round), []).append(_event(*fields))
    return [
        CaseFile(case, row[_CASE_COLUMNS], tuple(events[case.decision_id, case.round]))
        for case, row in zip(cases, rows, strict=True)
    ]


def _event(sequence: int, kind: str, actor: str, at_ms: int, *judged: Any) -> CaseEvent:
    outcome, *rest = judged
    named = None if outcome is None else Outcome(outcome)
    return CaseEvent(sequence, Kind(kind), actor, at_ms, named, *rest)


def _opening_row(opening: Opening) -> dict[str, object]:
    case, place = opening.case, opening.place
    return {
        **case._asdict(),
        "review_id": review_id(case.decision_id, case.round),
        "cause_id": opening.cause_id,
        "summary": opening.summary,
        "topic_partition": place.partition,
        "topic_offset": place.offset,
    }


def _event_row(case: Case, event: CaseEvent, place: RecordPlace | None) -> dict[str, object]:
    return {
        "decision_id": case.decision_id,
        "round": case.round,
        **event._asdict(),
        "topic_partition": None if place is None else place.partition,
        "topic_offset": None if place is None else place.offset,
    }
