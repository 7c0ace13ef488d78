"""An executor without its topic: records are handed to it, and everything else is real."""

from __future__ import annotations

import itertools
from collections import Counter
from uuid import uuid4

from pipeline.decide.verdict import decision_id
from pipeline.domain.identities import execution_id, review_id
from pipeline.domain.log import LogRecord
from pipeline.execute.batch_service import Execution
from pipeline.execute.ledger_admin_store import Opening, append_openings, findings
from pipeline.execute.ledger_store import Ledger
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection, connect

NOON_MS = 1_764_072_000_000  # 2025-11-25T12:00:00Z
WIRE = WireFormat()
PAYER, PAYEE = "GB29-0001", "GB29-0002"
_numbers = itertools.count(1)


def decision(outcome="ALLOW", *, amount_minor=700, payer=PAYER, payee=PAYEE, transaction_id=None):
    """The fields of a Decision that the executor looks at."""
    transaction_id = transaction_id or f"tx-{next(_numbers):06d}"
    return {
        "record": "Decision",
        "decision_id": decision_id(transaction_id),
        "transaction_id": transaction_id,
        "account_id": payer,
        "outcome": outcome,
        "snapshot": {
            "transaction": {
                "transaction_id": transaction_id,
                "account_id": payer,
                "beneficiary_account_id": payee,
                "currency": "GBP",
                "amount_minor": amount_minor,
                "event_time_ms": NOON_MS,
            }
        },
    }


def review(of, outcome, review_round=1):
    return {
        "record": "ReviewOutcome",
        "review_id": review_id(of["decision_id"], review_round),
        "outcome": outcome,
        "reviewed_at_ms": NOON_MS + 60_000,
        **_about(of),
    }


def reversal(of, corrected):
    return {
        "record": "Reversal",
        "reversal_id": str(uuid4()),
        "corrected_outcome": corrected,
        "reversed_at_ms": NOON_MS + 3_600_000,
        **_about(of),
    }


def _about(of):
    return {name: of[name] for name in ("decision_id", "transaction_id", "account_id")}


def execution_of(fields):
    return execution_id(fields["decision_id"])


class Desk:
    """One executor process's worth of objects, on one partition."""

    def __init__(self, url: str, appender: Appender, rail_address: str, *, partition: int = 0, timeout_s: float = 1.0):
        self.url, self.rail_address, self.partition = url, rail_address, partition
        self.rail = Rail(rail_address, timeout_s=timeout_s, wait=lambda _: None)
        self.ledger = Ledger()
        notices = Notices(appender, WIRE, "executions.v1", "alerts.v1")
        self.execution = Execution(self.ledger, self.rail, notices, "decisions.v1")
        self.connection: Connection = connect(url, "test-executor")
        self.ledger.prepare(self.connection)
        self.next_offset = 0

    def open(self, **balances_minor: int) -> None:
        """Accounts with what they have, by name with underscores for dashes."""
        openings = [Opening(name.replace("_", "-"), "GBP", 0, minor) for name, minor in balances_minor.items()]
        append_openings(self.connection, openings, NOON_MS)

    def batch(self, *records) -> LogBatch:
        first = self.next_offset
        found = [
            LogRecord(self.partition, first + number, NOON_MS + number, b"", b"-", fields)
            for number, fields in enumerate(records)
        ]
        self.next_offset = first + len(found)
        return LogBatch(found, [PositionMove(self.partition, first, self.next_offset)])

    def hear(self, *records) -> None:
        self.execution.accept(self.connection, self.batch(*records))

    def resume(self) -> None:
        self.execution.resume(self.connection, [self.partition])

    def retry(self) -> int:
        return self.execution.retry_doubtful(self.connection, [self.partition])

    def states(self) -> dict[str, int]:
        rows = self.connection.execute("SELECT state, count(*) FROM ledger.execution_state GROUP BY state").fetchall()
        return dict(Counter(dict(rows)))

    def state(self, fields) -> str:
        row = self.connection.execute(
            "SELECT state FROM ledger.execution_state WHERE execution_id = %s", [execution_of(fields)]
        ).fetchone()
        return "" if row is None else row[0]

    def reason(self, fields) -> str | None:
        rows = self.connection.execute(
            "SELECT reason FROM ledger.transition WHERE execution_id = %s AND reason IS NOT NULL",
            [execution_of(fields)],
        ).fetchall()
        return rows[-1][0] if rows else None

    def steps(self, fields) -> list[str]:
        rows = self.connection.execute(
            "SELECT step FROM ledger.saga_transition WHERE execution_id = %s ORDER BY sequence", [execution_of(fields)]
        ).fetchall()
        return [row[0] for row in rows]

    def balance(self, account_id: str) -> int:
        row = self.connection.execute("SELECT balance_minor FROM ledger.standing(%s, 'GBP')", [account_id]).fetchone()
        assert row is not None
        return int(row[0])

    def findings(self):
        return findings(self.connection)

    def close(self) -> None:
        self.rail.close()
        self.connection.close()
