"""The audit log, as far as the executor needs it: the rows of records that are handed to both by hand.

The rows are those of the audit service's own code, written in its role. Leaves, which the executor never looks at, are
of nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.audit.chain import Entry, Times
from pipeline.audit.log_store import CONSUMER
from pipeline.audit.rows import COPY_END, COPY_START, Proof, row_of
from pipeline.domain.decision import Decision
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import Reversal
from pipeline.domain.times import claim_ms
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import Filing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Positions, statements
from tests.records import NOON_MS

WIRE = WireFormat()
_NOTHING = bytes(32)
_RECORDED_AT_US = NOON_MS * 1000


def audit(
    connection: Connection,
    records: Sequence[LogRecord[DecisionRecord]],
    topic: str = "decisions.v1",
    forged: Collection[bytes] = (),
) -> None:
    """Store the records' rows, and move the audit log's position behind them. `connection`: of fraud_audit.

    forged: the values of records that nobody proves to have written, which have no rows of their own.
    """
    positions = Positions(CONSUMER, topic)
    with connection.transaction():
        for record in records:
            if record.value in forged:
                continue
            table, statement = _kind(record.content)
            filed_at_ms = Filing(table).file(connection, [record.timestamp_ms])[record.timestamp_ms]
            times = Times(claim_ms(record.timestamp_ms), filed_at_ms)
            proof = Proof(Entry(record.offset, _RECORDED_AT_US, _NOTHING), times, _NOTHING)
            try:
                row = row_of(record._replace(content=None), record.content, proof)
            except ValueError:
                continue  # the audit log can't hold it either
            with connection.cursor().copy(statements("pipeline.audit", "audit")[statement]) as copy:
                copy.write(COPY_START + row + COPY_END)
        for partition in {record.partition for record in records}:
            end = max(record.offset for record in records if record.partition == partition) + 1
            before = positions.read(connection, [partition])[partition]
            positions.advance(connection, partition, before, max(before, end))


class AuditedTopic:
    """An audit log that holds what stands on a topic, but for what nobody can read."""

    def __init__(self, connection: Connection, log: LogReader, topic: str, forged: Collection[bytes] = ()) -> None:
        self._connection, self._log, self._topic, self._forged = connection, log, topic, forged

    def take_in(self, partition: int = 0) -> None:
        first = Positions(CONSUMER, self._topic).read(self._connection, [partition])[partition]
        records = []
        for one in self._log.read(self._topic, {partition: first}):
            content = WIRE.decode_decision_record(one.value)
            if not isinstance(content, Refusal):
                records.append(LogRecord(*one.source, one.key or b"", one.value or b"", content))
        audit(self._connection, records, self._topic, self._forged)


def _kind(content: DecisionRecord) -> tuple[str, str]:
    if isinstance(content, Decision):
        return "audit.ai_decision_log", "copy_decisions"
    if isinstance(content, Reversal):
        return "audit.reversal_log", "copy_reversals"
    return "audit.review_log", "copy_reviews"
