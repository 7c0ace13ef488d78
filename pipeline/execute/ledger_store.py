"""The ledger in PostgreSQL: what stands there, and the rows of a batch, written by COPY.

Every method runs in the transaction that the caller opened. Rows are tab-separated text: an f-string of a row costs
about a microsecond, a tenth of handing its values over one by one. Arrays are texts, too: psycopg takes 1.2 µs for each
element. No value of a row holds a tab or a backslash: ids are checked where a record comes in, everything else is ours.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import psycopg

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.domain.identities import DecisionId, ExecutionId
from pipeline.domain.in_force import InForce, decided
from pipeline.domain.reversal import RecordKind, RecordName
from pipeline.domain.times import claim_ms
from pipeline.execute.orders import outcome_of
from pipeline.execute.postings import NOTHING_RECALLED, PART_STEPS, Limit, Payment, Posting, Recalled, Subject
from pipeline.execute.restoring.claim_store import ReleasedClaims
from pipeline.execute.saga import (
    NOT_IN_FORCE,
    REVIEWS,
    Aim,
    Cause,
    Heard,
    Ignored,
    Reason,
    Saga,
    State,
    Step,
    Transition,
    restore,
)
from pipeline.io.filing import UNFILED_MS, Filing
from pipeline.io.postgres import Connection, Statements, statements

CLOCK_SET_BACK_S: Final = 60
"""A time that lies further ahead says nothing about its age: a clock was, or is, wrong."""
TAIL_POSTINGS_MAX: Final = 500
"""Summed for one balance, before a checkpoint is appended for the account."""

PARTITIONED: Final = ("ledger.transition", "ledger.posting")
AccountKey = tuple[str, str]  # account id and currency


class Stored(NamedTuple):
    """An execution as its rows say."""

    subject: Subject
    saga: Saga
    event_time_ms: int  # of what was heard last and heeded
    why: str  # what set the aim last: a Cause or a Reason
    cause_ids: frozenset[str]  # of every record that was heard about it
    in_force: InForce
    is_out_of_order: bool  # something was heard about it before its decision was
    topic_offset: int  # of its decision's record
    recalled: Recalled = NOTHING_RECALLED


class Doubted(NamedTuple):
    """An execution, and when it came into doubt first."""

    execution_id: str
    first_at: datetime


class NewExecution(NamedTuple):
    subject: Subject
    cause: Cause
    aim: Aim
    event_time_ms: int
    logged_at_ms: int  # the broker's time of the decision's record, whatever it is filed under
    topic_offset: int


class NewCause(NamedTuple):
    execution_id: str
    cause_id: str
    cause: Cause
    aim: Aim | None
    ignored: str | None
    after_sequence: int
    transaction_id: str
    account_id: str
    event_time_ms: int
    caused_at_ms: int  # of its own record
    topic_partition: int
    topic_offset: int


class NewTransition(NamedTuple):
    execution_id: str
    caused_at_ms: int
    transition: Transition
    origin: str  # DECISION, REVIEW, REVERSAL, RAIL, RESTORE or RULING
    ruling: str | None = None  # the act of RULING, by its digest in hexadecimal


class NewRecovery(NamedTuple):
    """A case for a person: money that was to be had back and isn't, or of which nobody knows where it is."""

    execution_id: str
    sequence: int  # of the step that left it out
    reason: str  # a Reason, or one of those for which a person must act
    missing_minor: int
    currency: str
    claimed_account_id: str | None = None  # whose money the rail has taken, and the ledger has not
    claimed_minor: int | None = None  # set aside of it until a person has closed the case


class RuledKey(NamedTuple):
    """A key that people have ruled on. sequence: of the payment's last step. is_made: it was done, they say."""

    execution_id: str
    sequence: int
    key: str
    is_made: bool
    amount_minor: int
    currency: str
    decision_id: str


