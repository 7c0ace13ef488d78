"""Keeps the executor behind the audit log: nothing is executed before it is audited.

The database refuses an execution that the audit log doesn't hold (0092_bound_ledger.sql), so hearing it earlier would
only fail. While the audit service is behind, payments wait; a person is told where that takes long. A record that the
audit log holds as put aside is passed over: the audit service may have read it when its key set lacked a key that the
executor's has by now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from pipeline.domain.in_force import DecisionRecord
from pipeline.execute.metrics import EXECUTION_UNAUDITED
from pipeline.execute.notice_topics import Notices
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection, Positions, failures_named, statements

LOOK_AGAIN_S: Final = 0.01
"""Between looks at the audit log's positions, each some 100 µs of the database's time; a batch of it takes longer."""
TURN_S: Final = 1.0
"""Waited within one turn of the service; then it looks after its partitions, and begins again from what is stored."""
TELL_AFTER_S: Final = 60.0
"""After which a person is told, and each time again. The audit service starts within a few seconds."""

Batch = LogBatch[DecisionRecord]
log = structlog.get_logger("executor")


class AuditBehind(Exception):
    """The audit log has not come to what is to be heard; the message says to where."""


class AuditWait:
    """For one thread."""

    def __init__(self, notices: Notices, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds, never backwards."""
        self._notices, self._topic, self._clock = notices, topic, clock
        self._positions, self._statements = Positions("audit", topic), statements("pipeline.execute", "ledger")
        self._tell_at_s: float | None = None

    def accept(
        self, connection: Connection, batch: Batch, accept: Callable[[Batch], None], stopping: threading.Event
    ) -> str | None:
        """Give `accept` what is audited of the batch, in one part or more. Return why some of it still waits, or None.

        What waits is to be read again; after TURN_S nothing more is waited for.
        """
        rest, deadline = batch, self._clock() + TURN_S
        while True:
            audited, rest = audited_part(rest, self._audited(connection, rest))
            EXECUTION_UNAUDITED.set(len(rest.records))
            if audited.spans:
                accept(self._without_put_aside(connection, audited))
                self._tell_at_s = None
            if not rest.spans:
                self._tell_at_s = None
                return None
            if self._clock() >= deadline or stopping.wait(LOOK_AGAIN_S):
                return self._behind(rest)

    def _audited(self, connection: Connection, batch: Batch) -> Mapping[int, int]:
        with failures_named():
            return self._positions.read(connection, [span.partition for span in batch.spans])

    def put_aside(self, connection: Connection, spans: Sequence[PositionMove]) -> set[tuple[int, int]]:
        """Return the places that the audit log holds as put aside, partition and offset. Raises AuditBehind where it
        has not come to the end of each stretch, since it can't say then."""
        with failures_named():
            audited = self._positions.read(connection, [span.partition for span in spans])
        for partition, _, end in spans:
            if audited[partition] < end:
                raise AuditBehind(f"the audit log hasn't reached {self._topic}[{partition}] at {end - 1}")
        return self._put_aside(connection, spans)

    def _put_aside(self, connection: Connection, spans: Sequence[PositionMove]) -> set[tuple[int, int]]:
        partitions, firsts, ends = (list(column) for column in zip(*spans, strict=True))
        wanted = {"partitions": partitions, "firsts": firsts, "ends": ends}
        with failures_named():
            return set(connection.execute(self._statements["put_aside_by_audit"], wanted).fetchall())

    def _without_put_aside(self, connection: Connection, batch: Batch) -> Batch:
        aside = self._put_aside(connection, batch.spans)
        passed_over = [record for record in batch.records if (record.partition, record.offset) in aside]
        if not passed_over:
            return batch
        first = passed_over[0]
        place = {"topic": self._topic, "partition": first.partition, "first": first.offset}
        log.error("put_aside_by_audit", **place, records=len(passed_over))
        kept = [record for record in batch.records if (record.partition, record.offset) not in aside]
        return batch._replace(records=kept)

    def _behind(self, rest: Batch) -> str:
        (partition, _, end), now_s = rest.spans[0], self._clock()
        offset = next((record.offset for record in rest.records if record.partition == partition), end - 1)
        if self._tell_at_s is None:
            self._tell_at_s = now_s + TELL_AFTER_S
        if now_s >= self._tell_at_s:
            self._tell_at_s = now_s + TELL_AFTER_S
            self._notices.raise_audit_behind(partition, offset)
        return f"the audit log hasn't reached {self._topic}[{partition}] at {offset}, so payments wait"


def audited_part(batch: Batch, audited: Mapping[int, int]) -> tuple[Batch, Batch]:
    """Split a batch into what the audit log holds, and the rest. audited: its next offset, by partition.

    Records that are passed over wait for it, too: it keeps them as put aside.
    """
    waiting = {at for at, _, end in batch.spans if audited[at] < end}
    if not waiting:
        return batch, LogBatch([], [])
    before = [record for record in batch.records if record.offset < audited[record.partition]]
    rest = [record for record in batch.records if record.offset >= audited[record.partition]]
    ends = {record.partition: record.offset + 1 for record in before}
    return (
        LogBatch(
            before,
            [
                PositionMove(at, begin, ends[at] if at in waiting else end)
                for at, begin, end in batch.spans
                if at in ends or at not in waiting
            ],
        ),
        LogBatch(rest, [PositionMove(at, ends.get(at, begin), end) for at, begin, end in batch.spans if at in waiting]),
    )
