"""Brings a ledger that was put back from a backup up to date: with the rail first, then with decisions.v1.

First the rail is asked about every key that may have been used since the backup, and nothing is paid. Then every record
since is heard again, in the order of the broker's times, and what the rail has done is taken over as it stands: by
ordinary steps whose cause is RESTORE, whether the funds are there or not. What the rail knows nothing of is done now,
under the same key, unless its record is older than the rail keeps keys: then it is a person's. In the end everything
that the rail has done is compared with the ledger, and what no record leads to is a person's, too. Only then the
ledger's next life begins, and the executors pay again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import structlog

from pipeline.domain.decision import Decision
from pipeline.domain.execution import Execution
from pipeline.domain.identities import DecisionId, execution_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.execute.audit_wait_service import AuditBehind, AuditWait
from pipeline.execute.batch_service import DOUBTFUL_MAX, Executor
from pipeline.execute.ledger_store import Doubted, Ledger, NewRecovery, Stored
from pipeline.execute.notice_topics import Notice, Notices
from pipeline.execute.orders import said
from pipeline.execute.postings import Payment
from pipeline.execute.rail_client import KnownRecall, KnownTransfer, Rail
from pipeline.execute.restoring.behind import heeded, latest_life
from pipeline.execute.restoring.life_store import begin_life, begin_restore, logged_since, present_life
from pipeline.execute.restoring.rail_facts import Attempt, Claim, Facts, Known, Leftover, Paid, TakenBack
from pipeline.execute.restoring.stretch_topics import Stretch
from pipeline.execute.saga import DOUBTFUL, RAIL_PAID_OTHERWISE, Saga, Step
from pipeline.io.postgres import Connection, failures_named

ROUNDS_MAX: Final = 1_000
"""Attempts at one step of one execution; each needs a reversal of its own."""
ASKED_MAX: Final = 2_000
"""Executions looked at together."""

log = structlog.get_logger("executor")


class RailDiffers(Exception):
    """The rail has another payment under a key of ours; the message names the first of them."""


class Desk(NamedTuple):
    """What a restore works with."""

    ledger: Ledger
    rail: Rail
    notices: Notices
    topic: str
    rail_keeps_keys_s: float
    told: Callable[[], Iterable[Execution]]  # the last that executors told, on executions.v1
    audit: AuditWait


class Restored(NamedTuple):
    life: int
    counts: dict[str, int]
    leftovers: Sequence[Leftover]


class Restore:
    """For one run and one thread. Raises what the adapters raise, RailSilent, RailDiffers, AuditBehind and
    PositionAhead; nothing is lost then, and it can be run again."""

    def __init__(self, connection: Connection, desk: Desk, stretch: Stretch, since: datetime | None) -> None:
        """since: also ask about executions that were decided since, though the ledger has come to them."""
        self._connection, self._desk, self._stretch, self._since = connection, desk, stretch, since
        self._facts = Facts()
        self._payment_of: dict[DecisionId, Payment] = {}
        self._executor = Executor(
            desk.ledger,
            desk.rail,
            desk.notices,
            desk.topic,
            rail_keeps_keys_s=desk.rail_keeps_keys_s,
            word=self._facts,
        )

    def run(self, reason: str, say: Callable[[str], None]) -> Restored:
        told = list(self._desk.told())
        with failures_named():
            present = present_life(self._connection)
            told_life = latest_life(heeded(present.number, told).told)
            life = max(present.number + 1, told_life + 1, present.restored_to)
            heard = self._executor.heard.read(self._connection, self._stretch.partitions)
        self._desk.notices.life = life
        records = self._ask(heard)
        with failures_named():
            begin_restore(self._connection, life)
        counts = {"records": records, **self._facts.counts()}
        say(f"{records:,} records to come to; the rail was asked about {counts['executions_asked']:,} payments"
            f" and has made {counts['transfers_paid']:,} of them")  # fmt: skip
        self._catch_up(heard)
        leftovers = self._compare()
        counts |= {"left_over": len(leftovers)}
        with failures_named():
            begin_life(self._connection, life, reason, counts)
        return Restored(life, counts, leftovers)

    # The rail first

    def _ask(self, heard: dict[int, int]) -> int:
        """Ask about everything; return how many records the ledger has yet to come to."""
        count = 0
        for names in _chunks(self._unfinished(heard)):
            self._ask_about({}, names)
        chunk: list[LogRecord[DecisionRecord]] = []
        for record in self._stretch.records(heard):
            count += 1
            chunk.append(record)
            if len(chunk) == ASKED_MAX:
                self._ask_about_records(chunk)
                chunk = []
        self._ask_about_records(chunk)
        if self._facts.otherwise:
            first = self._facts.otherwise[0]
            raise RailDiffers(
                f"the rail has another payment under {len(self._facts.otherwise)} of our keys; the first is that of "
                f"{first.step} {first.number} of execution {first.execution_id}"
            )
        return count

    def _unfinished(self, heard: dict[int, int]) -> Iterator[str]:
        """What the ledger has begun and not ended, and what it was asked to look at besides."""
        ledger, connection = self._desk.ledger, self._connection
        with failures_named():
            settled = self._executor.settled.read(connection, heard)
            for partition in heard:
                yield from ledger.unfinished(connection, partition, settled[partition])
            after: Doubted | None = None
            while found := ledger.doubtful(connection, list(heard), DOUBTFUL_MAX, after):
                yield from (each.execution_id for each in found)
                after = found[-1]
            if self._since is not None:
                yield from logged_since(connection, self._since)

    def _ask_about_records(self, records: Sequence[LogRecord[DecisionRecord]]) -> None:
        """Remember which payment each decision is about, and ask about all that the records speak of."""
        payments: dict[str, Payment] = {}
        later: list[DecisionId] = []
        for record in records:
            if isinstance(record.content, Decision):
                payments[execution_id(record.content.snapshot.transaction)] = self._payment(record)
            elif record.content.decision_id not in self._payment_of:
                later.append(record.content.decision_id)
        with failures_named():
            names = self._desk.ledger.executions_of(self._connection, later).values()
        self._ask_about(payments, names)

    def _payment(self, record: LogRecord[DecisionRecord]) -> Payment:
        order = said(record)
        assert order.subject is not None, "a decision is about a payment"
        return self._payment_of.setdefault(order.decision_id, order.subject.payment)

    def _ask_about(self, payments: dict[str, Payment], names: Iterable[str]) -> None:
        wanted = sorted({*payments, *names})
        stored = self._stored(wanted)
        known = {name: Known(each.saga, each.recalled) for name, each in stored.items()}
        payments = payments | {name: each.subject.payment for name, each in stored.items()}
        attempts = self._facts.first_attempts(payments, known)
        for _ in range(ROUNDS_MAX):
            if not attempts:
                return
            attempts = list(self._facts.take(self._found(attempts)))
        raise AssertionError(f"a payment was attempted over {ROUNDS_MAX} times")

    def _found(self, attempts: Sequence[Attempt]) -> Iterator[tuple[Attempt, Paid | TakenBack | None]]:
        known = self._desk.rail.look_up([attempt.key for attempt in attempts])
        for attempt in attempts:
            match known[attempt.key]:
                case KnownTransfer() as transfer:
                    yield attempt, Paid(transfer[1:], transfer.was_paid)
                case KnownRecall() as recall:
                    yield attempt, TakenBack(recall.amount_minor, recall.was_taken_back)
                case None:
                    yield attempt, None

    # Then decisions.v1

    def _catch_up(self, heard: dict[int, int]) -> None:
        self._executor.resume(self._connection, heard)
        accept, never = partial(self._executor.accept, self._connection), threading.Event()
        for batch in self._stretch.batches(heard):
            if (why := self._desk.audit.accept(self._connection, batch, accept, never)) is not None:
                raise AuditBehind(why)

    # And the comparison

    def _compare(self) -> list[Leftover]:
        """Open a case for what the rail has done and no record leads to, which keeps its money set aside, and tell it;
        the cases that are new."""
        taken: dict[str, Mapping[Step, int]] = {}
        for names in _chunks(self._facts.names):
            taken |= {name: each.saga.taken for name, each in self._stored(names).items()}
        found = self._facts.leftovers(taken)
        for names in _chunks({each.attempt.execution_id for each in found if each.attempt.execution_id in taken}):
            self._hand_to_people(found, self._stored(names))
        return found

    def _hand_to_people(self, leftovers: Sequence[Leftover], stored: dict[str, Stored]) -> None:
        by_name = {each.attempt.execution_id: each for each in leftovers if each.attempt.execution_id in stored}
        ledger, connection = self._desk.ledger, self._connection
        with failures_named(), connection.transaction():
            known = ledger.cases_of(connection, list(by_name))
            new = {name: each for name, each in by_name.items() if (name, _noted_at(stored[name].saga)) not in known}
            claimed_minor = ledger.claimed_minor(connection, list(new))
            cases = [
                _case(stored[name], each, _unclaimed(name, self._facts.claims(name), claimed_minor))
                for name, each in new.items()
            ]
            ledger.append_recoveries(connection, cases)
        self._desk.notices.raise_paid_otherwise([_notice(stored[name]) for name in new])

    def _stored(self, names: Sequence[str]) -> dict[str, Stored]:
        with failures_named():
            return self._desk.ledger.read(self._connection, names)


def _case(stored: Stored, leftover: Leftover, claims: Sequence[Claim]) -> NewRecovery:
    payment, saga = stored.subject.payment, stored.saga
    where = payment.execution_id, _noted_at(saga)
    assert len(claims) <= 1, "what is with the payer by the ledger is not with the beneficiary"
    case = NewRecovery(*where, RAIL_PAID_OTHERWISE, leftover.amount_minor, payment.currency)
    if not claims:
        return case
    return case._replace(claimed_account_id=claims[0].account_id, claimed_minor=claims[0].amount_minor)


def _noted_at(saga: Saga) -> int:
    """The sequence of the payment's last step, but of a doubt the one before: that one may have a case of its own."""
    return max(saga.sequence - (saga.state in DOUBTFUL), 1)


def _unclaimed(execution_id: str, claims: Sequence[Claim], claimed_minor: Mapping[tuple[str, str], int]) -> list[Claim]:
    """The claims without what an earlier restore has set aside for the same payment."""
    left = (
        each._replace(amount_minor=each.amount_minor - claimed_minor.get((execution_id, each.account_id), 0))
        for each in claims
    )
    return [each for each in left if each.amount_minor > 0]


def _notice(stored: Stored) -> Notice:
    saga: Saga = stored.saga
    where = stored.subject, saga.state, saga.sequence
    return Notice(*where, stored.why, stored.event_time_ms, stored.recalled.returned_minor)


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == ASKED_MAX:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