class NewPosting(NamedTuple):
    posting: Posting
    event_time_ms: int
    caused_at_ms: int


class Ledger:
    """For one thread. Days that a month's partition takes are remembered."""

    def __init__(self) -> None:
        self._statements: Statements = statements("pipeline.execute", "ledger")
        self._filings = [Filing(table) for table in PARTITIONED]
        self._released = ReleasedClaims()

    def prepare(self, connection: Connection) -> None:
        """Once for a connection."""
        connection.execute(self._statements["plan_for_points"])

    def file(self, connection: Connection, times_ms: Iterable[int]) -> dict[int, int]:
        """The time under which all rows of an execution are filed, by the broker's time of its decision's record."""
        wanted = set(times_ms)
        by_table = [filing.file(connection, wanted) for filing in self._filings]
        unfiled = {at_ms for filed in by_table for at_ms in wanted if filed[at_ms] == UNFILED_MS}
        return {at_ms: UNFILED_MS if at_ms in unfiled else claim_ms(at_ms) for at_ms in wanted}

    # Reading

    def read(self, connection: Connection, execution_ids: Sequence[str]) -> dict[str, Stored]:
        """The executions that a decision was heard of."""
        if not execution_ids:
            return {}
        rows = connection.execute(self._statements["read_executions"], [array(execution_ids)]).fetchall()
        if not rows:
            return {}
        caused_at_ms = {execution_id: at_ms for execution_id, *_, at_ms, _, _, _, _ in rows}
        # What was heard before the decision was is kept under the decision's own id.
        names = {name: str(row[0]) for row in rows for name in (str(row[0]), str(row[5]))}
        causes: dict[str, list[_LaterCause]] = {execution_id: [] for execution_id in caused_at_ms}
        for name, *cause in connection.execute(self._statements["read_causes"], [array(names)]).fetchall():
            causes[names[name]].append(_LaterCause(*cause))
        transitions = self._transitions(connection, caused_at_ms)
        recalled = self._recalled(connection, caused_at_ms, transitions)
        return {
            execution_id: _stored((execution_id, *rest), transitions[execution_id], causes[execution_id])._replace(
                recalled=recalled.get(execution_id, NOTHING_RECALLED)
            )
            for execution_id, *rest in rows
        }

    def cause_ids(self, connection: Connection, execution_ids: Sequence[str]) -> dict[str, set[str]]:
        """Ids of what was heard about executions after, or before, their decisions."""
        found: dict[str, set[str]] = {}
        rows = connection.execute(self._statements["read_causes"], [array(execution_ids)]).fetchall()
        for execution_id, cause_id, *_ in rows:
            found.setdefault(execution_id, set()).add(cause_id)
        return found

    def executions_of(self, connection: Connection, decision_ids: Sequence[str]) -> dict[DecisionId, ExecutionId]:
        """The executions of the payments that decisions are about, by the decisions that were heard."""
        if not decision_ids:
            return {}
        rows = connection.execute(self._statements["executions_of"], {"ids": array(decision_ids)}).fetchall()
        return {DecisionId(decision_id): ExecutionId(execution_id) for decision_id, execution_id in rows}

    def unfinished(self, connection: Connection, partition: int, offset: int) -> list[str]:
        """Executions that something was heard about at or after `offset`."""
        wanted = {"partition": partition, "offset": offset}
        rows = connection.execute(self._statements["unfinished"], wanted).fetchall()
        return [execution_id for (execution_id,) in rows]

    def doubtful(
        self, connection: Connection, partitions: Sequence[int], count_max: int, after: Doubted | None = None
    ) -> list[Doubted]:
        """Executions that are, or have been, in doubt and aren't at rest, behind `after`, in the order of their first
        doubt."""
        wanted: dict[str, object] = {"partitions": list(partitions), "count": count_max, "at": None, "name": None}
        if after is not None:
            wanted |= {"at": after.first_at, "name": after.execution_id}
        rows = connection.execute(self._statements["doubtful"], wanted).fetchall()
        return [Doubted(*row) for row in rows]

    def limits(
        self, connection: Connection, keys: Iterable[AccountKey]
    ) -> tuple[dict[AccountKey, Limit], list[AccountKey]]:
        """Locks the accounts until the transaction ends, then sums them; and those whose tail has grown too long."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}, []
        accounts, currencies = (array(column) for column in zip(*wanted, strict=True))
        connection.execute(self._statements["lock_accounts"], [accounts, currencies])
        found: dict[AccountKey, Limit] = {}
        long_tails = []
        rows = connection.execute(self._statements["read_limits"], [accounts, currencies]).fetchall()
        # The database gives free what somebody is said to have; what nobody signed is still set aside.
        kept_minor = self._released.unproved_minor(connection, accounts, currencies)
        for account_id, currency, balance_minor, overdraft_limit_minor, tail in rows:
            there_minor = int(balance_minor) - kept_minor.get((account_id, currency), 0)
            found[account_id, currency] = Limit(there_minor, overdraft_limit_minor)
            if tail > TAIL_POSTINGS_MAX:
                long_tails.append((account_id, currency))
        return found, long_tails

    def asked_ages_s(self, connection: Connection, asked: Sequence[tuple[Subject, Saga]]) -> list[float]:
        """How long ago, by the database's clock, the rail may have met the key that each saga waits for.

        A step that was taken while the ledger caught up after a restore is as old as what caused it: the ledger before
        may have asked then. What isn't known is for ever ago.
        """
        names = [subject.payment.execution_id for subject, _ in asked]
        times = [timestamp(subject.caused_at_ms) for subject, _ in asked]
        rows = connection.execute(self._statements["asked_ages"], [names, times]).fetchall()
        found = {name: float(age_s) for name, age_s in rows if age_s is not None and age_s > -CLOCK_SET_BACK_S}
        return [found.get(name, math.inf) for name in names]

    def cases_of(self, connection: Connection, execution_ids: Sequence[str]) -> set[tuple[str, int]]:
        """The recovery cases of these executions, each with the step that it was opened at."""
        rows = connection.execute(self._statements["cases_of"], [list(execution_ids)]).fetchall()
        return {(name, sequence) for name, sequence in rows}

    def claimed_minor(self, connection: Connection, execution_ids: Sequence[str]) -> dict[tuple[str, str], int]:
        """What is set aside for these executions, by execution and account."""
        rows = connection.execute(self._statements["claims_of"], [list(execution_ids)]).fetchall()
        return {(execution_id, account_id): int(minor) for execution_id, account_id, minor in rows}

    def ruled_keys(self, connection: Connection, partitions: Sequence[int], count_max: int) -> list[RuledKey]:
        """The keys that rulings have ended a doubt about, the latest first, and that nothing contradicts yet."""
        rows = connection.execute(self._statements["ruled_keys"], [list(partitions), count_max]).fetchall()
        return [RuledKey(*row) for row in rows]

    # Writing

    def take_checkpoint(self, connection: Connection, key: AccountKey) -> bool:
        """Run in a transaction of its own: it waits for everybody who posts. False where it waited too long."""
        try:
            connection.execute(self._statements["take_checkpoint"], list(key))
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def append_executions(self, connection: Connection, rows: Sequence[NewExecution]) -> None:
        self._copy(connection, "copy_executions", [_execution_row(row) for row in rows])

    def append_causes(self, connection: Connection, rows: Sequence[NewCause]) -> None:
        self._copy(connection, "copy_causes", [_cause_row(row) for row in rows])

    def append_transitions(self, connection: Connection, rows: Sequence[NewTransition]) -> None:
        self._copy(connection, "copy_transitions", [_transition_row(row) for row in rows])

    def append_recoveries(self, connection: Connection, rows: Sequence[NewRecovery]) -> None:
        self._copy(connection, "copy_recoveries", [_recovery_row(row) for row in rows])

    def append_postings(self, connection: Connection, rows: Sequence[NewPosting]) -> None:
        self._copy(connection, "copy_postings", [_posting_row(row) for row in rows])

    def _copy(self, connection: Connection, name: str, rows: Sequence[str]) -> None:
        if rows:
            with connection.cursor() as cursor, cursor.copy(self._statements[name]) as copy:
                copy.write("".join(rows))

    def _transitions(self, connection: Connection, caused_at_ms: Mapping[str, int]) -> dict[str, list[Transition]]:
        times = [timestamp(time_ms) for time_ms in caused_at_ms.values()]
        found: dict[str, list[Transition]] = {each: [] for each in caused_at_ms}
        rows = connection.execute(self._statements["read_transitions"], [list(caused_at_ms), times]).fetchall()
        for execution_id, sequence, step, before, after, aim, reason in rows:
            why = None if reason is None else Reason(reason)
            found[execution_id].append(Transition(sequence, Step(step), State(before), State(after), Aim(aim), why))
        return found

    def _recalled(
        self, connection: Connection, caused_at_ms: Mapping[str, int], transitions: Mapping[str, Sequence[Transition]]
    ) -> dict[str, Recalled]:
        """The parts that were recalled, of the few executions that have any."""
        wanted = [name for name, steps in transitions.items() if any(each.step in PART_STEPS for each in steps)]
        if not wanted:
            return {}
        times = [timestamp(caused_at_ms[name]) for name in wanted]
        found: dict[str, Recalled] = {}
        for name, *fields in connection.execute(
            self._statements["read_parts"], [wanted, times, sorted(PART_STEPS)]
        ).fetchall():
            found[name] = found.get(name, NOTHING_RECALLED).after(*fields)
        return found


def array(texts: Collection[str]) -> str:
    """The texts as PostgreSQL reads an array of any type; ids, currencies and times need no escaping."""
    joined = '","'.join(texts)
    if "\\" in joined or joined.count('"') != 2 * max(0, len(texts) - 1):
        joined = '","'.join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return f'{{"{joined}"}}' if texts else "{}"


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=8192)
def timestamp(time_ms: int) -> str:
    """ISO 8601 with milliseconds, as PostgreSQL reads it; the nearest that a column can hold."""
    return (_EPOCH + timedelta(milliseconds=claim_ms(time_ms))).isoformat(timespec="milliseconds")


class _LaterCause(NamedTuple):
    """A record about an execution that came after its decision; `aim` None where it changed nothing."""

    cause_id: str
    cause: str
    aim: str | None
    after_sequence: int
    event_time_ms: int
    ignored: str | None


def _stored(
    row: tuple[object, ...],
    transitions: Sequence[Transition],
    causes: Sequence[_LaterCause],
) -> Stored:
    execution_id, payer, beneficiary, currency, amount_minor, decision_id, transaction_id, cause, aim, *numbers = row
    payment = Payment(
        ExecutionId(str(execution_id)), str(payer), str(beneficiary), str(currency), int(str(amount_minor))
    )
    event_time_ms, caused_at_ms, partition, amount_gbp_minor, logged_at_ms, topic_offset = (
        int(str(number)) for number in numbers
    )
    known = event_time_ms, amount_gbp_minor, logged_at_ms
    subject = Subject(payment, DecisionId(str(decision_id)), str(transaction_id), caused_at_ms, partition, *known)
    heard, why, heard_at = [Heard(0, Aim(str(aim)))], str(cause), 0
    for later in causes:
        if later.aim is not None:
            heard.append(Heard(later.after_sequence, Aim(later.aim)))
            why, event_time_ms, heard_at = later.cause, later.event_time_ms, later.after_sequence
    for transition in transitions:
        if transition.reason is not None and transition.sequence > heard_at:
            why = transition.reason
    is_out_of_order = any(transition.reason is Reason.OUT_OF_ORDER for transition in transitions)
    heard_ids = (later.cause_id for later in causes if later.ignored != Ignored.ELSEWHERE)
    cause_ids = frozenset([str(decision_id), *heard_ids])
    in_force = _in_force(subject.decision_id, Cause(str(cause)), causes)
    saga = restore(transitions, heard)
    return Stored(subject, saga, event_time_ms, why, cause_ids, in_force, is_out_of_order, topic_offset)


def _in_force(decision_id: DecisionId, decided_as: Cause, causes: Sequence[_LaterCause]) -> InForce:
    """The last record about the decision that took the place of the one before it."""
    outcome = outcome_of(decided_as)
    assert outcome is not None, "a decision has an outcome"
    found = decided(decision_id, outcome)
    for later in causes:
        if later.ignored in NOT_IN_FORCE:
            continue
        cause = Cause(later.cause)
        kind = RecordKind.REVIEW if cause in REVIEWS else RecordKind.REVERSAL
        rounds = found.rounds + (kind is RecordKind.REVERSAL and outcome_of(cause) is Outcome.ESCALATE)
        found = InForce(RecordName(kind, later.cause_id), outcome_of(cause), rounds)
    return found


def _execution_row(row: NewExecution) -> str:
    payment, decision_id, transaction_id, caused_at_ms, partition, _, amount_gbp_minor, logged_at_ms = row.subject
    logged_at = _NULL if logged_at_ms == NONE else timestamp(logged_at_ms)
    return (
        f"{payment.execution_id}\t{decision_id}\t{transaction_id}\t{payment.account_id}\t"
        f"{payment.beneficiary_account_id}\t{payment.currency}\t{payment.amount_minor}\t{row.cause}\t{row.aim}\t"
        f"{timestamp(row.event_time_ms)}\t{timestamp(caused_at_ms)}\t{timestamp(row.logged_at_ms)}\t{partition}\t"
        f"{row.topic_offset}\t"
        f"{amount_gbp_minor}\t{logged_at}\n"
    )


def _cause_row(row: NewCause) -> str:
    return (
        f"{row.execution_id}\t{row.cause_id}\t{row.cause}\t{row.aim or _NULL}\t{row.ignored or _NULL}\t"
        f"{row.after_sequence}\t{row.transaction_id}\t{row.account_id}\t{timestamp(row.event_time_ms)}\t"
        f"{timestamp(row.caused_at_ms)}\t{row.topic_partition}\t{row.topic_offset}\n"
    )


def _transition_row(row: NewTransition) -> str:
    sequence, step, before, after, aim, reason = row.transition
    return (
        f"{row.execution_id}\t{sequence}\t{step}\t{before}\t{after}\t{aim}\t{row.origin}\t{reason or _NULL}\t"
        f"{timestamp(row.caused_at_ms)}\t{_NULL if row.ruling is None else _BYTES + row.ruling}\n"
    )


def _recovery_row(row: NewRecovery) -> str:
    claimed_minor = _NULL if row.claimed_minor is None else row.claimed_minor
    return (
        f"{row.execution_id}\t{row.sequence}\t{row.reason}\t{row.missing_minor}\t{row.currency}\t"
        f"{row.claimed_account_id or _NULL}\t{claimed_minor}\n"
    )


def _posting_row(row: NewPosting) -> str:
    posting = row.posting
    return (
        f"{posting.posting_id}\t{posting.execution_id}\t{posting.step}\t{posting.attempt}\t"
        f"{posting.source_account_id}\t{posting.destination_account_id}\t{posting.currency}\t{posting.amount_minor}\t"
        f"{timestamp(row.event_time_ms)}\t{timestamp(row.caused_at_ms)}\t{posting.reverses or _NULL}\n"
    )


_NULL: Final = "\\N"
_BYTES: Final = "\\\\x"
