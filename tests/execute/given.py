"""An executor without its topic: records are handed to it, and everything else is real."""

from __future__ import annotations

import itertools
from collections import Counter
from uuid import uuid4

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import ExecutionId, execution_id, review_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.domain.reversal import RecordKind, RecordName, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.execute.batch_service import Executor
from pipeline.execute.ledger_admin_store import append_openings, findings
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection, connect
from tests.decisions import DECISION, decision_id_of, reversal_of, review_of
from tests.execute.audited import audit
from tests.records import NOON_MS, PAYMENT

WIRE = WireFormat()
HOUR_MS = 3_600_000
PAYER, PAYEE = "GB29-0001", "GB29-0002"
_numbers = itertools.count(1)


def decision(outcome="ALLOW", *, amount_minor=700, payer=PAYER, payee=PAYEE, transaction_id=None) -> Decision:
    transaction_id = transaction_id or f"tx-{next(_numbers):06d}"
    payment = PAYMENT._replace(
        transaction_id=transaction_id,
        account_id=payer,
        beneficiary_account_id=payee,
        amount_minor=amount_minor,
        event_time_ms=NOON_MS,
    )
    return DECISION._replace(
        decision_id=decision_id_of(payment),
        transaction_id=transaction_id,
        account_id=payer,
        outcome=Outcome(outcome),
        snapshot=DECISION.snapshot._replace(transaction=payment),
    )


def review(of: Decision, outcome: str, review_round: int = 1) -> ReviewOutcome:
    return review_of(of, Outcome(outcome), name=review_id(of.decision_id, review_round))


def reversal(of: Decision, corrected: str | None, after: Reversal | ReviewOutcome | None = None) -> Reversal:
    """Reverse, an hour after the payment, what came `after` the decision, or the decision itself."""
    replaces = None if after is None else name_of(after)
    taken_back = reversal_of(of, corrected and Outcome(corrected), plan_id=str(uuid4()), replaces=replaces)
    return taken_back._replace(reversed_at_ms=NOON_MS + HOUR_MS)


def name_of(record: Reversal | ReviewOutcome) -> RecordName:
    if isinstance(record, Reversal):
        return record.name
    return RecordName(RecordKind.REVIEW, record.review_id)


def execution_of(record: Decision) -> ExecutionId:
    return execution_id(record.snapshot.transaction)


class Desk:
    """One executor process's worth of objects, on one partition."""

    def __init__(
        self,
        url: str,
        appender: Appender,
        rail_address: str,
        *,
        partition: int = 0,
        timeout_s: float = 1.0,
        topic: str = "decisions.v1",
        rail_keeps_keys_s: float = 86_400.0,
    ):
        self.url, self.rail_address, self.partition = url, rail_address, partition
        self.rail = Rail(rail_address, timeout_s=timeout_s, wait=lambda _: None)
        self.ledger = Ledger()
        notices = Notices(appender, WIRE, "executions.v1", "alerts.v1")
        self.execution = Executor(self.ledger, self.rail, notices, topic, rail_keeps_keys_s=rail_keeps_keys_s)
        self.connection: Connection = connect(url, "test-executor")
        self._others: dict[str, Connection] = {}
        self.ledger.prepare(self.connection)
        self.next_offset = 0

    def open(self, **balances_minor: int) -> None:
        """Accounts with what they have, by name with underscores for dashes."""
        openings = [Opening(name.replace("_", "-"), "GBP", 0, minor) for name, minor in balances_minor.items()]
        append_openings(self.as_role("fraud_treasurer"), openings, NOON_MS)

    def as_role(self, role: str) -> Connection:
        """A connection of another role than the executor's."""
        if role not in self._others:
            self._others[role] = connect(self.url.replace("fraud_executor@", f"{role}@"), "test-desk")
        return self._others[role]

    def batch(self, *records) -> LogBatch[DecisionRecord]:
        """The next records of the partition, which the audit log holds."""
        return self.audited(self.unaudited(*records))

    def audited(self, batch: LogBatch[DecisionRecord]) -> LogBatch[DecisionRecord]:
        audit(self.as_role("fraud_audit"), batch.records, self.execution.heard.topic)
        return batch

    def unaudited(self, *records) -> LogBatch[DecisionRecord]:
        first = self.next_offset
        found = [
            LogRecord(self.partition, first + number, NOON_MS + number, b"", b"-", record)
            for number, record in enumerate(records)
        ]
        self.next_offset = first + len(found)
        return LogBatch(found, [PositionMove(self.partition, first, self.next_offset)])

    def hear(self, *records) -> None:
        self.execution.accept(self.connection, self.batch(*records))

    def resume(self) -> None:
        self.execution.resume(self.connection, [self.partition])

    def retry(self) -> int:
        """Return how many are in doubt still, of those that were looked at."""
        return self.execution.retry_doubtful(self.connection, [self.partition]).in_doubt

    def states(self) -> dict[str, int]:
        rows = self.connection.execute("SELECT state, count(*) FROM ledger.execution_state GROUP BY state").fetchall()
        return dict(Counter(dict(rows)))

    def state(self, record) -> str:
        row = self.connection.execute(
            "SELECT state FROM ledger.execution_state WHERE execution_id = %s", [execution_of(record)]
        ).fetchone()
        return "" if row is None else row[0]

    def reason(self, record) -> str | None:
        rows = self.connection.execute(
            "SELECT reason FROM ledger.transition WHERE execution_id = %s AND reason IS NOT NULL",
            [execution_of(record)],
        ).fetchall()
        return rows[-1][0] if rows else None

    def steps(self, record) -> list[str]:
        rows = self.connection.execute(
            "SELECT step FROM ledger.saga_transition WHERE execution_id = %s ORDER BY sequence", [execution_of(record)]
        ).fetchall()
        return [row[0] for row in rows]

    def balance(self, account_id: str) -> int:
        row = self.connection.execute("SELECT balance_minor FROM ledger.standing(%s, 'GBP')", [account_id]).fetchone()
        assert row is not None
        return int(row[0])

    def findings(self):
        return findings(self.as_role("fraud_reader"))

    def close(self) -> None:
        self.rail.close()
        for connection in (self.connection, *self._others.values()):
            connection.close()
